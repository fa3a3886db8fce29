"""Has a release's content changed, though its publisher announced nothing?

Statistics Canada sometimes corrects a table under its old release time, and packs zips anew without a reason anyone can see.
So an archived release is looked at again now and then, each time a little closer, and only while the last look leaves a doubt:

1. HEAD: the validators are those of the archived file, or of the last time it was found equal. Nothing changed.
2. The last kilobytes of the zip, its directory: the members have the names, sizes and CRCs of the archived ones. Packed anew.
3. Otherwise it is a revision, as far as one can see from here; the archive compares the bytes (archive).

Not here: how often (stages.recheck), or what a revision becomes (detection).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import RawFile
from d4c_platform.sources import zipfiles
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.http_file import Validators
from d4c_platform.sources.receipt import KEPT
from d4c_platform.web import Web, without_query

WHERE = "recheck"
TAIL_BYTES = 128 << 10  # holds the directory of a zip with hundreds of members, and the longest comment a zip can have
PARTIAL = 206

Seal = dict[str, str]
"""The validators under which a file was last found equal, as `Validators.hint`."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a release's files found.

    Attributes:
        changed: names of the files that hold something else now.
        seals: file name to the validators of what was found equal under others than the archived ones.
        mark: tells this state of the files from any other.
    """

    changed: tuple[str, ...]
    seals: Mapping[str, Seal]
    mark: str


def look(web: Web, files: Iterable[RawFile], seals: Mapping[str, Seal]) -> Looked:
    """Look at the archived zips where their publisher serves them.

    Args:
        seals: of the last look.

    Raises:
        D4CError: one of them could not be looked at.
    """
    changed: list[str] = []
    fresh: dict[str, Seal] = {}
    mark = ""
    for file in files:
        if not file.name.endswith(".zip"):
            continue  # a table's metadata tells its release time, and is no content
        now = _validators(web, file.url)
        archived = Validators.of(httpx.Headers(file.headers), file.bytes)  # recorded in lower case
        sealed = Validators.from_hint(seals[file.name]) if file.name in seals else None
        if now.say_something and (now.same(archived) or (sealed is not None and now.same(sealed))):
            fresh |= {file.name: seals[file.name]} if file.name in seals else {}
            continue
        directory = _directory(web, file.url, now.content_length)
        if directory and directory == file.directory_sha256:
            fresh[file.name] = now.hint
            continue
        changed.append(file.name)
        mark = mark or (directory or _sha256(now.hint))[:8]
    return Looked(tuple(changed), fresh, mark)


def _sha256(hint: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(hint, sort_keys=True).encode()).hexdigest()


def _validators(web: Web, url: str) -> Validators:
    response = web.request("HEAD", url, where=WHERE)
    refuse_astray(web, url, response, where=WHERE, kept=KEPT)
    length = response.headers.get("Content-Length", "")
    return Validators.of(response.headers, int(length) if length.isdecimal() else None)


def _directory(web: Web, url: str, size: int | None) -> str:
    """The hash of the zip's directory; empty when the server does not serve the end of a file by itself."""
    if size is None:
        return ""
    start = max(0, size - TAIL_BYTES)
    with web.stream(url, where=WHERE, headers={"Range": f"bytes={start}-{size - 1}"}) as response:
        refuse_astray(web, url, response, where=WHERE, kept=KEPT)
        if response.status_code != PARTIAL and start > 0:
            return ""
        tail = b"".join(response.iter_raw())
    if len(tail) != size - start:
        raise TransientFailure(
            "the file changed while it was looked at", where=WHERE, file=without_query(url), remedy="It is looked at again"
        )
    try:
        return zipfiles.directory_sha256(_End(tail, start))
    except PermanentFailure:
        return ""  # no sound zip any more, or a directory longer than the tail: the archive looks at all of it


class _End(io.BytesIO):
    """The end of a file, at the places where it lies in the whole; nothing before it can be read."""

    def __init__(self, tail: bytes, start: int) -> None:
        super().__init__(tail)
        self._start = start

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET:
            if offset < self._start:
                raise ValueError("it lies before the end that was read")
            return super().seek(offset - self._start) + self._start
        return super().seek(offset, whence) + self._start

    def tell(self) -> int:
        return super().tell() + self._start
