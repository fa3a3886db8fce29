"""Is this URL fit to be a web seed? It is asked for pieces, as a client would, before anybody else is sent there.

A web seed that answers 200 instead of 206, has another length or serves one wrong byte is worse than none: clients ban it, or
stall. So a seed is listed only after its first, its last and one piece picked at random came back as ranges and match their
SHA-1. HEAD is not asked: Zenodo's is answered by another program than its data.

A URL must also stay what it is. The rule: it names the artifact's own file, which carries vintage and SemVer, so the strict
latest (`processed/<dataset-id>…` on the portal) can never be listed, and it carries no signature that expires.

The web seed of a folder is the URL of its parent, to which clients append the folder's name and a file's path (BEP 19). It is
asked in the same way: what a piece needs of each file, with zeros for pad files, which nobody asks for.

Not here: which URLs there are, or what happens to those that fail (publish).
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx

from d4c_platform.model.errors import D4CError, TransientFailure
from d4c_platform.torrents.metainfo import Metainfo
from d4c_platform.web import Web, without_query

EXPIRING = re.compile(
    r"^(x-(amz|goog|oss)-.*|sig|signature|token|access_token|expires|awsaccesskeyid|policy|key-pair-id)$", re.IGNORECASE
)
CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


@dataclass(frozen=True, slots=True)
class Probe:
    """What asking one URL has shown.

    Attributes:
        reason: one sentence, for a good seed too.
        transient: a bad seed that may be good the next time it is asked.
        redirects: where it sent us, in order, without queries.
    """

    url: str
    ok: bool
    reason: str
    transient: bool = False
    redirects: tuple[str, ...] = ()


class _Unfit(Exception):
    """Why a URL cannot be listed."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """What a piece needs of one file: its bytes from `first` to `last`, or as many zeros when there is no URL."""

    url: str | None
    first: int
    last: int
    of: int

    @property
    def bytes(self) -> int:
        return self.last - self.first + 1


def probe(web: Web, url: str, meta: Metainfo, *, dice: random.Random | None = None) -> Probe:
    """Ask a URL for pieces of a torrent and compare them with their hashes.

    Args:
        url: as it would be listed: of the file, or of the folder's parent.
        dice: picks the third piece; give a seeded one to ask for the same pieces again.
    """
    redirects: tuple[str, ...] = ()
    try:
        _keep_to_rule(url if meta.single_file else _file_url(url, (meta.name,)), meta.name)
        asked = _pieces_to_ask(meta, dice or random.Random())
        for piece in asked:
            redirects = _ask(web, url, meta, piece)
    except _Unfit as unfit:
        return Probe(url, ok=False, reason=str(unfit), redirects=redirects)
    except D4CError as error:
        return Probe(url, ok=False, reason=error.what, transient=isinstance(error, TransientFailure), redirects=redirects)
    pieces = ", ".join(str(piece) for piece in asked)
    return Probe(url, ok=True, reason=f"pieces {pieces} of {meta.piece_count} match their hashes", redirects=redirects)


def _keep_to_rule(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _Unfit("not an HTTP address")
    if parts.scheme == "http" and not _is_local(parts.hostname):
        raise _Unfit("not HTTPS: whoever is on the way could read and hold back what is fetched")
    if parts.username or parts.password:
        raise _Unfit("it carries a password")
    if parts.fragment:
        raise _Unfit("it carries a fragment, which no server sees")
    _refuse_expiring(parts.query)
    if name not in [unquote(segment) for segment in parts.path.split("/")]:
        raise _Unfit(f"it does not name {name}, so its bytes could be replaced by another version's")


def _refuse_expiring(query: str) -> None:
    signed = [key for key, _ in parse_qsl(query, keep_blank_values=True) if EXPIRING.match(key.lower())]
    if signed:
        raise _Unfit(f"it carries a signature or token that expires ({signed[0]})")


def _pieces_to_ask(meta: Metainfo, dice: random.Random) -> list[int]:
    if meta.piece_count == 0:
        raise _Unfit("the file is empty; there is nothing to serve")
    last = meta.piece_count - 1
    return sorted({0, last, dice.randint(0, last)})


def _file_url(parent: str, path: tuple[str, ...]) -> str:
    if not parent.endswith("/"):
        raise _Unfit("it does not end with a slash, so clients take it for a file")
    return parent + "/".join(quote(segment, safe="") for segment in path)


def _slices(url: str, meta: Metainfo, piece: int) -> Iterator[_Slice]:
    first, last = meta.piece_range(piece)
    if meta.single_file:
        yield _Slice(url, first, last, meta.length)
        return
    start = 0
    for part in meta.parts:
        low, high = max(first, start), min(last, start + part.bytes - 1)
        if low <= high:
            address = None if part.padding else _file_url(url, (meta.name, *part.path))
            yield _Slice(address, low - start, high - start, part.bytes)
        start += part.bytes
        if start > last:
            return


def _ask(web: Web, url: str, meta: Metainfo, piece: int) -> tuple[str, ...]:
    """Fetch one piece as ranges and check everything a client relies on; returns the redirects."""
    redirects: tuple[str, ...] = ()
    sha1 = hashlib.sha1(usedforsecurity=False)
    for part in _slices(url, meta, piece):
        if part.url is None:
            sha1.update(bytes(part.bytes))
        else:
            redirects = _receive(web, part, piece, sha1)
    if sha1.digest() != meta.piece_hash(piece):
        raise _Unfit(f"served other bytes: piece {piece} does not match its hash")
    return redirects


def _receive(web: Web, part: _Slice, piece: int, sha1: hashlib._Hash) -> tuple[str, ...]:
    assert part.url is not None
    with web.stream(part.url, where="web seed", headers={"Range": f"bytes={part.first}-{part.last}"}) as response:
        redirects = _redirects(response)
        if response.status_code != 206:
            raise _Unfit(
                f"answered {response.status_code} to a range request instead of 206: it does not serve parts of a file"
            )
        _check_headers(response, part.first, part.last, part.of)
        received = 0
        for chunk in response.iter_raw():
            sha1.update(chunk)
            received += len(chunk)
            if received > part.bytes:
                break
    if received != part.bytes:
        more_or_less = "more" if received > part.bytes else f"{received}, fewer"
        raise _Unfit(f"sent {more_or_less} bytes than the {part.bytes} of piece {piece}")
    return redirects


def _check_headers(response: httpx.Response, first: int, last: int, length: int) -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise _Unfit(f"sent the range with Content-Encoding {encoding}, so it is not the file's own bytes")
    content_range = response.headers.get("Content-Range", "")
    match = CONTENT_RANGE.match(content_range)
    if match is None:
        raise _Unfit(f"answered 206 with the Content-Range {content_range!r}")
    got_first, got_last, total = (int(number) for number in match.groups())
    if total != length:
        raise _Unfit(f"serves a file of {total} bytes, and the artifact has {length}")
    if (got_first, got_last) != (first, last):
        raise _Unfit(f"answered bytes {got_first}-{got_last} when asked for {first}-{last}")


def _redirects(response: httpx.Response) -> tuple[str, ...]:
    """Where the answer came from, when that is a place others can be sent to as well."""
    if not response.history:
        return ()
    asked = response.history[0].url  # not the URL we were given: a sandbox may stand in for its host
    hops = [*(answer.url for answer in response.history[1:]), response.url]
    for hop in hops:
        shown = without_query(str(hop))
        if asked.scheme == "https" and hop.scheme != "https":
            raise _Unfit(f"redirects from HTTPS to {shown}")
        if _is_local(hop.host) and not _is_local(asked.host):
            raise _Unfit(f"redirects into a private network ({shown})")
        try:
            _refuse_expiring(hop.query.decode())
        except _Unfit as unfit:
            raise _Unfit(f"redirects to {shown}, and {unfit}: clients that keep it fail later") from None
    return tuple(without_query(str(hop)) for hop in hops)


def _is_local(host: str) -> bool:
    """Whether a host is on this machine or a private network, as far as its name tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    return not address.is_global
