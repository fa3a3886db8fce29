"""What a bad source or a mirror in trouble does: a clear error, the previous latest stays, nothing is half-published."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import httpx
import pytest

from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, World, world

SECOND = f"{TABLE}_2022-02-09_v1.0.0"


SOURCES_AND_PORTAL = ("statcan", "files", "portal")


@pytest.fixture(scope="module")
def first_release(tmp_path_factory):
    """The folder of a sandbox in which the first release of everything is published; tests work on copies."""
    folder = tmp_path_factory.mktemp("first") / "sandbox"
    with world(folder) as there:
        runs = there.work()
        assert all(run.ok for run in runs), [run.trouble for run in runs]
    return folder


@pytest.fixture
def there(first_release, tmp_path):
    """A world in which the first release is published, without the services that a build does not need."""
    shutil.copytree(first_release, tmp_path / "sandbox")
    with world(tmp_path / "sandbox", services=SOURCES_AND_PORTAL) as there:
        yield there


def public(there: World) -> dict[str, str]:
    """Everything the public can read, by its digest."""
    portal = there.sandbox.place.portal
    found = [p for folder in ("processed", "versions", "catalog") for p in (portal / folder).rglob("*") if p.is_file()]
    return {str(p.relative_to(portal)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def fails(there: World, *, job: str, version: str) -> str:
    """Work, expect exactly this stretch to fail, and return what the operator reads."""
    runs = there.work()
    failed = [run for run in runs if not run.ok]
    assert failed, "it should have failed"
    assert {(run.job, run.version_id) for run in failed} == {(job, version)}
    return failed[0].trouble


def second_release(there: World, language: str = "eng") -> Path:
    [path] = (there.sandbox.place.releases / "statcan" / "98100001").glob(f"20220209*/*-{language}.zip")
    return path


def rewrite(path: Path, member_suffix: str, change: Callable[[bytes], bytes]) -> None:
    """Change one member of a zip."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, change(body) if name.endswith(member_suffix) else body)
    path.write_bytes(out.getvalue())


def corrupt(path: Path) -> None:
    body = bytearray(path.read_bytes())
    middle = len(body) // 3
    body[middle : middle + 40] = bytes(40)
    path.write_bytes(body)


def test_a_corrupt_zip(there):
    before = public(there)
    corrupt(second_release(there))
    there.sandbox.advance()
    told = fails(there, job="build_and_publish", version=SECOND)
    assert SECOND in told
    assert "98100001-eng.zip" in told
    assert "previous latest stays" in told
    assert public(there) == before


def test_an_html_page_served_as_200(there):
    before = public(there)
    second_release(there).write_bytes(b"<!DOCTYPE html><html><body>Maintenance</body></html>")
    there.sandbox.advance()
    told = fails(there, job="build_and_publish", version=SECOND)
    assert SECOND in told
    assert "98100001-eng.zip" in told
    assert "HTML" in told
    assert public(there) == before


def test_a_row_that_cannot_be_read_is_named_with_its_line_and_blocks(there):
    before = public(there)
    for language, separator in (("eng", b","), ("fra", b";")):

        def ragged(body: bytes, separator: bytes = separator) -> bytes:
            lines = body.split(b"\n")
            lines[4] = lines[4].rstrip(b"\r") + separator + b'"one too many"'
            return b"\n".join(lines)

        rewrite(second_release(there, language), "98100001.csv", ragged)
    there.sandbox.advance()
    told = fails(there, job="build_and_publish", version=SECOND)
    assert f"{SECOND}: the check rejected_rows failed" in told
    assert public(there) == before
    rejects = (there.sandbox.place.portal / "staging" / SECOND / "rejects.csv").read_text(encoding="utf-8")
    assert "98100001-eng.zip/98100001.csv,line 5,it has" in rejects
    assert "98100001-fra.zip/98100001.csv,line 5,it has" in rejects


def test_a_missing_prj(tmp_path):
    with world(tmp_path / "sandbox", services=SOURCES_AND_PORTAL) as there:
        [outlines] = (there.sandbox.place.releases / "files").rglob("*.zip")
        with zipfile.ZipFile(outlines) as archive:
            members = {i.filename: archive.read(i) for i in archive.infolist() if not i.filename.endswith(".prj")}
        with zipfile.ZipFile(outlines, "w") as archive:
            for name, body in members.items():
                archive.writestr(name, body)
        told = next(run.trouble for run in there.work() if run.version_id == f"{OUTLINES}_v1.0.0")
        assert ".prj" in told
        assert OUTLINES in told
        assert there.published(OUTLINES) == []
        assert there.published(TABLE), "the other dataset is not held up"


def test_a_failed_blocking_check_stops_before_anything_is_public(there):
    """The table is sound, and a row short of what the publisher says of it."""
    before = public(there)
    for language in ("eng", "fra"):
        rewrite(second_release(there, language), "98100001.csv", lambda body: body.rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    there.sandbox.advance()
    told = fails(there, job="build_and_publish", version=SECOND)
    assert f"{SECOND}: the check publisher_rows failed" in told
    assert "previous latest stays" in told
    assert public(there) == before


def test_a_dimension_that_the_metadata_does_not_know_stops_before_anything_is_public(there):
    before = public(there)
    rewrite(second_release(there), "98100001.csv", lambda body: body.replace(b'"DECIMALS"', b'"DECIMALES"', 1))
    there.sandbox.advance()
    told = fails(there, job="build_and_publish", version=SECOND)
    assert SECOND in told
    assert public(there) == before


@pytest.mark.parametrize(("service", "job"), [("zenodo", "copy_to_zenodo"), ("mirror", "copy_to_source_coop")])
def test_a_mirror_in_trouble_holds_up_nothing_but_itself(first_release, tmp_path, monkeypatch, service, job):
    shutil.copytree(first_release, tmp_path / "sandbox")
    monkeypatch.setenv("D4C_ATTEMPTS", "1")
    with world(tmp_path / "sandbox") as there:
        there.sandbox.kill(service)
        there.sandbox.advance()
        runs = there.work()
        assert {run.job for run in runs if not run.ok} == {job}
        told = next(run.trouble for run in runs if not run.ok)
        assert SECOND in told
        assert SECOND in there.published(TABLE), "the portal and the catalog have it all the same"
        there.sandbox.start_service(service)
        assert all(run.ok for run in there.work())
        assert there.work() == []


def test_a_503_of_zenodo_leaves_no_doi_and_heals(first_release, tmp_path, monkeypatch):
    monkeypatch.setenv("D4C_ATTEMPTS", "2")
    shutil.copytree(first_release, tmp_path / "sandbox")
    with world(tmp_path / "sandbox") as there:
        zenodo_in_trouble(there)


def zenodo_in_trouble(there: World) -> None:
    there.sandbox.advance()
    httpx.post(
        f"{there.sandbox.urls['zenodo']}/_sandbox/faults",
        json={"method": "*", "path": "/api/records", "kind": "status", "status": 503, "times": 1000},
    ).raise_for_status()
    told = fails(there, job="copy_to_zenodo", version=SECOND)
    assert "zenodo" in told
    assert SECOND in told
    assert "503" in told
    httpx.delete(f"{there.sandbox.urls['zenodo']}/_sandbox/faults").raise_for_status()
    assert all(run.ok for run in there.work())
    assert there.work() == []


def by_hand(there: World, *words: str) -> str:
    """What an operator types; the environment points at the sandbox."""
    done = subprocess.run(
        [Path(sys.executable).parent / "d4c", *words], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_the_publisher_repaired_is_fetched_again_by_hand_and_published(there):
    path = second_release(there)
    whole = path.read_bytes()
    rewrite(path, "98100001.csv", lambda body: body.replace(b"\n", b',"x"\n', 4))
    there.sandbox.advance()
    fails(there, job="build_and_publish", version=SECOND)
    path.write_bytes(whole)
    assert f"{TABLE}/" in by_hand(there, "release", "refetch", SECOND)
    assert there.operator.execute("build_and_publish", SECOND).ok
    assert SECOND in there.published(TABLE)


def test_a_withdrawn_version_is_no_longer_the_latest_nor_in_the_catalog(there):
    before = public(there)
    there.sandbox.advance()
    assert there.operator.work() is not None
    assert SECOND in there.published(TABLE)
    by_hand(there, "version", "withdraw", SECOND, "--reason", "wrong figures")
    after = public(there)
    latest = f"processed/{TABLE}.parquet"
    assert after[latest] == before[latest]
    with duckdb.connect() as connection:
        catalog = there.sandbox.place.portal / "catalog" / "catalog.parquet"
        ids = {row[0] for row in connection.execute("SELECT id FROM read_parquet(?)", [str(catalog)]).fetchall()}
    assert SECOND not in ids
    assert f"{TABLE}_2017-02-08_v1.0.0" in ids
    assert all(run.version_id != SECOND for run in there.work())
