"""The packed code: all of it, nothing else, the same bytes wherever it lies."""

import hashlib
import io
import os
import shutil
import tarfile

from d4c_platform.transforms import method
from d4c_platform_tests.places import ROOT


def members(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive}


def test_it_holds_every_source_file_and_the_environment():
    held = members(method.method().body)
    sources = {f"d4c-platform/{p.relative_to(ROOT)}" for p in (ROOT / "d4c_platform").rglob("*.py")}
    assert sources <= set(held)
    assert held["d4c-platform/requirements.lock"] == (ROOT / "requirements.lock").read_bytes()
    assert held["d4c-platform/pyproject.toml"] == (ROOT / "pyproject.toml").read_bytes()
    assert not [name for name in held if name.endswith(".pyc") or "__pycache__" in name]
    assert method.lock_sha256() == hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()


def test_another_place_another_time_other_modes_and_compiled_files_give_the_same_bytes(tmp_path):
    there = tmp_path / "elsewhere" / "d4c_platform"
    shutil.copytree(ROOT / "d4c_platform", there, ignore=shutil.ignore_patterns("__pycache__"))
    for path in there.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (there / "model" / "__pycache__").mkdir()
    (there / "model" / "__pycache__" / "fact.cpython-311.pyc").write_bytes(b"x")
    assert method.pack(there, method.environment()) == method.method().body
    assert method.method().body[4:8] == bytes(4)  # no time in gzip's header


def test_a_changed_line_gives_other_bytes(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.py").write_text("x = 1\n")
    before = method.pack(tmp_path / "p", {})
    (tmp_path / "p" / "a.py").write_text("x = 2\n")
    assert method.pack(tmp_path / "p", {}) != before


def test_without_a_lock_the_installed_packages_stand_in(monkeypatch, tmp_path):
    monkeypatch.setattr(method, "PROJECT", tmp_path)
    monkeypatch.setattr(method, "PACKAGE", "no-such-package")
    method.environment.cache_clear()
    try:
        found = method.environment()
        assert set(found) == {"installed.txt"}
        assert b"duckdb==" in found["installed.txt"]
        assert method.lock_sha256() == hashlib.sha256(found["installed.txt"]).hexdigest()
    finally:
        method.environment.cache_clear()
