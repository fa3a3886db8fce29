"""A list of files as a publisher writes it: one URL a line, and where in the release each file belongs.

    # comments, and empty lines, are passed over
    https://example.ca/ortho/2024/tile_001.tif
    https://example.ca/get?id=17<TAB>2024/tile_002.tif

The second column is the file's path in the release. Without it the path is what follows the declared `base`, or, without
that too, the last segment of the URL. A path becomes an object key and a name on every kind of disk, so what is not plain
everywhere is refused with its line, and nothing is renamed: the list, the keys and the torrent name the same files.

Read line by line, because a list may be larger than what one would like to hold. Not here: whether two lines name the same
file, which takes all of them (stages.ingest), or what the files are (file_list).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpx

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage import keys

WHERE = "file-list"
MOST_FILES = 200_000  # the folder's torrent must stay within what clients read
LIST_BYTES = 64 << 20  # 200 000 lines of 320 bytes
LINE_BYTES = 8 << 10
PATH_BYTES = 600  # S3 takes 1024 for the whole key
SEGMENT_BYTES = 240  # libtorrent cuts longer names, and then asks web seeds for what is not there
PADDING = ".pad"  # the folder of a torrent's pad files


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of the list."""

    line: int
    url: str
    path: str


def listed(lines: Iterable[bytes], base: str | None) -> Iterator[Listed]:
    """The files of a list.

    Raises:
        PermanentFailure: a line that cannot be read, or a path that is not safe; names the line.
    """
    count = 0
    for number, raw in enumerate(lines, start=1):
        if len(raw) > LINE_BYTES:
            raise _bad(number, f"is longer than {LINE_BYTES:,} bytes")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise _bad(number, "is not UTF-8 text") from error
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        count += 1
        if count > MOST_FILES:
            raise _bad(number, f"is more than the {MOST_FILES:,} files that one release may have")
        yield _entry(number, text, base)
    if not count:
        raise PermanentFailure("the list names no file", where=WHERE, remedy="Look at what is served there")


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines from chunks of any size, each with its line break; never more than one line too many in memory."""
    rest, total = b"", 0
    for chunk in chunks:
        total += len(chunk)
        if total > LIST_BYTES:
            raise PermanentFailure(f"the list is longer than {LIST_BYTES:,} bytes", where=WHERE, remedy="Declare it in parts")
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > LINE_BYTES:
            yield rest  # refused by its length
            return
    if rest:
        yield rest


def path_problem(path: str) -> str | None:
    """Why a relative path is not safe to be a key, a name on a disk and a name in a torrent; None when it is."""
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES:
        return f"is longer than {PATH_BYTES} bytes"
    segments = path.split("/")
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for c in path) or "\\" in path:
        return "holds a backslash, or a character that cannot be seen"
    for segment in segments:
        if segment in {"", ".", ".."}:
            return "has an empty, `.` or `..` segment"
        if segment != segment.strip() or segment.endswith("."):
            return "has a segment that begins or ends with a space, or ends with a dot"
        if len(segment.encode()) > SEGMENT_BYTES:
            return f"has a segment longer than {SEGMENT_BYTES} bytes"
    if segments[0] in {PADDING, keys.HIDDEN}:
        return f"begins with `{segments[0]}/`, which is not for files of a publisher"
    return None


def _entry(number: int, text: str, base: str | None) -> Listed:
    columns = text.split("\t")
    if len(columns) > 2:
        raise _bad(number, f"has {len(columns)} columns instead of a URL and a path")
    url = columns[0].strip()
    problem = _address_problem(url)
    if problem:
        raise _bad(number, problem)
    path = "".join(columns[1:]).strip() or _path_of(number, url, base)
    unsafe = path_problem(path)
    if unsafe:
        raise _bad(number, f"has the path {path[:80]!r}, which {unsafe}")
    return Listed(number, url, path)


def _path_of(number: int, url: str, base: str | None) -> str:
    address = url.partition("#")[0].partition("?")[0]
    if base is None:
        return unquote(address.rpartition("/")[2])
    if not address.startswith(base):
        raise _bad(number, f"does not begin with the declared base {base}")
    return unquote(address[len(base) :]).removeprefix("/")


def _address_problem(url: str) -> str | None:
    """What is wrong with an address, without repeating what it may hold of credentials."""
    try:
        address = httpx.URL(url)
        parts = urlsplit(url)
    except (httpx.InvalidURL, ValueError):
        return "holds no URL that can be read"
    if address.scheme not in {"http", "https"} or not address.host:
        return "holds no http(s) address"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password, which would be published"
    return None


def _bad(number: int, what: str) -> PermanentFailure:
    return PermanentFailure(
        f"line {number:,} {what}",
        where=WHERE,
        kept="Nothing was fetched; the previous latest stays",
        remedy="Have the publisher correct the list, or declare a corrected one",
    )
