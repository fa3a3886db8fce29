"""Preview tiles show a layer, stay small, and say what they leave out."""

import hashlib

import pyogrio
import pytest
from pmtiles.reader import MmapSource, Reader

from d4c_platform.transforms import build, previews, tile_preview, tiles
from d4c_platform_tests.transforms import releases as r

KEY = {"key": ("name",), "columns": [r.column("name", "string", nullable=False)]}


def layer(tmp_path, shapes, name="districts.zip", **declared):
    names = [f"d{n}" for n in range(len(shapes))]
    source = r.shapefile_zip(tmp_path / name, shapes, {"NAME": names})
    dataset = r.layer_dataset(**{"preview": "pmtiles", **KEY, **declared})
    return dataset, build(dataset, r.LAYER_VERSION, {source.name: source}, tmp_path / "w")


def grid(side=10):
    return [r.square(400_000 + 2_000 * x, 600_000 + 2_000 * y) for x in range(side) for y in range(side)]


def preview(tmp_path, dataset, built):
    [made] = previews(dataset, r.LAYER_VERSION, built, tmp_path)
    return made


def metadata(path):
    with path.open("rb") as file:
        return Reader(MmapSource(file)).metadata()


def features(path):
    """The keys of what GDAL reads at the largest scale, which the platform's own reader does not decode."""
    return set(pyogrio.raw.read(path, layer="data", columns=["name"])[3][0])


def test_pyogrio_has_the_driver():
    assert "w" in pyogrio.list_drivers()["PMTiles"]


def test_a_layer_is_drawn_in_its_place_with_its_key(tmp_path):
    dataset, built = layer(tmp_path, [*grid(), None])
    made = preview(tmp_path, dataset, built)
    assert (made.role, made.crs, made.facts["tile_type"], made.facts["layers"]) == ("pmtiles", "EPSG:3857", "mvt", "data")
    assert made.bbox == pytest.approx(built.bbox, abs=0.02)
    assert tiles.problems(made.path) == []
    assert features(made.path) == {f"d{n}" for n in range(100)}
    assert (made.counts["features"], made.counts["features_drawn"], made.counts["null_geometries"]) == (100, 100, 1)
    assert [c.name for c in made.columns] == ["data/name"]
    assert "100 of 100 features" in metadata(made.path)["description"]
    assert "100 entités sur 100" in metadata(made.path)["description"]


@pytest.mark.parametrize(
    ("bound", "value"), [("MOST_FEATURES", 30), ("MOST_TILE", 900), ("MOST_FILE", 20_000), ("MOST_SHAPES", 3_000)]
)
def test_what_is_left_out_to_stay_small_is_told(tmp_path, monkeypatch, bound, value):
    monkeypatch.setattr(tile_preview, bound, value)
    dataset, built = layer(tmp_path, grid())
    made = preview(tmp_path, dataset, built)
    drawn = made.counts["features_drawn"]
    assert 0 < drawn < 100
    assert len(features(made.path)) == drawn
    assert f"{drawn} of 100 features" in metadata(made.path)["description"]
    assert made.facts["drawn"] == metadata(made.path)["description"]


def test_the_writer_itself_leaves_nothing_out(tmp_path):
    crowd = [*grid(30), r.square(1_200_000, 1_000_000)]  # in few tiles, because the layer reaches far
    dataset, built = layer(tmp_path, crowd)
    made = preview(tmp_path, dataset, built)
    assert len(features(made.path)) == made.counts["features_drawn"] == 901


def test_two_previews_have_identical_bytes_whatever_the_threads(tmp_path):
    dataset, built = layer(tmp_path, grid(20))
    hashes = set()
    try:
        for threads in ("1", "2", "4"):
            pyogrio.set_gdal_config_options({"GDAL_NUM_THREADS": threads})
            folder = tmp_path / threads
            folder.mkdir()
            hashes.add(hashlib.sha256(preview(folder, dataset, built).path.read_bytes()).hexdigest())
    finally:
        pyogrio.set_gdal_config_options({"GDAL_NUM_THREADS": None})
    assert len(hashes) == 1


def test_a_layer_without_shapes_and_one_that_asks_for_no_preview_have_none(tmp_path):
    dataset, built = layer(tmp_path, [None, None])
    assert previews(dataset, r.LAYER_VERSION, built, tmp_path) == ()
    other = tmp_path / "other"
    other.mkdir()
    dataset, built = layer(other, grid(2), preview=None)
    assert previews(dataset, r.LAYER_VERSION, built, other) == ()


@pytest.mark.parametrize(
    ("bbox", "zoom"),
    [
        ((-141.0, 42.0, -52.0, 83.0), 6),
        ((-79.6, 43.5, -79.1, 43.9), 12),
        ((-79.38, 43.65, -79.38, 43.65), 13),
        ((-180, -90, 180, 90), 4),
    ],
)
def test_the_largest_scale_follows_from_the_extent(bbox, zoom):
    assert tile_preview.largest_zoom(bbox) == zoom
