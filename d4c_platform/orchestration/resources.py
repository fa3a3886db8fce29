"""The platform as a Dagster resource: built from the environment, closed after the run."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform


@dg.resource(description="Portal, records, sources, mirrors and torrents of this installation, from D4C_… variables.")
def platform_resource(_: dg.InitResourceContext) -> Iterator[Platform]:
    with Platform(Settings.read()) as platform:
        yield platform
