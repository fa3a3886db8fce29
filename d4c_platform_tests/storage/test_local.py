"""What only a folder can get wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.store import Conflict, NoObject
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.storage.stores import Stores

MIB = 1024 * 1024


def test_a_full_disk_leaves_the_object_as_it_was(tmp_path: Path):
    stores = Stores(root=str(tmp_path / "store"))
    stores.open().put("processed/latest", b"previous")
    large = tmp_path / "large"
    large.write_bytes(b"x" * 4 * MIB)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    out = stores.process("put", "processed/latest", str(large), preamble=full).communicate()[0]
    assert "TransientFailure" in out
    assert "File too large" in out
    assert "stays as it was" in out
    assert "Free space" in out
    assert stores.open().read("processed/latest") == b"previous"
    assert [p for p in (tmp_path / "store").rglob("*") if p.is_file() and p.stat().st_size > MIB] == []


@pytest.fixture
def anyones() -> Iterator[Path]:
    """A folder that every user of the machine may enter: root, whom no right is denied, steps down to try it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


AS_A_PLAIN_USER = "import os\nfrom d4c_platform_tests.storage.stores import main\nos.getuid() or os.seteuid(65534)"


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_that_may_not_be_written_is_told_with_a_remedy(anyones: Path, mode: int):
    root, body = anyones / "store", anyones / "body"
    body.write_bytes(b"x")
    root.mkdir()
    root.chmod(mode)
    try:
        out = Stores(root=str(root)).process("put", "a/b", str(body), preamble=AS_A_PLAIN_USER).communicate()[0]
    finally:
        root.chmod(0o700)
    assert "PermanentFailure" in out
    assert "Permission denied" in out
    assert "Give this user the right" in out


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(anyones: Path):
    root = anyones / "store"
    root.mkdir(mode=0o000)
    act = (
        f"try: print('found', list(Stores(root={str(root)!r}).open().list('')))\nexcept Exception as e: print(type(e).__name__)"
    )
    code = f"{AS_A_PLAIN_USER}\nfrom d4c_platform_tests.storage.stores import Stores\n{act}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.strip() == "PermanentFailure"


def test_a_folder_that_does_not_exist_is_an_empty_store(tmp_path: Path):
    store = LocalStore(tmp_path / "not" / "there", "")
    assert store.head("a/b") is None
    assert list(store.list("")) == []
    store.delete("a/b")
    with pytest.raises(NoObject):
        store.read("a/b")


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path, below: str):
    (tmp_path / "store").write_text("not a folder")
    store = LocalStore(tmp_path / "store" / below, "")
    with pytest.raises(PermanentFailure) as caught:
        store.put("a/b", b"x")
    assert f"{tmp_path / 'store'} is a file: remove it" in str(caught.value)
    assert store.head("a/b") is None
    assert (tmp_path / "store").read_text() == "not a folder"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, TransientFailure),
        (errno.EDQUOT, TransientFailure),
        (errno.EIO, TransientFailure),
        (errno.EROFS, PermanentFailure),
    ],
)
def test_trying_again_helps_against_the_disks_troubles_but_not_against_a_right_that_is_missing(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[D4CError]
):
    local.put("a", b"before")

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(D4CError) as caught:
        local.put("a", b"after")
    assert type(caught.value) is kind
    assert "stays as it was" in str(caught.value)
    assert local.read("a") == b"before"


def test_nothing_is_read_or_written_through_a_symbolic_link(local: LocalStore, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    local.put("versions/a", b"a")
    (local.root / "out").symlink_to(secret)
    (local.root / "versions" / "link").symlink_to(secret / "file")
    for key in ("out/file", "versions/link"):
        for act in (local.head, local.read, local.delete, lambda k: local.put(k, b"x"), lambda k: local.copy(k, "b")):
            with pytest.raises(PermanentFailure, match="symbolic link"):
                act(key)
    assert [i.key for i in local.list("")] == ["versions/a"]
    assert (secret / "file").read_text() == "secret"


def test_a_file_changed_by_hand_loses_its_recorded_digest(local: LocalStore):
    before = local.put("a", b"right")
    assert local.head("a").sha256 == before.sha256
    path = local.root / "a"
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    assert local.head("a").sha256 is None
    with pytest.raises(Conflict):
        local.put("a", b"next", if_match=before.etag)


def test_objects_are_read_only_files(local: LocalStore):
    local.put("a", b"x")
    assert (local.root / "a").stat().st_mode & 0o777 == 0o444


def test_a_copy_shares_the_bytes_on_disk(local: LocalStore):
    local.put("versions/a", b"x" * 1000)
    copied = local.copy("versions/a", "processed/a")
    assert (local.root / "versions/a").samefile(local.root / "processed/a")
    assert copied.sha256 == local.head("versions/a").sha256


def test_a_copy_works_where_hard_links_do_not(local: LocalStore, monkeypatch: pytest.MonkeyPatch):
    link, refused = os.link, []

    def refuse_once(*args, **kwargs):
        if not refused:
            refused.append(args)
            raise PermissionError(1, "Operation not permitted")
        return link(*args, **kwargs)

    local.put("a", b"x")
    monkeypatch.setattr(os, "link", refuse_once)
    local.copy("a", "b", if_absent=True)
    assert refused
    assert local.read("b") == b"x"


def test_writes_in_the_same_moment_have_different_etags(local: LocalStore, monkeypatch: pytest.MonkeyPatch):
    # Without waiting for the disk, several writes fall into one tick of the kernel's clock and reuse each other's inodes.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    etags = [local.put("a", b"%04d" % n).etag for n in range(300)]
    assert len(set(etags)) == 300


def test_an_object_below_another_is_refused_with_a_remedy(local: LocalStore):
    local.put("a", b"x")
    for act in (lambda: local.put("a/b", b"x"), lambda: local.put("a/b/c", b"x", if_absent=True)):
        with pytest.raises(PermanentFailure, match="choose another key"):
            act()
    assert local.head("a/b") is None
    local.put("c/d", b"x")
    with pytest.raises(PermanentFailure):
        local.put("c", b"x")
    assert local.head("c") is None


def test_deleting_the_last_object_removes_its_folders(local: LocalStore):
    local.put("staging/v/a", b"x")
    local.put("staging/v/b", b"x")
    local.delete("staging/v/a")
    assert (local.root / "staging/v").is_dir()
    local.delete("staging/v/b")
    assert not (local.root / "staging").exists()


def test_a_writer_that_lives_is_not_swept(local: LocalStore):
    local.put("a", b"x")
    mine = local._temporary.path()
    mine.write_bytes(b"half")
    LocalStore(local.root, "").put("b", b"x")
    assert mine.exists()
