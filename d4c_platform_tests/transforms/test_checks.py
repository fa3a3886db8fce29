"""What stops a version from being published, and what is told about it."""

import pytest
import shapely

from d4c_platform.datasets.declarations import load
from d4c_platform.model.checks import CheckName
from d4c_platform.model.records import Digests, Severity
from d4c_platform.transforms import artifact_of, build, checks
from d4c_platform_tests.places import recorded
from d4c_platform_tests.transforms import releases as r


def digests():
    return Digests(bytes=1, sha256="0" * 64, md5="0" * 32, piece_length=16384, pieces="", merkle_root="0" * 64)


def table(tmp_path, rows, *, points=None, **declared):
    files = [r.english_zip(tmp_path, rows)]
    if points is not None:
        files.append(r.metadata_json(tmp_path, data_points=points))
    dataset = r.table_dataset(**declared)
    return dataset, build(dataset, r.TABLE_VERSION, r.by_name(*files), tmp_path / "w")


def verdict(name, dataset, built, predecessor=None):
    return next(v for v in checks.check(dataset, built, built.path, predecessor) if v.check == name)


def test_every_check_gives_one_verdict_whatever_the_artifact(tmp_path):
    dataset, built = table(tmp_path, [r.row()])
    artifact = artifact_of(built, r.TABLE_VERSION, digests())
    verdicts = checks.check(dataset, artifact, built.path, None)
    assert [(v.check, v.severity is Severity.BLOCKING) for v in verdicts] == [
        (name, blocks) for name, blocks, _ in checks.CHECKS
    ]
    assert all(v.passed and v.evidence.endswith(".") for v in verdicts if v.severity is Severity.BLOCKING)
    assert artifact.file == f"{r.TABLE_VERSION}.parquet"


@pytest.mark.parametrize(("product", "rows"), [("33100036", 90_086), ("18100204", 11_804)])
def test_the_declared_statcan_tables_pass_with_the_publishers_own_figure(tmp_path, product, rows):
    dataset = next(d for d in load().values() if d.id.endswith(product))
    raw = r.by_name(recorded("statcan", f"{product}-eng.zip"), recorded("statcan", f"{product}.json"))
    built = build(dataset, f"{dataset.id}_v1.0.0", raw, tmp_path)
    verdicts = checks.check(dataset, built, built.path, None)
    assert [v.evidence for v in verdicts if v.severity is Severity.BLOCKING and not v.passed] == []
    assert built.rows == built.counts["publisher_rows"] == rows
    assert built.counts["labels_unlike_metadata"] == built.counts["labels_without_french"] == 0


@pytest.mark.parametrize("name", ["toronto_wards_2018", "yukon_electoral_districts_2015"])
def test_the_declared_layers_pass(tmp_path, name):
    dataset = next(d for d in load().values() if d.id.endswith(name.partition("_")[2]))
    built = build(dataset, f"{dataset.id}_v1.0.0", r.by_name(recorded("shapefiles", f"{name}.zip")), tmp_path)
    verdicts = checks.check(dataset, built, built.path, None)
    assert [v.evidence for v in verdicts if not v.passed] == []


def test_a_row_count_that_is_not_the_publishers_blocks(tmp_path):
    found = verdict("publisher_rows", *table(tmp_path, [r.row()], points=2))
    assert not found.passed
    assert found.evidence == "The table has 1 rows, but the publisher says 2 data points."


def test_an_empty_table_blocks(tmp_path):
    assert not verdict("rows", *table(tmp_path, [])).passed


def test_a_key_that_repeats_blocks_and_is_shown(tmp_path):
    found = verdict("key", *table(tmp_path, [r.row("2021"), r.row("2016"), r.row("2016", value="1")]))
    assert not found.passed
    assert found.evidence == "vector_id + ref_date is not unique: vector_id 11, ref_date 2016 occurs 2 times."


def test_a_key_with_nulls_blocks(tmp_path):
    found = verdict("key", *table(tmp_path, [r.row()], key=("status",)))
    assert not found.passed
    assert "status has nulls" in found.evidence


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (r.column("population"), "population is missing"),
        (r.column("value", "int64"), "value is double instead of int64"),
        (r.column("status", nullable=False), "status has 1 nulls"),
    ],
)
def test_a_broken_promise_about_a_column_blocks(tmp_path, declared, told):
    found = verdict("columns", *table(tmp_path, [r.row()], columns=[declared]))
    assert not found.passed
    assert found.severity is Severity.BLOCKING
    assert told in found.evidence


def layer(tmp_path, geometries, **options):
    zipped = r.shapefile_zip(tmp_path / "z.zip", geometries, {"A": list(range(len(geometries)))}, **options)
    dataset = r.layer_dataset()
    return dataset, build(dataset, r.LAYER_VERSION, r.by_name(zipped), tmp_path / "w")


def test_a_layer_that_lost_its_shapes_blocks(tmp_path):
    found = verdict("geometry", *layer(tmp_path, [r.square(0, 0), None]))
    assert not found.passed
    assert found.evidence == "1 of 2 rows have a geometry (50.0%)."


def test_an_unknown_crs_blocks(tmp_path):
    prj = recorded("shapefiles", "lcd_000b16a_e.prj").read_text().replace("6200000.0", "6200001.0")
    assert not verdict("crs", *layer(tmp_path, [r.square(7_500_000, 1_200_000)], prj=prj)).passed


def test_what_was_suppressed_is_told_and_blocks_nothing(tmp_path):
    found = verdict("suppressed_values", *table(tmp_path, [r.row(), r.row("2016", value="", status="x")]))
    assert (found.passed, found.severity) == (False, Severity.WARNING)
    assert found.evidence.startswith("1 values that are suppressed")


def tuned(name, **choice):
    return {"checks": [{"check": name, "reason": {"en": "As agreed", "fr": "Comme convenu"}, **choice}]}


def drifted(tmp_path, years, **declared):
    """The verdict on a table of so many years, ten before."""
    (tmp_path / "old").mkdir()
    _, old = table(tmp_path / "old", [r.row(str(y)) for y in range(2000, 2010)])
    dataset, built = table(tmp_path, [r.row(str(y)) for y in range(2000, 2000 + years)], **declared)
    return verdict("drift", dataset, built, artifact_of(old, r.TABLE_VERSION, digests()))


def test_a_table_that_lost_more_than_a_fifth_of_its_rows_blocks(tmp_path):
    found = drifted(tmp_path, 7)
    assert (found.passed, found.severity) == (False, Severity.BLOCKING)
    assert found.evidence == "7 rows, 10 in the version before."


def test_a_table_that_lost_a_fifth_passes(tmp_path):
    assert drifted(tmp_path, 8).passed


def test_a_table_that_more_than_doubled_is_told_and_blocks_nothing(tmp_path):
    found = drifted(tmp_path, 21)
    assert (found.passed, found.severity) == (False, Severity.WARNING)


def test_a_tuned_limit_is_the_one_that_counts_and_stays_with_the_verdict(tmp_path):
    found = drifted(tmp_path, 7, **tuned("drift", limit=0.3))
    assert found.passed
    assert (found.limit, found.waived, found.reason.fr) == (0.3, False, "Comme convenu")


def test_a_tuned_limit_still_blocks_beyond_it(tmp_path):
    found = drifted(tmp_path, 7, **tuned("drift", limit=0.25))
    assert (found.passed, found.severity) == (False, Severity.BLOCKING)


def test_a_waived_check_still_runs_and_blocks_nothing(tmp_path):
    declared = tuned("key", waived=True)
    dataset, built = table(tmp_path, [r.row("2016"), r.row("2016", value="1")], **declared)
    found = verdict("key", dataset, built)
    assert (found.passed, found.severity, found.waived) == (False, Severity.WARNING, True)
    assert "is not unique" in found.evidence
    assert found.reason.en == "As agreed"
    assert all(v.reason is None for v in checks.check(dataset, built, built.path, None) if v.check != "key")


def with_nulls(tmp_path, name, nulls, **declared):
    """The verdict on the nulls of a table of twenty rows in one column, one of which was null before."""
    found = []
    for n in (1, nulls):
        folder = tmp_path / f"{len(found)}"
        folder.mkdir()
        rows = [r.row(str(1900 + i), **{name: "" if i < n else "7"}) for i in range(20)]
        found.append(table(folder, rows, **declared))
    (_, old), (dataset, built) = found
    return verdict("null_drift", dataset, built, artifact_of(old, r.TABLE_VERSION, digests()))


def test_a_column_that_lost_its_values_blocks(tmp_path):
    found = with_nulls(tmp_path, "value", 4)
    assert (found.passed, found.severity) == (False, Severity.BLOCKING)
    assert found.evidence == "More rows are null than in the version before: value from 5.0% to 20.0%."


def test_a_few_more_nulls_pass_and_a_tuned_limit_lets_more_pass(tmp_path):
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    assert with_nulls(tmp_path / "few", "value", 3).passed
    assert with_nulls(tmp_path / "many", "value", 4, **tuned("null_drift", limit=0.2)).passed


def test_marks_that_were_taken_back_are_no_lost_values(tmp_path):
    assert with_nulls(tmp_path, "symbol", 20).passed


@pytest.mark.parametrize(("of", "severity"), [(100, Severity.WARNING), (99, Severity.BLOCKING)])
def test_a_malformed_dguid_in_a_hundred_is_told_and_more_blocks(tmp_path, of, severity):
    rows = [r.row(str(1900 + i), dguid="2021X" if i == 0 else r.DGUIDS["1"]) for i in range(of)]
    found = verdict("invalid_dguids", *table(tmp_path, rows))
    assert (found.passed, found.severity) == (False, severity)
    assert found.evidence.startswith("1 rows with a DGUID that is not well formed: 1.0")


@pytest.mark.parametrize(("of", "severity"), [(20, Severity.WARNING), (19, Severity.BLOCKING)])
def test_an_invalid_shape_in_twenty_is_told_and_more_blocks(tmp_path, of, severity):
    bowtie = shapely.Polygon([(0, 0), (1000, 1000), (1000, 0), (0, 1000), (0, 0)])
    found = verdict("invalid_geometries", *layer(tmp_path, [bowtie, *(r.square(5000 * i, 0) for i in range(1, of))]))
    assert (found.passed, found.severity) == (False, severity)


def test_a_publishers_figure_can_be_given_some_play(tmp_path):
    rows = [r.row(str(1900 + i)) for i in range(99)]
    assert verdict("publisher_rows", *table(tmp_path, rows, points=100, **tuned("publisher_rows", limit=0.01))).passed
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert not verdict("publisher_rows", *table(tmp_path / "a", rows, points=100)).passed
    assert not verdict("publisher_rows", *table(tmp_path / "b", rows, points=101, **tuned("publisher_rows", limit=0.01))).passed


def test_every_check_can_be_named_in_a_declaration():
    assert [name for name, _, _ in checks.CHECKS] == [c.value for c in CheckName]


def test_these_checks_block():
    """Issue 4: the list that stands before anything is public."""
    blocking = {name for name, blocks, _ in checks.CHECKS if blocks}
    assert blocking >= {
        "columns",
        "publisher_rows",
        "key",
        "invalid_dguids",
        "invalid_geometries",
        "crs",
        "drift",
        "null_drift",
    }
