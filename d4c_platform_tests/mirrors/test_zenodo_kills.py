"""kill -9 at every request, before and after the server acts on it; then start again: one record, one DOI, no draft."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from d4c_platform.mirrors.zenodo_metadata import marker_of
from d4c_platform.model.records import Copies, Doi
from d4c_platform.sandbox.faults import App, Receive, Scope, Send, with_faults
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.zenodo import zenodo_app
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records
from d4c_platform_tests.mirrors import publisher
from d4c_platform_tests.mirrors.conftest import TOKEN, Site
from d4c_platform_tests.mirrors.versions import DATASET

WAIT_S = 60


class KillsItsClient:
    """An app that kills the process that talks to it, at its n-th request: before acting on it, or after but unanswered."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.victim: BaseProcess | None = None
        self.at: int | None = None
        self.after = False
        self.seen = 0

    def aim(self, at: int | None, *, after: bool = False) -> None:
        self.at, self.after, self.seen, self.victim = at, after, 0, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox") or self.at is None:
            await self._app(scope, receive, send)
            return
        self.seen += 1
        if self.seen != self.at:
            await self._app(scope, receive, send)
            return
        if self.after:

            async def unheard(message: Any) -> None:
                pass

            await self._app(scope, receive, unheard)
        while self.victim is None or self.victim.pid is None:
            await asyncio.sleep(0.001)
        os.kill(self.victim.pid, signal.SIGKILL)
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture(scope="module")
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([publisher.__name__])
    return context


@pytest.fixture
def killing(tmp_path: Path) -> Iterator[tuple[Site, KillsItsClient]]:
    killer = KillsItsClient(zenodo_app(tmp_path / "zenodo", token=TOKEN))
    with serve(with_faults(killer)) as served:
        yield Site(served.url), killer


@pytest.mark.parametrize("after", [False, True], ids=["before-it-acts", "after-it-acted"])
@pytest.mark.parametrize("second", [False, True], ids=["first-version", "second-version"])
def test_killed_at_any_request_and_started_again_there_is_one_record(
    second: bool, after: bool, processes: Any, killing: tuple[Site, KillsItsClient], tmp_path: Path
) -> None:
    site, killer = killing
    (tmp_path / "portal").mkdir()

    def publish(version: str, previous: str | None) -> int:
        process = processes.Process(target=publisher.publish, args=(site.url, TOKEN, str(tmp_path), version, previous))
        process.start()
        killer.victim = process
        process.join(WAIT_S)
        assert process.exitcode is not None, "the publisher hangs"
        return int(process.exitcode)

    killer.aim(None)
    assert publish(version_of_round(0), None) == 0
    previous = one_record(site, tmp_path, version_of_round(0)) if second else None
    # A next version differs from a first one in its first requests only.
    requests, at = 8 if second else 10**6, 0
    while at < requests:
        at += 1
        version = version_of_round(at)
        killer.aim(at, after=after)
        exit_code, seen = publish(version, previous), killer.seen
        killer.aim(None)
        if exit_code == 0:  # it was done before its n-th request: every request has had its turn
            requests = seen
        else:
            assert exit_code == -signal.SIGKILL, f"failed instead of being killed at {at}"
            assert publish(version, previous) == 0, f"killed at {at}"
        record_id = one_record(site, tmp_path, version)
        previous = record_id if second else None
    assert at > 12 or second, "search, create, describe, three files of three calls, publish, settle"


def version_of_round(number: int) -> str:
    """Another version a round: all of them on one Zenodo, in one concept when they follow each other."""
    return f"{DATASET.id}_{date(2025, 1, 1) + timedelta(days=number)}_v1.0.0"


def one_record(site: Site, folder: Path, version: str) -> str:
    records = Records(LocalStore(folder / "records", "http://portal.example"))
    (record,) = [r for r in site.published() if marker_of(r) == version]
    assert site.drafts() == []
    doi = records.read(Doi, version)
    assert doi is not None
    assert doi.doi == record["pids"]["doi"]["identifier"]
    copies = records.read(Copies, version, place="zenodo")
    assert copies is not None
    assert [c.verified for c in copies.copies] == ["sha256"]
    assert httpx.get(copies.copies[0].url).content == (folder / "portal" / f"{version}.parquet").read_bytes()
    return str(record["id"])
