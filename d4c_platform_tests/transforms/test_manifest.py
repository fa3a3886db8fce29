"""A manifest says enough to build the version again, and says the same twice."""

from datetime import UTC, datetime

from d4c_platform.model.records import Build, Changes, RawFile, Release
from d4c_platform.transforms import artifact_of, build, checks, manifest
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_checks import digests

NOW = datetime(2022, 2, 9, 13, 30, tzinfo=UTC)


def document(tmp_path):
    dataset = r.table_dataset()
    built = build(dataset, r.TABLE_VERSION, r.by_name(r.english_zip(tmp_path, [r.row()])), tmp_path / "w")
    raw = RawFile(
        name="98100001-eng.zip",
        key=f"raw/{r.TABLE_ID}/k/98100001-eng.zip",
        url="https://example.org/98100001-eng.zip",
        bytes=1,
        sha256="a" * 64,
        content_sha256="b" * 64,
        fetched_at=NOW,
        status=200,
        headers={},
    )
    release = Release(
        version_id=r.TABLE_VERSION,
        dataset_id=r.TABLE_ID,
        key="k",
        vintage="2022-02-09",
        released_at=NOW,
        noticed_at=NOW,
        hint={},
        content_sha256="c" * 64,
        files=(raw,),
    )
    verdicts = checks.check(dataset, built, built.path, None)
    changes = Changes(least_bump="first")
    artifacts = Build(version_id=r.TABLE_VERSION, artifacts=(artifact_of(built, r.TABLE_VERSION, digests()),))
    return manifest.manifest(dataset, r.TABLE_VERSION, release, artifacts, verdicts, changes)


def test_it_names_sources_code_environment_and_tools(tmp_path, monkeypatch):
    monkeypatch.setenv("D4C_CODE_COMMIT", "abc123")
    said = document(tmp_path)
    assert said.sources == {f"raw/{r.TABLE_ID}/k/98100001-eng.zip": "a" * 64}
    assert said.code_commit == "abc123"
    assert len(said.lock_sha256) == 64
    assert {"pyarrow", "duckdb", "geopandas", "shapely", "pyproj", "proj", "geos", "gdal"} <= said.tools.keys()
    assert said.parameters["compression"] == "zstd 15"
    assert said.dataset["id"] == r.TABLE_ID
    assert set(said.logical_hash) == {"data"}


def test_it_says_the_same_twice(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert document(tmp_path / "a") == document(tmp_path / "b")
