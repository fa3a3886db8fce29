"""Two lines of a list never mean one place, and the ledger gives files in the order of a torrent."""

from __future__ import annotations

import pytest

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sources.listing import Listed
from d4c_platform.stages import ledger as module
from d4c_platform.stages.ledger import Ledger


def entered(tmp_path, *paths: str) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.enter(Listed(n, f"https://x.ca/{n}", path) for n, path in enumerate(paths, start=1))
    return ledger


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (("a", "b", "a"), "lines 1 and 3 have the same path"),
        (("tile.tif", "Tile.TIF"), "lines 1 and 2"),
        (("\u00e9.tif", "e\u0301.tif"), "lines 1 and 2"),
        (("a", "a-b", "a/b/c"), "line 1 makes a a file, and line 3 a folder"),
        (("A/b", "a/b/c"), "makes a/b a file"),
    ],
)
def test_paths_that_cannot_lie_in_one_folder_are_refused_with_their_lines(tmp_path, paths, why):
    with pytest.raises(PermanentFailure, match=why):
        entered(tmp_path, *paths)


def test_files_come_in_the_order_of_their_paths_bytes_page_by_page(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    paths = ["z", "a/b", "a.txt", "é", "\U0001d11e", "\uffee", "a-b", "Y"]
    with entered(tmp_path, *paths) as ledger:
        ordered = sorted(paths, key=str.encode)
        assert [f.path for f in ledger.unfinished()] == ordered
        for file in ledger.unfinished():  # noted while they are gone through
            assert ledger.note({"path": file.path, "url": file.url})
        assert [s["path"] for s in ledger.finished()] == ordered
        assert list(ledger.unfinished()) == []
        assert ledger.counts() == (8, 8)


def test_a_finished_file_of_another_address_is_not_this_one(tmp_path):
    with entered(tmp_path, "a") as ledger:
        assert not ledger.note({"path": "a", "url": "https://elsewhere.ca/1"})
        assert ledger.counts() == (1, 0)
