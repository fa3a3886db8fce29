"""Finished steps are kept in few objects, and none is believed kept that is not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.storage import journal as module
from d4c_platform.storage.journal import Journal
from d4c_platform.storage.local import LocalStore


def test_what_was_added_is_there_for_the_next_run(store):
    journal = Journal(store, "j/")
    for number in range(3):
        journal.add({"path": f"é {number}"}).result()
        assert [s["path"] for s in Journal(store, "j/").steps()] == [f"é {n}" for n in range(number + 1)]


def test_two_runs_do_not_undo_each_other(store):
    one, two = Journal(store, "j/"), Journal(store, "j/")
    for number in range(4):
        (one if number % 2 else two).add({"n": number}).result()
    assert sorted(s["n"] for s in Journal(store, "j/").steps()) == [0, 1, 2, 3]


def test_thousands_of_steps_of_many_workers_lie_in_few_objects(local: LocalStore):
    journal = Journal(local, "j/")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: journal.add({"n": n}).result(), range(1000)))
    assert sorted(s["n"] for s in Journal(local, "j/").steps()) == list(range(1000))
    assert len(list(local.list("j/"))) <= 1000 / module.SEGMENT_LINES + 1


def test_leaving_the_journal_waits_for_its_lines(local: LocalStore):
    with Journal(local, "j/") as journal:
        for number in range(50):
            journal.add({"n": number})
    assert sorted(s["n"] for s in Journal(local, "j/").steps()) == list(range(50))


def test_a_segment_that_has_grown_large_is_closed(local, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    journal = Journal(local, "j/")
    for number in range(10):
        journal.add({"n": number, "pieces": "x" * 400}).result()
    assert 3 <= len(list(local.list("j/"))) <= 5
    assert max(info.bytes for info in local.list("j/")) < 2000


def test_a_step_that_could_not_be_written_is_no_finished_step(local, monkeypatch):
    journal, put = Journal(local, "j/"), local.put
    journal.add({"n": 1}).result()

    def broken(*about, **more):
        raise TransientFailure("the store is away")

    monkeypatch.setattr(local, "put", broken)
    with pytest.raises(TransientFailure, match="away"):
        journal.add({"n": 2}).result()
    monkeypatch.setattr(local, "put", put)
    journal.add({"n": 3}).result()
    assert {s["n"] for s in Journal(local, "j/").steps()} >= {1, 3}


def test_a_line_that_cannot_be_read_is_named(local):
    local.put("j/x.jsonl", json.dumps({"n": 1}).encode() + b"\nnot json\n")
    with pytest.raises(PermanentFailure, match=r"j/x\.jsonl"):
        list(Journal(local, "j/").steps())
