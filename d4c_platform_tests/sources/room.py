"""What a stage holds when it notices and archives: the way through this room, end to end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Candidate, Release
from d4c_platform.sources.archive import archive
from d4c_platform.sources.detection import detect
from d4c_platform.sources.registry import open_source
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import utc

NOON = utc("2025-07-01T12:00")


class Room:
    """A client, a portal and a working directory."""

    def __init__(self, web: Web, portal: Portal, workdir: Path) -> None:
        self.web, self.portal, self.workdir = web, portal, workdir

    def notices(self, dataset: Dataset, now: datetime = NOON) -> list[Candidate]:
        return detect(dataset, open_source(dataset, self.web), self.portal.records, now)

    def archive(self, dataset: Dataset, candidate: Candidate) -> Release:
        return archive(candidate, dataset, open_source(dataset, self.web), self.web, self.portal, self.workdir)

    def released(self, dataset: Dataset, now: datetime = NOON) -> Release:
        """Notice the one new release and archive it."""
        (candidate,) = self.notices(dataset, now)
        return self.archive(dataset, candidate)
