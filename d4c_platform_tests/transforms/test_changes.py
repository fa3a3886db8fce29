"""An honest version number: for each kind of change the least bump, with its evidence."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Changes
from d4c_platform.naming import SemVer
from d4c_platform.transforms import build, changes, logical_hash, parquet
from d4c_platform_tests.transforms import releases as r

BEFORE = f"{r.TABLE_ID}_2022-02-09_v1.0.0"
SAME_VINTAGE = f"{r.TABLE_ID}_2022-02-09_v1.0.1"
NEW_VINTAGE = f"{r.TABLE_ID}_2022-03-09_v1.0.0"
BASE = {"id": list(range(10)), "name": [f"n{i}" for i in range(10)], "value": [i / 2 for i in range(10)], "uom_id": [1] * 10}
TYPES = {"id": pa.int64(), "name": pa.string(), "value": pa.float64(), "uom_id": pa.int32()}


def write(path, columns, types=TYPES, key=("id",), **facts):
    described = [parquet.Column(name, types.get(name, pa.string())) for name in columns]
    batch = pa.record_batch(
        [pa.array(v, c.type) for v, c in zip(columns.values(), described, strict=True)], names=list(columns)
    )
    order = logical_hash.canonical_order(key, columns)
    rows = len(next(iter(columns.values())))
    parquet.write(path, described, [batch], expected_rows=rows, order=order, facts={"key": list(key), **facts})
    return path


def compare(tmp_path, columns, *, version=SAME_VINTAGE, key=("id",), before=BASE, types=TYPES, old_key=None, **facts):
    old = write(tmp_path / "old.parquet", before, key=old_key or key)
    new = write(tmp_path / "new.parquet", columns, types, key, **facts)
    return changes.compare(r.table_dataset(key=key), version, new, BEFORE, old)


def with_row(columns, **row):
    return {name: [*values, row.get(name, values[-1])] for name, values in columns.items()}


def with_value(columns, name, at, value):
    return {n: [value if (n, i) == (name, at) else v for i, v in enumerate(values)] for n, values in columns.items()}


def first(columns, count):
    return {name: values[:count] for name, values in columns.items()}


def test_equal_values_are_no_change_even_in_a_new_vintage(tmp_path):
    assert compare(tmp_path, BASE, version=NEW_VINTAGE).least_bump == "none"


def test_a_corrected_value_is_a_patch_and_is_counted(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 3, 9.0))
    assert (found.least_bump, found.rows_changed, found.rows_added, found.rows_removed) == ("patch", 1, 0, 0)
    assert "Changed: value in 1 rows." in found.evidence


def test_rows_added_within_one_vintage_are_minor(tmp_path):
    found = compare(tmp_path, with_row(BASE, id=10))
    assert (found.least_bump, found.rows_added) == ("minor", 1)


def test_rows_added_by_a_new_vintage_are_carried_by_its_date(tmp_path):
    found = compare(tmp_path, with_row(with_value(BASE, "value", 0, 5.0), id=10), version=NEW_VINTAGE)
    assert (found.rows_added, found.rows_changed) == (1, 1)
    assert found.least_bump == "patch"
    assert changes.allowed(found, SemVer(1, 0, 0), SemVer(1, 0, 3), same_vintage=False)


def test_a_column_added_is_minor_in_any_vintage(tmp_path):
    for version in (SAME_VINTAGE, NEW_VINTAGE):
        found = compare(tmp_path, {**BASE, "note": ["x"] * 10}, version=version)
        assert (found.least_bump, found.columns_added) == ("minor", ("note",))


def test_a_renamed_column_is_major(tmp_path):
    renamed = {("label" if n == "name" else n): v for n, v in BASE.items()}
    found = compare(tmp_path, renamed, version=NEW_VINTAGE)
    assert (found.least_bump, found.columns_removed, found.columns_added) == ("major", ("name",), ("label",))


def test_a_retyped_column_is_major_even_when_every_value_is_equal(tmp_path):
    found = compare(tmp_path, BASE, types={**TYPES, "uom_id": pa.int64()})
    assert (found.least_bump, found.columns_retyped) == ("major", ("uom_id",))
    assert "uom_id from int32 to int64" in found.evidence[0]


def test_a_changed_unit_is_major(tmp_path):
    assert compare(tmp_path, with_value(BASE, "uom_id", 2, 7), version=NEW_VINTAGE).least_bump == "major"


def test_a_changed_key_is_major(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 2, 7.0), key=("name",), old_key=("id",))
    assert found.least_bump == "major"
    assert "The key changed from id to name." in found.evidence


def test_a_changed_key_is_major_even_when_every_value_is_equal(tmp_path):
    found = compare(tmp_path, BASE, key=("name",), old_key=("id",))
    assert found.least_bump == "major"
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (0, 0, 0)


def test_a_few_rows_withdrawn_are_a_patch_a_quarter_of_them_major(tmp_path):
    assert compare(tmp_path, first(BASE, 9)).least_bump == "patch"
    assert compare(tmp_path, first(BASE, 7)).least_bump == "major"


def test_without_a_key_whole_rows_are_compared_as_often_as_they_occur(tmp_path):
    before = with_row(BASE)
    found = compare(tmp_path, with_row(with_row(before)), before=before, key=())
    assert (found.rows_added, found.rows_removed, found.least_bump) == (2, 0, "minor")


def test_without_a_key_a_corrected_row_is_a_patch(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 3, 9.0), key=())
    assert (found.rows_added, found.rows_removed, found.least_bump) == (1, 1, "patch")


def test_another_crs_is_major(tmp_path):
    found = []
    for crs in ("EPSG:3578", "EPSG:3579"):
        folder = tmp_path / crs[5:]
        folder.mkdir()
        zipped = r.shapefile_zip(folder / "z.zip", [r.square(500_000, 600_000)], {"A": [1]}, crs=crs)
        found.append(build(r.layer_dataset(), r.LAYER_VERSION, r.by_name(zipped), folder / "w"))
    told = changes.compare(r.layer_dataset(), r.LAYER_VERSION, found[1].path, r.LAYER_VERSION, found[0].path)
    assert told.least_bump == "major"
    assert told.evidence[0] == "The coordinate reference system changed from EPSG:3578 to EPSG:3579."


def test_a_moved_boundary_is_a_patch(tmp_path):
    found = []
    for n, x in enumerate((500_000, 500_001)):
        folder = tmp_path / str(n)
        folder.mkdir()
        zipped = r.shapefile_zip(folder / "z.zip", [r.square(x, 600_000), r.square(0, 0)], {"A": [1, 2]})
        found.append(build(r.layer_dataset(key=("a",)), r.LAYER_VERSION, r.by_name(zipped), folder / "w"))
    told = changes.compare(r.layer_dataset(key=("a",)), r.LAYER_VERSION, found[1].path, r.LAYER_VERSION, found[0].path)
    assert (told.least_bump, told.rows_changed) == ("patch", 1)


@pytest.mark.parametrize(
    ("bump", "declared", "same_vintage", "fine"),
    [
        ("patch", "1.2.3", True, False),
        ("patch", "1.2.4", True, True),
        ("minor", "1.2.4", True, False),
        ("minor", "1.3.0", True, True),
        ("major", "1.3.0", True, False),
        ("major", "2.0.0", True, True),
        ("patch", "1.2.0", False, True),
        ("patch", "1.1.0", False, False),
        ("minor", "1.2.9", False, False),
        ("first", "0.1.0-beta", False, True),
    ],
)
def test_a_number_may_say_more_but_never_less_than_what_changed(bump, declared, same_vintage, fine):
    found = Changes(predecessor=BEFORE, least_bump=bump)
    assert changes.allowed(found, SemVer.parse(declared), SemVer(1, 2, 3), same_vintage=same_vintage) is fine


@given(st.sampled_from(["patch", "minor", "major"]), st.booleans(), *[st.integers(0, 5)] * 3)
def test_the_number_that_is_suggested_is_allowed(bump, same_vintage, major, minor, patch):
    found, before = Changes(least_bump=bump), SemVer(major, minor, patch)
    assert changes.allowed(
        found, changes.least_number(found, before, same_vintage=same_vintage), before, same_vintage=same_vintage
    )


def test_a_number_that_says_too_little_stops_with_the_evidence_and_what_to_declare(tmp_path):
    found = compare(tmp_path, with_row(BASE, id=10))
    with pytest.raises(PermanentFailure) as caught:
        changes.require_honest_number(r.table_dataset(), SAME_VINTAGE, BEFORE, found)
    said = str(caught.value)
    assert SAME_VINTAGE in said
    assert "1 rows added" in said
    assert "Declare `version: 1.1.0` or higher" in said
