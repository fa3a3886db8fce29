"""Weeks with holidays, outages, failing requests and silent revisions: every true release exactly once, and no false one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from d4c_platform_tests.stages.quarter import Quarter, check


@pytest.fixture(autouse=True)
def _no_word_of_every_retry() -> Iterator[None]:
    """One request in twenty fails on purpose: what was told of each would bury the seed."""
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(hooks)


def live(folder: Path, *, seed: int, weeks: int, tables: int) -> None:
    quarter = Quarter(folder, seed=seed, weeks=weeks, tables=tables)
    print(f"\nseed {seed}, {weeks} weeks, {tables} tables")
    quarter.run()
    counts = check(quarter)
    print(f"{quarter.sweeps} sweeps: {dict(counts)}; trouble: {dict(quarter.trouble)}")
    assert counts["published"] > tables
    assert counts["revisions"]
    assert counts["re-stamped zips"]


def test_three_weeks_bring_every_release_once(tmp_path: Path) -> None:
    live(tmp_path, seed=int(os.environ.get("D4C_SEED", "1")), weeks=3, tables=14)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [1, 2, 3, 5, 8, 13])
def test_a_quarter_brings_every_release_once(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed=seed, weeks=13, tables=40)
