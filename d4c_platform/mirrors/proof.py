"""Prove that a public URL serves an artifact's exact bytes: read it back, in bounded memory, and compare the sha-256.

Size, ETag and a mirror's own checksum are what the mirror says of itself. What a reader gets is the only proof that holds
for every mirror, behind every proxy and cache.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Copy, CopyState
from d4c_platform.web import HttpRefusal, HttpTrouble, Web

BY_SHA256 = "sha256"


class WrongBytes(PermanentFailure):
    """A URL serves other bytes than the artifact's, or nothing."""


def prove(web: Web, url: str, *, size: int, sha256: str, where: str) -> None:
    """Read the whole body back and compare it.

    Raises:
        WrongBytes: it serves other bytes, or says there is nothing.
        TransientFailure: it did not answer, or broke off.
    """
    seen, hashed = 0, hashlib.sha256()
    try:
        with web.stream(url, where=where) as response:
            for chunk in response.iter_raw():
                seen += len(chunk)
                if seen > size:  # enough is known; a mirror must not make us read without end
                    break
                hashed.update(chunk)
            announced = response.headers.get("Content-Length")
    except HttpRefusal as refusal:
        raise WrongBytes(f"does not serve the file ({refusal.status})", where=where, file=url) from refusal
    if seen < size and announced == str(size):
        raise HttpTrouble(f"the answer broke off after {seen} of {size} bytes", status=None, where=where, file=url)
    if seen != size:
        raise WrongBytes(f"serves {'more than ' if seen > size else ''}{seen} bytes instead of {size}", where=where, file=url)
    if hashed.hexdigest() != sha256:
        raise WrongBytes(f"serves sha-256 {hashed.hexdigest()[:12]}… instead of {sha256[:12]}…", where=where, file=url)


def prove_range(web: Web, url: str, *, size: int, where: str) -> None:
    """Check that the URL honours Range, which a web seed needs.

    Raises:
        PermanentFailure: it answers without a 206 for exactly the byte asked for.
    """
    last = size - 1
    with web.stream(url, where=where, headers={"Range": f"bytes={last}-{last}"}) as response:
        status, content_range = response.status_code, response.headers.get("Content-Range", "")
    if status != 206 or content_range.replace("bytes=", "bytes ") != f"bytes {last}-{last}/{size}":
        raise PermanentFailure(
            f"answers a Range request with {status} instead of 206, so it cannot be a web seed",
            where=where,
            file=url,
            remedy="Use the mirror's URL that honours Range as its public URL",
        )


def look_again(web: Web, copy: Copy, *, where: str) -> Copy:
    """The copy with what its URL serves now: fresh or bad.

    Raises:
        TransientFailure: the mirror could not be asked.
    """
    try:
        prove(web, copy.url, size=copy.bytes, sha256=copy.sha256, where=where)
        state = CopyState.FRESH
    except WrongBytes:
        state = CopyState.BAD
    return copy.model_copy(update={"state": state, "checked_at": datetime.now(UTC), "verified": BY_SHA256})
