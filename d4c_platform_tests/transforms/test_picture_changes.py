"""The least honest number of a new image or tile set, from the two records alone."""

import pytest

from d4c_platform.model.records import Artifact, ColumnInfo, Digests
from d4c_platform.transforms.picture_changes import compare
from d4c_platform_tests.transforms import releases as r

DIGESTS = Digests(bytes=1, sha256="0" * 64, md5="0" * 32, piece_length=16384, pieces="", merkle_root="0" * 64)


def image(bands=3, kind="uint8", **changed):
    columns = tuple(ColumnInfo(name=f"band_{n + 1}", type=kind, nulls=0) for n in range(bands))
    said = {"role": "cog", "file": "a.tif", "media_type": "image/tiff", "digests": DIGESTS, "logical_hash": "b", "rows": 1000}
    return Artifact.model_validate({**said, "columns": columns, "crs": "EPSG:3578", "facts": {"dtype": kind}, **changed})


@pytest.mark.parametrize(
    ("changed", "least"),
    [
        ({"logical_hash": "b"}, "none"),
        ({}, "patch"),
        ({"rows": 1100}, "minor"),
        ({"rows": 900}, "patch"),
        ({"rows": 799}, "major"),
        ({"bands": 4}, "minor"),
        ({"bands": 2}, "major"),
        ({"kind": "uint16"}, "major"),
        ({"crs": "EPSG:3347"}, "major"),
        ({"role": "pmtiles"}, "major"),
        ({"logical_hash": "b", "crs": None}, "major"),
    ],
)
def test_the_least_bump_follows_from_what_changed(changed, least):
    later = image(**{"logical_hash": "c", **changed})
    found = compare(f"{r.IMAGE_ID}_v1.0.1", later, r.IMAGE_VERSION, image())
    assert found.least_bump == least
    assert all(e.endswith(".") for e in found.evidence)


def test_a_new_vintage_carries_its_own_values_and_extent():
    later = r.IMAGE_VERSION.replace("2024", "2025")
    assert compare(later, image(rows=10, logical_hash="c"), r.IMAGE_VERSION, image()).least_bump == "patch"
    assert compare(later, image(bands=2, logical_hash="c"), r.IMAGE_VERSION, image()).least_bump == "major"
