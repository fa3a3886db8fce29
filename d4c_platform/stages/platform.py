"""The parts of one installation, put together from its settings.

Everything remote is opened on first use, so that a code location loads, and a stage runs, without the credentials of
services it never talks to.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from d4c_platform import datasets, naming
from d4c_platform.mirrors.mirror import Mirror
from d4c_platform.mirrors.source_coop import SourceCoop
from d4c_platform.mirrors.zenodo import Zenodo
from d4c_platform.model.dataset import Dataset, MirrorName, ReleaseVintage
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.family import Family
from d4c_platform.model.listing import Listing
from d4c_platform.model.records import Copies, Withdrawal
from d4c_platform.settings import Settings, secret
from d4c_platform.sources.source import SourceSettings
from d4c_platform.stages.listings import Datasets, stored_listing
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.records import Records
from d4c_platform.storage.s3 import S3Store
from d4c_platform.storage.store import ObjectStore
from d4c_platform.transforms.converter import ECW, MRSID
from d4c_platform.transforms.machine import machine_troubles
from d4c_platform.web import Web

GLANCE_TIMEOUT_S = 10.0  # two such requests still fit between a sweep's budget and the end of its tick


class Platform:
    """One installation of the platform. Use it as a context manager: it closes its connections."""

    def __init__(self, settings: Settings, sources: SourceSettings | None = None) -> None:
        self.settings = settings
        self._sources = sources or SourceSettings()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("web", "glance"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @cached_property
    def datasets(self) -> Datasets:
        """The declared datasets by id, and those of the families that this installation follows."""
        explicit = datasets.load(self.settings.datasets)
        families = self.families.values()
        expansions = [datasets.Expansion(f, stored, explicit.values()) for f in families if (stored := self.listing(f))]
        return Datasets(explicit, expansions)

    @cached_property
    def families(self) -> Mapping[str, Family]:
        """The families that this installation follows, by name.

        Raises:
            PermanentFailure: the settings name one that is not declared.
        """
        if not self.settings.families:
            return {}
        declared = datasets.load_families(self.settings.datasets or datasets.PACKAGED)
        unknown = sorted(set(self.settings.families) - set(declared))
        if unknown:
            raise PermanentFailure(
                f"no family {unknown[0]!r} is declared",
                where="settings",
                remedy=f"Correct D4C_FAMILIES; declared are: {', '.join(declared) or 'none'}",
            )
        return {name: declared[name] for name in self.settings.families}

    def listing(self, family: Family) -> Listing | None:
        """The publisher's list behind a family, as it was read last; None before the first reading."""
        return stored_listing(self.portal.store, family)

    @cached_property
    def sources(self) -> SourceSettings:
        """What the sources of this installation go by."""
        listings = [stored for f in self.families.values() if (stored := self.listing(f))]
        return replace(self._sources, listing=listings[0] if listings else None)

    @cached_property
    def web(self) -> Web:
        return Web(origins=self.settings.origins, per_host_per_s=self.settings.requests_per_s, attempts=self.settings.attempts)

    @cached_property
    def glance(self) -> Web:
        """The client for looking at sources within a sensor tick: one try, and no waiting for a host that hangs."""
        s = self.settings
        return Web(origins=s.origins, per_host_per_s=s.requests_per_s, attempts=1, timeout_s=GLANCE_TIMEOUT_S)

    @cached_property
    def portal(self) -> Portal:
        return Portal(self._portal_store())

    @property
    def converters(self) -> Mapping[str, str]:
        """The operator's own commands by the format that they read."""
        declared = {ECW: self.settings.convert_ecw, MRSID: self.settings.convert_mrsid}
        return {kind: command for kind, command in declared.items() if command}

    @property
    def records(self) -> Records:
        return self.portal.records

    def _portal_store(self) -> ObjectStore:
        s = self.settings
        if s.portal_dir is not None:
            return LocalStore(s.portal_dir, s.portal_url)
        if s.portal_endpoint is not None:
            return S3Store(
                s.portal_endpoint,
                s.portal_bucket,
                prefix=s.portal_prefix,
                access_key=secret(s.portal_access_key),
                secret_key=secret(s.portal_secret_key),
                region=s.portal_region,
                public_url=s.portal_url,
                attempts=s.attempts,
            )
        raise PermanentFailure(
            "there is no portal to publish to",
            where="settings",
            remedy="Set D4C_PORTAL_DIR (a directory) or D4C_PORTAL_ENDPOINT (any S3 endpoint)",
        )

    @cached_property
    def source_coop(self) -> SourceCoop:
        s = self.settings
        if not s.source_coop_endpoint:
            raise PermanentFailure(
                "there is no endpoint to write to", where="source-coop", remedy="Set D4C_SOURCE_COOP_ENDPOINT and its keys"
            )
        store = S3Store(
            s.source_coop_endpoint,
            s.source_coop_bucket,
            prefix=s.source_coop_prefix,
            access_key=secret(s.source_coop_access_key),
            secret_key=secret(s.source_coop_secret_key),
            session_token=secret(s.source_coop_session_token) or None,
            region=s.source_coop_region,
            public_url=s.source_coop_url,
            attempts=s.attempts,
        )
        return SourceCoop(store, records=self.records, web=self.web, workdir=s.work_dir)

    @cached_property
    def zenodo(self) -> Zenodo:
        s = self.settings
        if s.zenodo_token is None:
            raise PermanentFailure("there is no token", where="zenodo", remedy="Set D4C_ZENODO_TOKEN")
        return Zenodo(self.web, self.records, s.zenodo_url, secret(s.zenodo_token), publish_allowed=s.zenodo_publish)

    def mirror(self, name: MirrorName) -> Mirror:
        match name:
            case MirrorName.SOURCE_COOP:
                return self.source_coop
            case MirrorName.ZENODO:
                return self.zenodo

    @contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """A folder on local disk for one stage's working files; it is gone afterwards, also after a failure.

        Raises:
            TransientFailure: the machine ran out of disk or memory while the folder was in use.
        """
        with machine_troubles():
            self.settings.work_dir.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"d4c-{name}-", dir=self.settings.work_dir))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def dataset_of(self, version_id: str) -> Dataset:
        """The declared dataset that a version belongs to.

        Raises:
            PermanentFailure: no declaration has this version's id.
        """
        for vintage_from_release in (True, False):
            try:
                dataset_id = naming.dataset_id_of(version_id, vintage_from_release=vintage_from_release)
            except naming.BadName as error:
                raise PermanentFailure(
                    f"this is no version id: {error.sentence()}",
                    where="datasets",
                    version=version_id,
                    remedy="Remove the partition: versions come from the releases sensor",
                ) from error
            dataset = self.datasets.get(dataset_id)
            if dataset is not None and isinstance(dataset.vintage, ReleaseVintage) == vintage_from_release:
                return dataset
        raise PermanentFailure(
            "no dataset with this id is declared",
            where="datasets",
            version=version_id,
            remedy="Declare it, or remove the partition; `d4c dataset list` shows what is declared",
        )

    def published(self, dataset: Dataset) -> list[str]:
        """Ids of the dataset's published versions, oldest first: those on the portal and not withdrawn."""
        ids = self.records.of_dataset(dataset.id, vintage_from_release=isinstance(dataset.vintage, ReleaseVintage))
        return sorted(
            (v for v in ids if self.records.read(Copies, v, place="portal") and not self.records.read(Withdrawal, v)),
            key=naming.order_key,
        )

    def predecessor(self, dataset: Dataset, version_id: str) -> str | None:
        """The published version that comes right before this one, if there is one."""
        before = [v for v in self.published(dataset) if naming.order_key(v) < naming.order_key(version_id)]
        return before[-1] if before else None
