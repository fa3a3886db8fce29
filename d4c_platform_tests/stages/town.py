"""A town that publishes one CSV, and an installation that follows it: releases become versions within a second."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from d4c_platform.model.records import Build, Item
from d4c_platform.settings import Settings
from d4c_platform.stages.build import archive_release, build_artifact, write_manifest
from d4c_platform.stages.notice import notice
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.publication import describe_version, publish_on_portal
from d4c_platform_tests.stages.folders import Publisher, publisher

ORIGIN = "https://town.example.ca"
NAME = "ca_town-2021A000011124_d4c-datapkg-foundation_trees"
FIXED = "ca_town-2021A000011124_d4c-datapkg-foundation_trees_2021"


def csv(rows: Mapping[int, str], header: str = "id,kind") -> bytes:
    return "\n".join([header, *(f"{n},{kind}" for n, kind in rows.items())]).encode() + b"\n"


TREES = {n: f"oak {n}" for n in range(1, 21)}


def declaration(**changes: Any) -> dict[str, Any]:
    both = {"en": "Trees", "fr": "Arbres"}
    square = [[-80, 44], [-79, 44], [-79, 45], [-80, 45], [-80, 44]]
    return {
        "id": NAME,
        "version": "1.0.0",
        "package": "d4c-datapkg-foundation",
        "title": both,
        "description": both,
        "publisher": both,
        "source": {"kind": "http-file", "url": f"{ORIGIN}/trees.csv"},
        "transform": {"kind": "csv"},
        "vintage": {"rule": "release"},
        "licence": {
            "id": "other",
            "title": both,
            "url": {"en": "https://example.ca/en", "fr": "https://example.ca/fr"},
            "attribution": both,
        },
        "area": {"dguid": "2021A000011124", "name": both, "geometry": {"type": "Polygon", "coordinates": [square]}},
        "mirrors": ["source-coop"],
        "key": ["id"],
        "columns": [
            {"name": "id", "title": both, "type": "int64", "nullable": False},
            {"name": "kind", "title": both, "type": "string"},
        ],
    } | changes


@dataclass
class Town:
    served: Publisher
    folder: Path
    environment: dict[str, str]
    days: int = field(default=0)

    def declare(self, **changes: Any) -> None:
        (self.folder / "datasets" / "trees.yaml").write_text(json.dumps(declaration(**changes), indent=1))

    def release(self, body: bytes) -> str:
        """Publish a file, notice it; the id of the version it is to become."""
        self.served.lists["trees.csv"] = body
        self.days += 1
        with self.platform() as platform:
            found = notice(platform, datetime(2026, 1, self.days, 12, tzinfo=UTC), budget_s=30)
        assert found.failures == ()
        (candidate,) = found.candidates
        return candidate.version_id

    def publish(self, version_id: str) -> Build:
        """All stages up to the catalog item."""
        with self.platform() as platform:
            archive_release(platform, version_id)
            build = build_artifact(platform, version_id)
            assert isinstance(build, Build), build
            write_manifest(platform, version_id)
            publish_on_portal(platform, version_id)
            assert isinstance(describe_version(platform, version_id), Item)
        return build

    def platform(self) -> Platform:
        return Platform(Settings.read())

    def object(self, key: str) -> Path:
        """Where the portal keeps an object."""
        return self.folder / "portal" / key


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    with publisher({}) as served:
        (folder / "datasets").mkdir()
        environment = {
            "D4C_DATASETS": str(folder / "datasets"),
            "D4C_ORIGINS": f'{{"{ORIGIN}": "{served.url}"}}',
            "D4C_PORTAL_DIR": str(folder / "portal"),
            "D4C_PORTAL_URL": "https://portal.example.ca",
            "D4C_WORK_DIR": str(folder / "work"),
            "D4C_REQUESTS_PER_S": "1000",
            "D4C_ATTEMPTS": "2",
        }
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            there = Town(served, folder, environment)
            there.declare()
            yield there
        finally:
            os.environ.clear()
            os.environ.update(before)
