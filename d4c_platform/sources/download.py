"""One file of a release on the local disk, hashed as it comes.

When the body starts over, so does the file: it is never longer than what it is made of.

Not here: going on after a break (body), what the file has to be (receipt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from d4c_platform.model.errors import TransientFailure
from d4c_platform.model.records import Fetching
from d4c_platform.sources.body import Beginning, Body
from d4c_platform.sources.source import SourceUrl
from d4c_platform.web import Web, without_query

WHERE = "receipt"
KEPT = "The previous latest stays"


class Stopped(TransientFailure):
    """Another file of the release failed, so this one is not fetched to its end."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body that is whole, and the answer it began with."""

    bytes: int
    sha256: str
    status: int
    headers: httpx.Headers
    fetching: Fetching


def download(web: Web, file: SourceUrl, path: Path, stop: Callable[[], bool] = lambda: False) -> Downloaded:
    """Fetch the bytes of a file to `path`.

    Args:
        stop: asked between two chunks whether to give up.

    Raises:
        PermanentFailure, OtherState, HttpRefusal: as `Body.pieces`.
        TransientFailure: the server or the line failed too often, or the disk is full.
    """
    body = Body(web, file.url, where=WHERE, kept=KEPT, accept=file.accept)
    with on_disk(path), path.open("wb") as out, closing(body.pieces()) as pieces:
        for piece in pieces:
            if isinstance(piece, Beginning):
                out.seek(0)
                out.truncate()
                digest = hashlib.sha256()
                continue
            if stop():
                raise Stopped("another file of the release failed", where=WHERE, file=without_query(file.url), kept=KEPT)
            digest.update(piece)
            out.write(piece)
        out.flush()
    return Downloaded(body.size, digest.hexdigest(), body.beginning.status, body.beginning.headers, body.fetching())


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Tell a trouble of the local disk as what it is."""
    try:
        yield
    except OSError as error:
        raise TransientFailure(
            f"it could not be written to the local disk ({error.strerror})",
            where=WHERE,
            file=str(path),
            kept=KEPT,
            remedy="Make room there, or point D4C_WORK_DIR to a larger disk, and materialize this version again",
        ) from error
