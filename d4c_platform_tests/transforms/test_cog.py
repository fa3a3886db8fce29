"""Images become Cloud-Optimized GeoTIFFs with the publisher's pixels, statistics and overviews – or a clear refusal."""

import hashlib
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import artifact_of, build, checks, cog, image_source, pixels
from d4c_platform.transforms.built import COG
from d4c_platform.transforms.preview import preview
from d4c_platform_tests.torrents.sites import site
from d4c_platform_tests.transforms import images
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_picture_changes import DIGESTS
from d4c_platform_tests.transforms.test_same_bytes import elsewhere


def built(tmp_path, source, **declared):
    return build(r.image_dataset(**declared), r.IMAGE_VERSION, {source.name: source}, tmp_path / "work")


def refusal(tmp_path, source, **declared):
    with pytest.raises(PermanentFailure) as caught:
        built(tmp_path, source, **declared)
    return str(caught.value)


def test_a_colour_image_keeps_its_pixels_and_gains_overviews_and_statistics(tmp_path):
    values = images.rgb()
    made = built(tmp_path, images.write(tmp_path / "ortho.tif", values, photometric="rgb"))
    with rasterio.open(made.path) as image:
        assert (image.read() == values).all()
        assert image.crs == rasterio.CRS.from_epsg(3578)
        assert image.transform == images.NORTH_UP_3578
        assert image.overviews(1) == [2]
        assert image.block_shapes == [(512, 512)] * 3
        assert image.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        said = image.tags(2)
        assert float(said["STATISTICS_MEAN"]) == pytest.approx(values[1].mean(), rel=1e-11)
        assert float(said["STATISTICS_STDDEV"]) == pytest.approx(values[1].std(), rel=1e-9)
        assert (float(said["STATISTICS_MINIMUM"]), float(said["STATISTICS_MAXIMUM"])) == (values[1].min(), values[1].max())
        assert said["STATISTICS_VALID_PERCENT"] == "100"
    assert cog.problems(made.path) == []
    assert (made.role, made.crs, made.rows) == ("cog", "EPSG:3578", 700 * 900)
    assert [(c.name, c.type, c.nulls) for c in made.columns] == [(f"band_{n}", "uint8", 0) for n in (1, 2, 3)]
    assert dict(made.counts) == {
        "bands": 3, "height": 700, "nodata_pixels": 0, "overviews": 1, "source_rows": 630_000, "width": 900,
    }  # fmt: skip
    west, south, east, north = made.bbox
    assert -140 < west < east < -120
    assert 59 < south < north < 70


def test_nodata_is_kept_counted_and_left_out_of_the_statistics(tmp_path):
    values = np.linspace(-5, 5, 600 * 600, dtype=np.float32).reshape(1, 600, 600)
    values[0, :100] = -9999
    values[0, 100, 0] = np.nan
    made = built(tmp_path, images.write(tmp_path / "dem.tif", values, nodata=-9999))
    known = values[(values != -9999) & ~np.isnan(values)]
    with rasterio.open(made.path) as image:
        assert image.nodata == -9999
        assert np.array_equal(image.read(), values, equal_nan=True)
        assert float(image.tags(1)["STATISTICS_MINIMUM"]) == pytest.approx(known.min())
        assert float(image.tags(1)["STATISTICS_MEAN"]) == pytest.approx(known.astype(float).mean(), rel=1e-6)
    assert made.counts["nodata_pixels"] == made.columns[0].nulls == 60_001
    assert made.facts["nodata"] == "-9999.0"


def test_a_declared_nodata_counts_where_the_file_says_none(tmp_path):
    values = np.ones((1, 64, 64), np.int16)
    values[0, 0, :5] = -1
    made = built(tmp_path, images.write(tmp_path / "a.tif", values), nodata=-1)
    assert made.counts["nodata_pixels"] == 5
    assert "no pixel of type int16" in refusal(tmp_path / "2", images.write(tmp_path / "b.tif", values), nodata=0.5)


def test_a_palette_stays_a_palette_and_is_never_averaged(tmp_path):
    values = np.random.default_rng(3).integers(0, 3, (1, 800, 800)).astype(np.uint8)
    palette = {0: (0, 0, 0, 255), 1: (10, 200, 30, 255), 2: (250, 250, 250, 255)}
    source = images.write(tmp_path / "classes.tif", values, palette=palette)
    made = built(tmp_path, source)
    with rasterio.open(made.path) as image, rasterio.open(made.path, overview_level=0) as overview:
        assert {k: image.colormap(1)[k] for k in palette} == palette
        assert set(np.unique(overview.read())) <= {0, 1, 2}
        assert overview.shape == (400, 400)
    assert cog.problems(made.path) == []
    assert "palette" in refusal(tmp_path / "2", source, overviews="average")


def test_overviews_are_made_as_declared(tmp_path):
    values = np.zeros((1, 1024, 1024), np.uint8)
    values[0, ::2, ::2] = 200
    source = images.write(tmp_path / "a.tif", values)
    for how, expected in (("nearest", {0, 200}), ("average", {50})):
        made = built(tmp_path / how, source, overviews=how)
        with rasterio.open(made.path, overview_level=0) as overview:
            assert set(np.unique(overview.read())) <= expected


@pytest.mark.skipif(not images.has_driver("JP2OpenJPEG"), reason="this rasterio has no JPEG 2000 driver")
def test_jpeg_2000_is_read(tmp_path):
    values = images.rgb()
    source = images.write(tmp_path / "ortho.jp2", values, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    made = built(tmp_path, source)
    with rasterio.open(made.path) as image:
        assert (image.read() == values).all()
    assert (made.facts["source_format"], made.crs) == ("JP2OpenJPEG", "EPSG:3578")


def test_a_rotated_image_is_not_turned_and_its_box_holds_all_corners(tmp_path):
    rotated = images.NORTH_UP_3578 @ Affine.rotation(30)
    values = images.rgb(300, 400)
    made = built(tmp_path, images.write(tmp_path / "turned.tif", values, transform=rotated))
    with rasterio.open(made.path) as image:
        assert image.transform.almost_equals(rotated)
        assert (image.read() == values).all()
        corners = [image.transform @ corner for corner in ((0, 0), (400, 0), (400, 300), (0, 300))]
        xs, ys = rasterio.warp.transform(image.crs, "OGC:CRS84", *zip(*corners, strict=True))
    assert made.bbox == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=1e-6)


def test_a_mask_of_the_image_is_kept_and_counts(tmp_path):
    values = images.rgb(600, 600)
    source = images.write(tmp_path / "masked.tif", values)
    mask = np.full((600, 600), 255, np.uint8)
    mask[:10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as image:
        image.write_mask(mask)
    made = built(tmp_path, source)
    with rasterio.open(made.path) as image:
        assert image.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert (image.read_masks(1) == mask).all()
    assert made.counts["nodata_pixels"] == 6_000
    assert cog.problems(made.path) == []


def test_transparency_counts_as_no_value(tmp_path):
    values = np.concatenate([images.rgb(100, 100), np.full((1, 100, 100), 255, np.uint8)])
    values[3, :7] = 0
    made = built(tmp_path, images.write(tmp_path / "rgba.tif", values, photometric="rgb", alpha="yes"))
    assert made.counts["nodata_pixels"] == 700
    assert [c.nulls for c in made.columns] == [700, 700, 700, 0]


@pytest.mark.parametrize("compression", ["deflate", "zstd", "webp"])
def test_nothing_is_lost_without_a_quality(tmp_path, compression):
    values = images.rgb()
    made = built(tmp_path, images.write(tmp_path / "a.tif", values), compression=compression)
    with rasterio.open(made.path) as image:
        assert (image.read() == values).all()
        assert image.compression.value.lower() == compression
    assert made.facts["lossless"] == "yes"
    assert cog.problems(made.path) == []


@pytest.mark.parametrize("compression", ["jpeg", "webp"])
def test_a_quality_makes_it_lossy_and_small_and_the_record_says_so(tmp_path, compression):
    values = images.rgb()
    source = images.write(tmp_path / "a.tif", values)
    made = built(tmp_path, source, compression=compression, quality=75)
    with rasterio.open(made.path) as image:
        off = np.abs(image.read().astype(int) - values)
    assert 0 < off.mean() < 8
    assert made.facts["lossless"] == "no"
    assert made.path.stat().st_size < built(tmp_path / "2", source).path.stat().st_size
    assert cog.problems(made.path) == []


def test_a_lossless_build_whose_pixels_differ_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cog, "lossy", lambda _: False)
    source = images.write(tmp_path / "a.tif", images.rgb())
    assert "other pixels" in refusal(tmp_path, source, compression="jpeg", quality=75)


@pytest.mark.parametrize(
    ("values", "declared", "says"),
    [
        (np.zeros((1, 64, 64), np.float32), {"compression": "jpeg", "quality": 80}, "jpeg cannot hold 1 bands of float32"),
        (np.zeros((1, 64, 64), np.uint8), {"compression": "webp"}, "webp cannot hold 1 bands of uint8"),
        (np.zeros((1, 64, 64), np.complex64), {}, "real numbers"),
    ],
)
def test_what_the_compression_cannot_hold_is_refused(tmp_path, values, declared, says):
    assert says in refusal(tmp_path, images.write(tmp_path / "a.tif", values), **declared)


def test_an_image_without_a_crs_is_refused_also_when_a_file_beside_it_knows_one(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(64, 64), crs=None)
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:3578</SRS></PAMDataset>")
    assert "no coordinate reference system" in refusal(tmp_path, source)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_image_that_does_not_say_where_it_lies_is_refused(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(64, 64), transform=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500000\n700000\n")
    assert "where it lies" in refusal(tmp_path, source)


def test_an_image_that_ends_too_early_is_refused(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(), tiled=True)
    source.write_bytes(source.read_bytes()[:-300_000])
    assert "cannot be read" in refusal(tmp_path, source)


def test_a_few_bytes_that_claim_to_be_a_huge_image_are_refused_before_anything_is_unpacked(tmp_path):
    source = tmp_path / "bomb.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": images.CRS, "transform": images.NORTH_UP_3578}
    with rasterio.open(source, "w", width=200_000, height=200_000, tiled=True, SPARSE_OK=True, **profile):
        pass
    assert "cannot hold" in refusal(tmp_path, source)
    assert not list((tmp_path / "work").iterdir())


def test_the_image_is_told_by_its_bytes_and_no_address_in_it_is_followed(tmp_path):
    odd = images.write(tmp_path / "image.ecw.tif", images.rgb(64, 64)).rename(tmp_path / "image.ecw")
    assert built(tmp_path, odd).rows == 64 * 64
    vrt = tmp_path / "a.tif"
    vrt.write_text(f'<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:3578</SRS><Source>{odd}</Source></VRTDataset>')
    assert "no GeoTIFF and no JPEG 2000" in refusal(tmp_path / "2", vrt)


def test_a_file_is_opened_with_the_one_driver_that_was_asked_for(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(64, 64))
    rasterio.shutil.copy(str(source), str(tmp_path / "b.tif"), driver="VRT")
    with rasterio.open(tmp_path / "b.tif") as followed:
        assert followed.shape == (64, 64)
    with pytest.raises(PermanentFailure), image_source.opened(tmp_path / "b.tif", "GTiff", tmp_path):
        pass


def test_the_image_of_a_zip_is_found_and_two_are_refused(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(64, 64))
    for count in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{count}.zip", "w") as archive:
            archive.writestr("README.txt", "Orthophoto")
            for number in range(count):
                archive.write(source, f"data/{number}.tif")
    assert built(tmp_path, tmp_path / "1.zip").rows == 64 * 64
    assert "several images" in refusal(tmp_path / "2", tmp_path / "2.zip")


def test_two_builds_give_identical_bytes_anywhere(tmp_path):
    source = images.write(tmp_path / "a.tif", images.rgb(1100, 1300))
    for compression, quality in (("deflate", None), ("zstd", None), ("webp", None), ("jpeg", 80)):
        declared = {"compression": compression, "quality": quality}
        made = built(tmp_path / compression, source, **declared)
        here = [hashlib.sha256(made.path.read_bytes()).hexdigest(), made.logical_hash]
        assert elsewhere(tmp_path / compression, r.image_dataset(**declared), r.IMAGE_VERSION, {source.name: source}) == here


def test_the_number_of_threads_does_not_show(tmp_path, monkeypatch):
    source = images.write(tmp_path / "a.tif", images.rgb(1100, 1300))
    hashes = set()
    for threads in (1, 2, 4):
        monkeypatch.setattr(cog, "THREADS", threads)
        monkeypatch.setattr(image_source, "THREADS", threads)
        made = built(tmp_path / str(threads), source, overviews="average")
        hashes.add(hashlib.sha256(made.path.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_the_logical_hash_knows_values_and_place_and_no_layout(tmp_path, monkeypatch):
    values = images.rgb()

    def of(name, values=values, **profile):
        source = images.write(tmp_path / name, values, **profile)
        with rasterio.open(source) as image:
            return pixels.pixels_of(image, image.nodata).hexdigest(image, "EPSG:3578")

    expected = of("strips.tif")
    monkeypatch.setattr(pixels, "AT_ONCE", 1)
    assert of("strips.tif") == expected
    assert of("tiles.tif", tiled=True, blockxsize=256, blockysize=256, compress="lzw", interleave="band") == expected
    changed = values.copy()
    changed[2, 699, 899] ^= 1
    others = {
        of("changed.tif", changed),
        of("moved.tif", transform=images.NORTH_UP_3578 @ Affine.translation(1, 0)),
        of("typed.tif", values.astype(np.uint16)),
        of("nodata.tif", nodata=0),
    }
    assert len({expected, *others}) == 5


def test_the_result_is_read_over_http_by_its_parts(tmp_path):
    made = built(tmp_path, images.write(tmp_path / "a.tif", images.rgb(2048, 2048)))
    with site(made.path.parent) as mirror:
        url = mirror.seed("good", made.path.name)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(f"/vsicurl/{url}") as image:
            window = rasterio.windows.Window(600, 700, 100, 100)
            assert (image.read(window=window) == images.rgb(2048, 2048)[:, 700:800, 600:700]).all()


def test_the_blocking_checks_look_at_an_image_too(tmp_path):
    made = built(tmp_path, images.write(tmp_path / "a.tif", images.rgb(1100, 1300)))
    declared = r.image_dataset(columns=[r.column("band_1", "uint8"), r.column("band_3", "uint8", nullable=False)])
    verdicts = {v.check: v for v in checks.check(declared, made, made.path, None)}
    assert [v for v in verdicts.values() if not v.passed] == []
    assert "1,430,000 pixels" in verdicts["rows"].evidence
    assert "EPSG:3578" in verdicts["crs"].evidence
    artifact = artifact_of(made, r.IMAGE_VERSION, DIGESTS)
    assert (artifact.file, artifact.media_type) == (f"{r.IMAGE_VERSION}.tif", COG)
    assert preview(declared, artifact, made.path).startswith("<svg")


def test_a_plain_tiff_in_its_place_and_other_bands_than_declared_block(tmp_path):
    made = built(tmp_path, images.write(tmp_path / "a.tif", images.rgb(1100, 1300)))
    images.write(made.path, images.rgb(1100, 1300))
    declared = r.image_dataset(columns=[r.column("band_4", "uint8")])
    verdicts = {v.check: v for v in checks.check(declared, replace(made, crs=None), made.path, None)}
    assert {v.check for v in verdicts.values() if not v.passed} == {"format", "columns", "crs"}
