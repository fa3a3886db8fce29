"""A version built again: from the archive, with the declaration of its day, compared byte by byte and value by value."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from d4c_platform.cli.version import app
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Manifest, Release
from d4c_platform.stages.build import archive_release, build_artifact
from d4c_platform.stages.rebuild import Outcome, rebuild
from d4c_platform.transforms import csv_table, manifest, method, parquet
from d4c_platform_tests.stages.town import TREES, Town, csv, town

pytestmark = pytest.mark.usefixtures("there")


@pytest.fixture
def there(tmp_path):
    with town(tmp_path) as found:
        yield found


@pytest.fixture
def version(there: Town) -> str:
    version_id = there.release(csv(TREES))
    there.publish(version_id)
    return version_id


def again(there: Town, version: str):
    with there.platform() as platform:
        return rebuild(platform, version)


def said(capsys, *words: str) -> tuple[int, dict]:
    code = app(["rebuild", *words, "--json"], exit_on_error=False, result_action="return_value")
    return code, json.loads(capsys.readouterr().out)


def test_archived_built_published_and_built_again_it_is_identical(there, version, capsys, tmp_path):
    code, told = said(capsys, version, "--verify", "--to", str(tmp_path / "again"))
    assert (code, told["outcome"]) == (0, "identical")
    published = there.object(f"versions/{version}/{version}.parquet").read_bytes()
    assert (tmp_path / "again" / f"{version}.parquet").read_bytes() == published
    assert told["sha256"] == told["recorded"]["sha256"] == hashlib.sha256(published).hexdigest()
    assert told["differs"] == []


def test_without_verify_the_file_is_left_in_the_current_folder(there, version, capsys, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, told = said(capsys, version)
    assert code == 0
    assert "outcome" not in told
    assert [p.name for p in (tmp_path / "here").iterdir()] == [f"{version}.parquet"]


def test_a_rebuild_leaves_nothing_in_the_portal_and_nothing_in_its_working_folder(there, version):
    before = sorted((p, p.stat().st_mtime_ns) for p in there.object("").rglob("*") if p.is_file())
    again(there, version)
    assert sorted((p, p.stat().st_mtime_ns) for p in there.object("").rglob("*") if p.is_file()) == before
    assert list((there.folder / "work").iterdir()) == []


def test_a_tampered_source_is_refused(there, version):
    with there.platform() as platform:
        (key,) = platform.records.read(Manifest, version).sources
    there.object(key).chmod(0o644)
    there.object(key).write_bytes(csv(TREES | {1: "elm"}))
    with pytest.raises(PermanentFailure, match=r"sha-256 [0-9a-f]{64} instead of") as caught:
        again(there, version)
    assert version in str(caught.value)
    assert "Restore it from another copy" in str(caught.value)


def test_the_sources_hashes_are_the_manifests_and_not_the_release_records(there, version):
    with there.platform() as platform:
        release = platform.records.read(Release, version)
        (key,) = (f.key for f in release.files)
        forged = csv(TREES | {1: "elm"})
        file = release.files[0].model_copy(update={"sha256": hashlib.sha256(forged).hexdigest(), "bytes": len(forged)})
        platform.records.write(release.model_copy(update={"files": (file,)}))
    there.object(key).chmod(0o644)
    there.object(key).write_bytes(forged)
    with pytest.raises(PermanentFailure, match="instead of"):
        again(there, version)


def test_a_source_that_is_gone_is_refused_with_its_key(there, version):
    with there.platform() as platform:
        (key,) = platform.records.read(Manifest, version).sources
        platform.portal.store.delete(key)
    with pytest.raises(PermanentFailure, match="gone") as caught:
        again(there, version)
    assert key in str(caught.value)


def test_the_declaration_is_the_one_of_its_day(there, version):
    there.declare(transform={"kind": "csv", "delimiter": ";"}, key=[], columns=[])
    assert again(there, version).outcome is Outcome.IDENTICAL
    (there.folder / "datasets" / "trees.yaml").unlink()
    assert again(there, version).outcome is Outcome.IDENTICAL


def test_a_writer_that_packs_otherwise_gives_the_same_values_and_is_named(there, version, capsys, monkeypatch):
    monkeypatch.setattr(parquet, "COMPRESSION_LEVEL", 1)
    today = manifest.tools() | {"pyarrow": "99.0.0"}
    monkeypatch.setattr(manifest, "tools", lambda: today)
    code, told = said(capsys, version, "--verify")
    assert (code, told["outcome"]) == (3, "same-values")
    recorded = manifest.pa.__version__
    assert f"pyarrow was {recorded} and is 99.0.0; compression was zstd 15 and is zstd 1." in told["sentence"]
    assert {d["what"] for d in told["differs"]} == {"pyarrow", "compression"}


def test_a_changed_transform_gives_other_values_and_the_code_is_named(there, version, capsys, monkeypatch):
    build = csv_table.build

    def changed(dataset, transform, version_id, raw, workdir):
        (source,) = raw.values()
        source.write_bytes(source.read_bytes().replace(b"oak 7", b"elm 7"))
        return build(dataset, transform, version_id, raw, workdir)

    other = method.Method(b"", "f" * 64)
    monkeypatch.setattr(csv_table, "build", changed)
    monkeypatch.setattr(manifest, "method", lambda: other)
    code, told = said(capsys, version, "--verify")
    assert (code, told["outcome"]) == (4, "other-values")
    assert told["sentence"].startswith("Other values: 20 rows with logical hash")
    assert "the code was" in told["sentence"]
    assert "ffffffffffff" in told["sentence"]


def test_bytes_that_differ_with_everything_as_in_the_manifest_are_our_fault(there, version):
    rebuilt = again(there, version)
    other = rebuilt.recorded.model_copy(update={"digests": rebuilt.recorded.digests.model_copy(update={"sha256": "0" * 64})})
    told = type(rebuilt)(
        **{f: getattr(rebuilt, f) for f in ("version_id", "rows", "bytes", "sha256", "logical_hash", "differs")}, recorded=other
    )
    assert told.outcome is Outcome.SAME_VALUES
    assert "does not repeat itself" in told.sentence()


def test_records_that_contradict_each_other_are_refused(there, version):
    path = there.object(f"records/{version}/manifest.json")
    forged = json.loads(path.read_text()) | {"logical_hash": {"data": "0" * 64}}
    path.chmod(0o644)
    path.write_text(json.dumps(forged))
    with pytest.raises(PermanentFailure, match="different logical hashes"):
        again(there, version)


def test_what_was_never_built_cannot_be_rebuilt(there):
    version_id = there.release(csv(TREES))
    with pytest.raises(PermanentFailure, match=r"has no manifest\.json"):
        again(there, version_id)


def test_the_code_and_its_environment_lie_beside_the_versions_once(there, version):
    second = there.release(csv(TREES | {21: "fir"}))
    there.publish(second)
    with there.platform() as platform:
        manifests = [platform.records.read(Manifest, v) for v in (version, second)]
    (packed,) = there.object("methods").iterdir()
    assert {f"{m.method_sha256}.tar.gz" for m in manifests} == {packed.name}
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == manifests[0].method_sha256
    with tarfile.open(fileobj=io.BytesIO(packed.read_bytes())) as archive:
        lock = archive.extractfile("d4c-platform/requirements.lock").read()
    assert hashlib.sha256(lock).hexdigest() == manifests[0].lock_sha256
    readme = there.object(f"versions/{version}/README.md").read_text()
    assert readme.count(f"methods/{packed.name}") == 2


def test_the_manifest_names_the_code_that_built_it_and_not_the_code_that_wrote_it(there, monkeypatch):
    version_id = there.release(csv(TREES))
    with monkeypatch.context() as then:
        then.setenv(manifest.CODE_COMMIT, "the-builder")
        with there.platform() as platform:
            archive_release(platform, version_id)
            build_artifact(platform, version_id)
    monkeypatch.setenv(manifest.CODE_COMMIT, "a-later-release")
    there.publish(version_id)
    with there.platform() as platform:
        assert platform.records.read(Manifest, version_id).code_commit == "the-builder"


def test_an_artifact_that_is_made_again_after_its_staging_was_lost_keeps_its_record(there, monkeypatch):
    version_id = there.release(csv(TREES))
    with there.platform() as platform:
        archive_release(platform, version_id)
        first = build_artifact(platform, version_id)
        for info in list(platform.portal.store.list(f"staging/{version_id}/")):
            platform.portal.store.delete(info.key)
        monkeypatch.setenv(manifest.CODE_COMMIT, "a-later-release")
        assert build_artifact(platform, version_id) == first == platform.records.read(Build, version_id)
