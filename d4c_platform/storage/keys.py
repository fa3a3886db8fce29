"""Object keys that mean the same on every store, and that cannot leave it.

A key is a relative path with `/` between its segments. What a file system or a proxy would read in its own way (`..`, an
empty segment, a backslash, a control character) is refused everywhere, so that a version that fits one store fits all.
"""

from __future__ import annotations

from urllib.parse import quote

from d4c_platform.model.errors import PermanentFailure

HIDDEN = ".d4c"
"""The folder in which a local store keeps what is not an object yet; no key starts with it."""

LONGEST_KEY_BYTES = 1024  # S3
LONGEST_SEGMENT_BYTES = 255  # ext4, APFS, NTFS


def checked(key: str) -> str:
    """The key itself. Raises PermanentFailure when it is not safe on every store."""
    if not key:
        raise PermanentFailure("an object key is empty", where="storage")
    _check_segments(key, key.split("/"))
    return key


def checked_prefix(prefix: str) -> str:
    """A prefix to list: empty, or the beginning of a key, which may end inside a segment or with `/`."""
    segments = prefix.split("/")
    _check_segments(prefix, segments[:-1] + ([segments[-1]] if segments[-1] else []))
    return prefix


def public_url(base: str, key: str) -> str:
    """The key below a public base URL, percent-encoded."""
    return f"{base.rstrip('/')}/{quote(checked(key))}"


def _check_segments(text: str, segments: list[str]) -> None:
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise _unsafe(text, "has an empty, `.` or `..` segment")
        if "\\" in segment or any(ord(c) < 32 or ord(c) == 127 for c in segment):
            raise _unsafe(text, "contains a backslash or a control character")
        if len(_utf8(text, segment)) > LONGEST_SEGMENT_BYTES:
            raise _unsafe(text, f"has a segment longer than {LONGEST_SEGMENT_BYTES} bytes")
    if segments and segments[0] == HIDDEN:
        raise _unsafe(text, f"starts with `{HIDDEN}/`, which is not for objects")
    if len(_utf8(text, text)) > LONGEST_KEY_BYTES:
        raise _unsafe(text[:80] + "…", f"is longer than {LONGEST_KEY_BYTES} bytes")


def _utf8(text: str, part: str) -> bytes:
    try:
        return part.encode()
    except UnicodeEncodeError as error:
        raise _unsafe(text, "is not Unicode text") from error


def _unsafe(key: str, why: str) -> PermanentFailure:
    return PermanentFailure(f"the object key {key!r} {why}", where="storage", kept="Nothing was read or written")
