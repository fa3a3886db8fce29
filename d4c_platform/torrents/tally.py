"""Who sent what during one fetch, and what became of each source that did not: the evidence behind a result or a failure.

A client only says "stalled". A person needs to know that one mirror answered 404, that another served wrong bytes and was
dropped, and whether trying again can help; this module keeps those facts. It knows nothing of libtorrent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.web import TRANSIENT_STATUS, without_query

LIED = "served bytes that fail their hash and was dropped"
SILENT = "gave nothing"
NO_RANGES = "does not answer range requests as a web seed must"
DEFAULT_PORTS = {"http": 80, "https": 443}


class Tally:
    """What the sources of one torrent did.

    Args:
        web_seeds: the URLs that are tried.
        may_find_peers: whether there is any way to meet a peer: given addresses, a tracker, the DHT.
    """

    def __init__(self, web_seeds: Iterable[str], *, may_find_peers: bool) -> None:
        self.from_web_seeds = self.from_peers = 0
        self._fates: dict[str, str | None] = dict.fromkeys(web_seeds)
        self._may_find_peers = may_find_peers
        self._trackers: dict[str, str] = {}
        self._liars: set[tuple[str, int]] = set()
        self._web_endpoints: set[tuple[str, int]] = set()
        self._peer_endpoints: set[tuple[str, int]] = set()
        self._pending: dict[tuple[int, int], tuple[tuple[str, int], int]] = {}  # block to whom it was asked of, and its size

    def knows(self, endpoint: tuple[str, int]) -> bool:
        return endpoint in self._web_endpoints or endpoint in self._peer_endpoints

    def connected(self, endpoint: tuple[str, int], *, web_seed: bool) -> None:
        (self._web_endpoints if web_seed else self._peer_endpoints).add(endpoint)

    def asked(self, endpoint: tuple[str, int], block: tuple[int, int], size: int) -> None:
        """A block was requested from a source; the last one that is asked is the likeliest to send it."""
        self._pending[block] = (endpoint, size)

    def received(self, endpoint: tuple[str, int], block: tuple[int, int], size: int) -> None:
        """A block arrived; bytes that fail their hash later were sent all the same and count."""
        self._pending.pop(block, None)
        if self._is_web(endpoint):
            self.from_web_seeds += size
        else:
            self.from_peers += size

    def complete(self) -> None:
        """Every block is there. The client is silent about those that were on their way to disk when it had them all."""
        for block, (endpoint, size) in list(self._pending.items()):
            self.received(endpoint, block, size)

    def web_seed_failed(self, url: str, why: str) -> None:
        """A client's own words for it. The first lie is what counts: what follows is only its consequence."""
        if self._fates.get(url) != LIED:
            self._fates[url] = LIED if "banned" in why else NO_RANGES if "range" in why.lower() else _answered(why)

    def banned(self, endpoint: tuple[str, int]) -> None:
        """The client dropped a connection for its bytes. For a web seed this is told by its URL, see `still_listed`."""
        if not self._is_web(endpoint):
            self._liars.add(endpoint)

    def disconnected(self, endpoint: tuple[str, int], why: str) -> None:
        """A connection ended. It says something about a web seed only while nothing better is known."""
        for url, fate in self._fates.items():
            parts = urlsplit(url)
            if fate is None and (parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)) == endpoint:
                if "range" in why.lower():
                    self._fates[url] = NO_RANGES
                elif "refused" in why or "timed out" in why or "unreachable" in why:
                    self._fates[url] = f"could not be reached ({why})"

    def still_listed(self, urls: Iterable[str], *, pieces_failed: bool) -> None:
        """Which web seeds the client still uses; one that is gone after a piece failed its hash was banned for it."""
        listed = set(urls)
        for url, fate in self._fates.items():
            if pieces_failed and fate is None and url not in listed:
                self._fates[url] = LIED

    def tracker(self, url: str, said: str | None) -> None:
        """What a tracker said last; None when it answered as it should."""
        if said is None:
            self._trackers.pop(url, None)
        else:
            self._trackers[url] = said

    @property
    def failed_sources(self) -> tuple[str, ...]:
        """One sentence for each web seed that failed us, and each peer that lied."""
        return (
            *(f"{without_query(url)} {fate}" for url, fate in self._fates.items() if fate is not None),
            *(f"peer {host}:{port} {LIED}" for host, port in sorted(self._liars)),
        )

    @property
    def hopeless(self) -> bool:
        """Nothing that is left can ever send a byte."""
        return not self._may_find_peers and all(_for_good(fate) for fate in self._fates.values())

    def failure(self, what: str, *, file: str, kept: str) -> PermanentFailure | TransientFailure:
        """The failure that tells what every source did."""
        told = [f"{without_query(url)} {fate or SILENT}" for url, fate in self._fates.items()]
        told += [f"tracker {without_query(url)}: {said}" for url, said in self._trackers.items()]
        told += [f"peer {host}:{port} {LIED}" for host, port in sorted(self._liars)]
        if self._may_find_peers:
            told.append(f"{len(self._peer_endpoints)} peers were met" if self._peer_endpoints else "no peer was met")
        if not told:
            told.append("it names no web seed, no tracker and no peer")
        kind = PermanentFailure if self.hopeless else TransientFailure
        remedy = "Re-issue the torrent with web seeds that work, or give a peer" if self.hopeless else "Try again later"
        return kind(f"{what}: {'; '.join(told)}", where="torrent", file=file, kept=kept, remedy=remedy)

    def _is_web(self, endpoint: tuple[str, int]) -> bool:
        """Whether a connection is a web seed's; one that was gone before it could be asked is known by its port."""
        if endpoint in self._web_endpoints or endpoint in self._peer_endpoints:
            return endpoint in self._web_endpoints
        return endpoint[1] in {p.port or DEFAULT_PORTS.get(p.scheme) for p in map(urlsplit, self._fates)}


def _answered(why: str) -> str:
    return f"answered {why}" if re.match(r"^\d{3}\b", why) else f"failed: {why}"


def _for_good(fate: str | None) -> bool:
    """Whether a web seed that ended so ends the same way tomorrow."""
    if fate in {LIED, NO_RANGES}:
        return True
    status = re.match(r"^answered (4\d\d)\b", fate or "")
    return status is not None and int(status[1]) not in TRANSIENT_STATUS
