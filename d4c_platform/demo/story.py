"""The demo's story: releases come out, versions are published, then the portal dies and the data stays.

Every step verifies a state, not a transition, from what a stranger can see: HTTP answers, the catalog, a swarm. A demo that was
killed and is started again on the same folder therefore ends in the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from d4c_platform import naming
from d4c_platform.demo.bad_day import BadDay
from d4c_platform.demo.report import Report, Step
from d4c_platform.demo.witness import Witness
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Build, Copies, Doi, Torrents
from d4c_platform.model.sources import StatCanTableSource
from d4c_platform.orchestration.assets import ASSETS
from d4c_platform.orchestration.operator import Operator
from d4c_platform.sandbox.clock import Clock
from d4c_platform.sandbox.up import Sandbox
from d4c_platform.stages.platform import Platform

MOST_NAMED = 3  # of the datasets without a release here: a table cell is no list

Told = tuple[str, str]
"""What a step verified, and the figure it saw."""


class Story:
    """One telling of the demo on a running sandbox.

    Args:
        moments: when releases come out on the sandbox's clock, one round each; empty for a single round at any time.
        keep: where the downloads of the bad day are put.
        progress: told what is going on, one sentence at a time.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        platform: Platform,
        operator: Operator,
        *,
        moments: tuple[datetime, ...],
        keep: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._sandbox, self._platform, self._operator = sandbox, platform, operator
        self._moments, self._keep, self._progress = moments, keep, progress
        self._clock = Clock(sandbox.place.clock_file)
        self._witness = Witness(sandbox.urls["portal"], keep / "witness", platform.web)

    def tell(self) -> Report:
        """Take all steps; the first that fails ends the story, because the next ones stand on it."""
        steps: list[Step] = []
        for name, step in self._steps():
            self._progress(name)
            try:
                verified, figure = step()
            except D4CError as error:
                steps.append(Step(name, ok=False, verified=str(error), figure=""))
                break
            steps.append(Step(name, ok=True, verified=verified, figure=figure))
        return Report(tuple(steps))

    def _steps(self) -> Iterator[tuple[str, Callable[[], Told]]]:
        yield "sandbox", self._services
        if self._moments:
            for number, moment in enumerate(self._moments, start=1):
                yield f"release {number}", lambda at=moment: self._release(at)  # type: ignore[misc]
                yield f"latest after release {number}", self._latest
        else:
            yield "releases", lambda: self._release(None)
            yield "latest", self._latest
        yield "partitions", self._partitions
        yield "rows", self._rows
        yield "portal and mirrors", self._copies
        yield "DOIs", self._dois
        yield "torrents", self._torrents
        yield "catalog", self._catalog
        bad_day = BadDay(self._sandbox, self._witness, self._keep / "bad-day", self._progress)
        yield "the portal is dead", bad_day.portal_dies
        yield "the mirrors are dead too", bad_day.mirrors_die

    def _services(self) -> Told:
        declared = self._platform.datasets
        lacking = [_short(d) for d in declared if not self._sandbox.recorded(d)]
        figure = f"{len(self._sandbox.urls)} services, {len(declared) - len(lacking)} of {len(declared)} declared datasets"
        if lacking:
            more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
            figure += f" (no release here of {', '.join(lacking[:MOST_NAMED])}{more})"
        return "every server of the sandbox answers on 127.0.0.1", figure

    def _release(self, moment: datetime | None) -> Told:
        before = set(self._versions())
        if moment is not None and self._clock.now() < moment:
            self._sandbox.advance()
        runs = self._operator.work()
        if failed := [run for run in runs if not run.ok]:
            raise PermanentFailure(failed[0].trouble, where=failed[0].job, version=failed[0].version_id)
        versions = self._versions()
        if not versions:
            raise PermanentFailure("no release was noticed", where="releases")
        new = [v for v in versions if v not in before]
        return (
            "the sensor noticed it, Dagster materialised its partition",
            ", ".join(map(_short, new)) if new else f"already published: {len(versions)} versions",
        )

    def _latest(self) -> Told:
        told = []
        for dataset in self._platform.datasets.values():
            published = self._platform.published(dataset)
            if published:
                artifact = self._build(published[-1]).artifacts[0]
                extension = naming.parse(artifact.file).ext
                self._witness.same_bytes(f"processed/{dataset.id}.{extension}", artifact.digests.sha256, cache="no-cache")
                told.append(str(naming.parse(published[-1]).date))
        verified = "processed/ serves exactly the newest version's bytes, never cached"
        return verified, f"{len(told)} datasets at {', '.join(told)}"

    def _partitions(self) -> Told:
        expected = {asset.key.to_user_string() for asset in ASSETS}
        versions = self._versions()
        for version in versions:
            if lacking := expected - self._operator.materialised(version):
                raise PermanentFailure(f"{', '.join(sorted(lacking))} not materialised", where="dagster", version=version)
        return "every asset is materialised for every version", f"{len(versions)} partitions × {len(expected)} assets"

    def _rows(self) -> Told:
        told = []
        for version in self._versions():
            artifact = self._build(version).artifacts[0]
            seen = self._witness.rows(f"versions/{version}/{artifact.file}", artifact.digests.sha256)
            figure = self._publishers_figure(version)
            if seen != artifact.rows or (figure is not None and figure != seen):
                raise PermanentFailure(f"the file has {seen} rows, the publisher says {figure}", where="rows", version=version)
            told.append(f"{_short(version)}: {seen:,}" + (f" = {figure:,}" if figure is not None else ""))
        return "rows in the published file = rows recorded = publisher's figure, where it gives one", "; ".join(told)

    def _copies(self) -> Told:
        count = 0
        for version in self._versions():
            dataset = self._platform.dataset_of(version)
            for place in ("portal", *(m.value for m in dataset.mirrors)):
                copies = self._platform.records.read(Copies, version, place=place)
                if copies is None:
                    raise PermanentFailure("no copy is recorded", where=place, version=version)
                for copy in copies.copies:
                    self._witness.same_bytes(copy.url, self._build(version).artifacts[0].digests.sha256)
                    count += 1
        return "every copy's bytes have the artifact's sha-256, read over HTTP", f"{count} copies"

    def _dois(self) -> Told:
        dois = []
        for version in self._versions():
            doi = self._platform.records.read(Doi, version)
            if doi is None:
                raise PermanentFailure("it has no DOI", where="zenodo", version=version)
            dois.append(doi.doi)
        if len(set(dois)) != len(dois):
            raise PermanentFailure(f"a DOI stands for two versions: {dois}", where="zenodo")
        return "one published Zenodo record a version", ", ".join(dois)

    def _torrents(self) -> Told:
        hashes, seeds = set(), 0
        for version in self._versions():
            torrents = self._platform.records.read(Torrents, version)
            if torrents is None:
                raise PermanentFailure("it has no torrent", where="torrents", version=version)
            hashes |= {t.info_hash for t in torrents.torrents}
            seeds += sum(len(t.web_seeds) for t in torrents.torrents)
        return "a single-file v1 torrent an artifact, every web seed probed", f"{len(hashes)} torrents, {seeds} web seeds"

    def _catalog(self) -> Told:
        rows = self._witness.catalog()
        expected = set(self._versions())
        listed = {row.version_id for row in rows}
        if listed != expected:
            raise PermanentFailure(f"it lists {len(listed)} versions instead of {len(expected)}", where="catalog")
        for row in rows:
            artifact = self._build(row.version_id).artifacts[0]
            if row.sha256 != artifact.digests.sha256 or not row.doi or not row.info_hash:
                raise PermanentFailure("its row lacks its checksum, DOI or torrent", where="catalog", version=row.version_id)
        latest = sum(row.latest for row in rows)
        return "DuckDB finds every version with checksum, DOI and torrent in one file", f"{len(rows)} rows, {latest} latest"

    def _versions(self) -> list[str]:
        return [v for dataset in self._platform.datasets.values() for v in self._platform.published(dataset)]

    def _build(self, version: str) -> Build:
        build = self._platform.records.read(Build, version)
        if build is None:
            raise PermanentFailure("it has no artifact", where="records", version=version)
        return build

    def _publishers_figure(self, version: str) -> int | None:
        if not isinstance(self._platform.dataset_of(version).source, StatCanTableSource):
            return None
        return self._build(version).artifacts[0].counts.get("publisher_rows")


def _short(id_: str) -> str:
    """A dataset or version id without the segments that many share, for a table."""
    name = naming.parse(id_)
    return " ".join(filter(None, [*name.name, name.date, str(name.version or "")]))
