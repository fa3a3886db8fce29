"""How a large object is cut into parts, and the ETag that S3 gives it for them.

The length of the parts is a function of the size alone, so that the same bytes have the same ETag in every store of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MIB = 1024 * 1024
PART = 16 * MIB  # up to here, one request; Source Cooperative's proxy takes parts up to about 60 MB
MOST_PARTS = 10_000
UNKNOWN_SIZE_PART = 64 * MIB  # 640 GB fit; more memory than it takes when the size is known


def part_length(size: int | None) -> int:
    """Bytes of every part but the last: equal, as R2 demands, and at most 10 000 of them."""
    if size is None:
        return UNKNOWN_SIZE_PART
    needed = -(-size // MOST_PARTS)
    return max(PART, -(-needed // MIB) * MIB)


def multipart_etag(md5s: Sequence[bytes]) -> str:
    """The ETag of an object that was uploaded in parts with these MD5 digests; one part is sent as a whole object."""
    if len(md5s) == 1:
        return md5s[0].hex()
    return f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"
