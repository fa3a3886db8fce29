"""What is known of a version, as small documents written once beside it in the portal.

Each class is one JSON document under ``records/<version-id>/``; `DOCUMENT` is its file name. The catalog is a pure function
of these documents. `Copies`, `Torrents` and `ZenodoDraft` may be replaced (a mirror is checked again, web seeds are
re-issued, a draft is discarded), `Release` and `OverrideDecision` until something was built; every other document is
written once.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from d4c_platform.model.fact import Document as Document
from d4c_platform.model.fact import Fact as Fact
from d4c_platform.model.judgement import Bump as Bump
from d4c_platform.model.judgement import Changes as Changes
from d4c_platform.model.judgement import MadeWith as MadeWith
from d4c_platform.model.judgement import Override as Override
from d4c_platform.model.judgement import Reason as Reason
from d4c_platform.model.judgement import RowChange as RowChange
from d4c_platform.model.judgement import Severity as Severity
from d4c_platform.model.judgement import Verdict as Verdict


class Candidate(Fact):
    """A release that a sensor noticed, before anything was fetched. The ledger's entry.

    `key` names the release: it is the same for the same publication however often it is noticed. `hint` is what the
    publisher's signal said (release time, ETag…): it starts a look and proves nothing.
    """

    dataset_id: str
    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")
    version_id: str
    vintage: str
    released_at: datetime = Field(description="UTC.")
    noticed_at: datetime = Field(description="UTC.")
    hint: dict[str, str]


class Hop(Fact):
    """One redirect that was followed. Its query is left out: it may carry a token."""

    status: int
    location: str


class Fetching(Fact):
    """How a source file was asked for, and in how many pieces it came."""

    method: str = "GET"
    request_headers: dict[str, str] = Field(
        default_factory=dict, description="Of the request that brought the file's end; with a Range when it was continued."
    )
    hops: tuple[Hop, ...] = Field(default=(), description="The redirects that led to the file's beginning.")
    started_at: datetime
    requests: int = Field(description="How many were made until the file was whole.")
    resumed_bytes: int = Field(default=0, description="How many of its bytes came by continuing after a break.")


class RawFile(Fact):
    """One archived source file, as received, with how it was received."""

    name: str
    key: str = Field(description="Object key under raw/.")
    url: str = Field(description="The declared URL that was asked for.")
    bytes: int
    sha256: str
    content_sha256: str = Field(description="Hash of the canonical content; for a zip, of its members' names and bytes.")
    directory_sha256: str = Field(default="", description="Of a zip: hash of its members' names, sizes and CRCs.")
    fetched_at: datetime
    status: int
    headers: dict[str, str]
    redirects: tuple[str, ...] = ()
    fetching: Fetching | None = Field(default=None, description="None in older documents and for an answer read before.")


class Release(Document):
    """One publication of a dataset by its publisher, archived whole.

    Replaceable, because a publisher repairs a file under the same release; `sources.archive` refuses once it is built.
    """

    DOCUMENT = "release.json"
    REPLACEABLE = True

    dataset_id: str
    key: str
    vintage: str
    released_at: datetime
    noticed_at: datetime
    hint: dict[str, str]
    content_sha256: str = Field(description="Hash over the files' canonical content: equal means nothing changed.")
    files: tuple[RawFile, ...]


class Digests(Fact):
    """Everything that one pass over an artifact's bytes yields."""

    bytes: int
    sha256: str
    md5: str
    piece_length: int = Field(description="BitTorrent v1 piece length in bytes.")
    pieces: str = Field(description="Base64 of the concatenated SHA-1 piece hashes (BEP 3).")
    merkle_root: str = Field(description="Hex SHA-256 merkle root over 16 KiB blocks (BEP 52).")


class ColumnInfo(Fact):
    """One column as it was written."""

    name: str
    type: str
    nulls: int
    title_en: str = ""
    title_fr: str = ""


class Part(Fact):
    """One of the files that a large table is published as."""

    file: str
    digests: Digests
    rows: int


def part_role(role: str, number: int) -> str:
    """The role of a part of a large table, counted from 1: `data-0001`."""
    return f"{role}-{number:04}"


class Artifact(Fact):
    """One systems-ready file of a version, under a fixed role; a large table is several files with rows in one order."""

    role: str
    file: str
    media_type: str
    digests: Digests
    logical_hash: str = Field(description="Hex SHA-256 over the values in canonical types and order: survives upgrades.")
    rows: int = Field(description="Of a table its rows; of an image its pixels, of tiles the tiles that can be asked for.")
    columns: tuple[ColumnInfo, ...] = Field(description="Of an image its bands; of vector tiles `layer/field`.")
    key: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = Field(default=None, description="WGS 84; None when not spatial.")
    crs: str | None = Field(default=None, description="Authority code, for instance EPSG:3347; None when not spatial.")
    geometry_types: tuple[str, ...] = ()
    period: tuple[str, str] | None = Field(default=None, description="First and last reference period, ISO 8601.")
    counts: dict[str, int] = Field(
        default_factory=dict,
        description="Kept, never hidden: suppressed values, invalid DGUIDs, null geometries, publisher's own row figure…",
    )
    facts: dict[str, str] = Field(
        default_factory=dict, description="What is no figure: an image's compression, the type and the layers of tiles…"
    )
    parts: tuple[Part, ...] = Field(
        default=(),
        description="What is published of a large table: its rows cut into files. `file` and `digests` are then of the table"
        " as it was built and checked, which can be put together again but is not published.",
    )

    @property
    def files(self) -> tuple[Artifact, ...]:
        """What is published of it: itself, or each part as an artifact of its own, `data-0001`, `data-0002`, …"""
        return tuple(
            self.model_copy(
                update={
                    "role": part_role(self.role, number),
                    "file": part.file,
                    "digests": part.digests,
                    "rows": part.rows,
                    "parts": (),
                }
            )
            for number, part in enumerate(self.parts, 1)
        ) or (self,)


class OverrideDecision(Document):
    """An operator's word on a version's number. Replaceable until the version is built: then its changelog has it."""

    DOCUMENT = "override.json"
    REPLACEABLE = True

    override: Override
    decided_at: datetime


class Build(Document):
    """The artifacts of a version, and the verdicts that let it be published."""

    DOCUMENT = "artifact.json"

    artifacts: tuple[Artifact, ...]
    checks: tuple[Verdict, ...] = ()
    changes: Changes = Changes(least_bump="first")
    made_with: MadeWith | None = Field(default=None, description="None in older documents.")

    @property
    def main(self) -> Artifact:
        """What the version is about; the others are previews of it."""
        return next((a for a in self.artifacts if a.role == "data"), self.artifacts[0])

    @property
    def files(self) -> tuple[Artifact, ...]:
        """Everything that is published, a file each."""
        return tuple(file for artifact in self.artifacts for file in artifact.files)


class Manifest(Document):
    """What a version was built from, so that it can be built again."""

    DOCUMENT = "manifest.json"

    dataset: dict[str, Any] = Field(description="The declaration as it was.")
    sources: dict[str, str] = Field(description="Raw object key to sha-256.")
    code_commit: str
    method_sha256: str = Field(
        default="", description="Of methods/<sha-256>.tar.gz: the code and its locked environment. Empty in older documents."
    )
    lock_sha256: str
    tools: dict[str, str]
    parameters: dict[str, str]
    checks: tuple[Verdict, ...]
    changes: Changes
    logical_hash: dict[str, str] = Field(description="Role to logical hash.")


class Item(Document):
    """The immutable part of a version's STAC item: what it is. Copies, DOI and torrent are joined when it is published."""

    DOCUMENT = "item.json"

    item: dict[str, Any]


class CopyState(StrEnum):
    """How recently a copy was seen to be right (after mirmon)."""

    FRESH = "fresh"
    OLDISH = "oldish"
    OLD = "old"
    BAD = "bad"


class Copy(Fact):
    """One artifact verified on one mirror."""

    role: str
    url: str
    bytes: int
    sha256: str
    checked_at: datetime
    state: CopyState = CopyState.FRESH
    verified: str = Field(description="What the verification compared: `sha256`, or the remote `md5` and size.")


class Copies(Document):
    """The verified copies of a version in one place. One document a place: ``copies.<place>.json``."""

    DOCUMENT = "copies.{place}.json"
    REPLACEABLE = True

    place: str = Field(description="`portal`, or the mirror's name.")
    copies: tuple[Copy, ...]


class ZenodoDraft(Document):
    """A draft that exists on Zenodo: stored before its first byte, so that a repeated step continues it.

    Replaceable, because a draft can be discarded and begun anew until it is published.
    """

    DOCUMENT = "zenodo-draft.json"
    REPLACEABLE = True

    record_id: str


class Doi(Document):
    """The version's DOI. Written once; a DOI cannot be taken back."""

    DOCUMENT = "doi.json"

    doi: str
    concept_doi: str | None
    record_id: str
    url: str
    published_at: datetime


SOURCE_FOLDER = "source"
"""Role of the torrent of a release that is a folder of files: what the publisher gave, beside what was made of it."""


class Torrent(Fact):
    """One v1 torrent: of one artifact, a single file, or of the folder that the publisher's files are."""

    role: str = Field(description="The artifact's, or `source`.")
    file: str = Field(description="The torrent's name: of the artifact's file, or of the folder.")
    url: str
    sha256: str = Field(description="Of the .torrent file.")
    info_hash: str = Field(description="Hex SHA-1 of the info dictionary (BEP 3).")
    magnet: str
    web_seeds: tuple[str, ...]
    trackers: tuple[str, ...]
    piece_length: int
    left_out: dict[str, str] = Field(
        default_factory=dict, description="Copies that could not be web seeds at the last issue: URL to reason."
    )


class Torrents(Document):
    """The version's torrents. Replaced when web seeds change; the info-hash never does."""

    DOCUMENT = "torrent.json"
    REPLACEABLE = True

    torrents: tuple[Torrent, ...]


class Withdrawal(Document):
    """Why a noticed release became no version: it changed nothing, or an operator withdrew it."""

    DOCUMENT = "withdrawn.json"

    reason: str
    same_as: str | None = None
