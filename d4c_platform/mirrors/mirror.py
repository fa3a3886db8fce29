"""What every mirror takes and gives: a published version in, verified copies out.

The protocol is small on purpose: a mirror that can be killed at any point and started again needs no other verbs. It looks at
what is already true (its records, then the remote service), does only what is missing, and writes `copies.<name>.json` once
the bytes were seen there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact, Copies, Manifest

NOTHING_PUBLISHED = "Nothing was published there and the previous latest stays"


@dataclass(frozen=True, slots=True)
class Companion:
    """A small file that travels with a version: its manifest, changelog, README, torrent."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version that passed its checks and lies on the portal, with everything a mirror says about it.

    Attributes:
        item: the immutable part of its STAC item.
        release_urls: the declared URLs its source was fetched from.
        open: streams an artifact's bytes from the portal; called again for every attempt.
        previous_record_id: the Zenodo record of an earlier version of the dataset; the new record joins its concept.
        companions: made by the caller, the same bytes on every call for the same version.
    """

    dataset: Dataset
    version_id: str
    item: dict[str, Any]
    artifacts: tuple[Artifact, ...]
    manifest: Manifest
    release_urls: tuple[str, ...]
    open: Callable[[Artifact], AbstractContextManager[BinaryIO]]
    previous_record_id: str | None = None
    companions: tuple[Companion, ...] = ()


class Mirror(Protocol):
    """A place that keeps copies of published versions."""

    @property
    def name(self) -> str:
        """The mirror's name: the `place` of its copies."""
        ...

    def publish(self, version: PublishedVersion) -> Copies:
        """Put every artifact there that is not there yet, prove it, and record the copies. Safe to repeat at any point.

        Raises:
            PermanentFailure: the mirror refuses, or holds other bytes under the version's name.
            TransientFailure: the mirror is in trouble; the next call goes on from here.
        """
        ...

    def verify(self, copies: Copies) -> Copies:
        """Look again: the same copies with the time and state of now. A copy that is wrong or gone is `bad`, not an error.

        Raises:
            TransientFailure: the mirror could not be asked; nothing is known of the copies' state.
        """
        ...
