"""A small real BitTorrent tracker over HTTP: announces (BEP 3, 7, 21, 23), scrapes (BEP 48), a whitelist if wanted.

For the sandbox and for tests, so that peers on one machine find each other without a native program. Peers are kept in memory
and forgotten when they stay silent. Not a production tracker: those are maintained elsewhere (opentracker) and run beside us.

Query strings are read as bytes: an info-hash is 20 arbitrary bytes, and decoding it as text loses some of them.
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from d4c_platform.torrents.bencode import Bencodable, bencode

INTERVAL_S = 10  # short: on one machine a peer should be found within seconds of its start
PATIENCE = 3  # intervals a peer may stay silent before it is forgotten
MOST_PEERS, USUAL_PEERS = 200, 50
HASH_BYTES = 20
EVENTS = frozenset({"", "empty", "started", "stopped", "completed", "paused"})


class Refused(Exception):
    """A request the tracker does not answer; the text goes to the client as `failure reason`."""


@dataclass(slots=True)
class Peer:
    """One client in one swarm. `partial`: it has chosen not to fetch the rest (BEP 21)."""

    id: bytes
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    left: int
    partial: bool
    seen: float

    @property
    def compact(self) -> bytes:
        return self.address.packed + self.port.to_bytes(2, "big")

    def listed(self, *, named: bool) -> dict[bytes, Bencodable]:
        entry: dict[bytes, Bencodable] = {b"ip": str(self.address), b"port": self.port}
        return entry | {b"peer id": self.id} if named else entry

    @property
    def wants_data(self) -> bool:
        return self.left > 0 and not self.partial


@dataclass(slots=True)
class Swarm:
    """The peers of one info-hash, and how often a download was completed."""

    peers: dict[tuple[bytes, int], Peer] = field(default_factory=dict)  # by peer id and IP version: one may have both
    downloaded: int = 0

    def forget_silent(self, before: float) -> None:
        for key in [key for key, peer in self.peers.items() if peer.seen < before]:
            del self.peers[key]

    def counts(self) -> dict[bytes, Bencodable]:
        complete = sum(1 for peer in self.peers.values() if peer.left == 0)
        return {b"complete": complete, b"downloaded": self.downloaded, b"incomplete": len(self.peers) - complete}

    def scrape(self) -> dict[bytes, Bencodable]:
        return self.counts() | {b"downloaders": sum(1 for peer in self.peers.values() if peer.wants_data)}


class Tracker:
    """The swarms.

    Args:
        whitelist: hex info-hashes that are tracked; None tracks any. It is looked at on every request, so it may grow.
        interval_s: seconds between two announces of a peer.
    """

    def __init__(self, *, whitelist: Collection[str] | None = None, interval_s: int = INTERVAL_S) -> None:
        self._whitelist, self._interval_s = whitelist, interval_s
        self._swarms: dict[bytes, Swarm] = {}

    async def announce(self, request: Request) -> Response:
        return _answer(self._announce, request)

    async def scrape(self, request: Request) -> Response:
        return _answer(self._scrape, request)

    def _announce(self, request: Request) -> dict[bytes, Bencodable]:
        query = _query(request)
        info_hash, peer = self._hash(_one(query, "info_hash")), _peer(query, request)
        event = _one(query, "event", b"").decode("latin-1")
        if event not in EVENTS:
            raise Refused(f"unknown event {event[:20]}")
        swarm = self._swarms.setdefault(info_hash, Swarm())
        swarm.forget_silent(peer.seen - PATIENCE * self._interval_s)
        key = (peer.id, peer.address.version)
        if event == "stopped":
            swarm.peers.pop(key, None)
            return self._reply(swarm, [], query)
        if event == "completed" and not (key in swarm.peers and swarm.peers[key].left == 0):
            swarm.downloaded += 1  # a repeated `completed` is the same download
        swarm.peers[key] = peer
        others = [other for other in swarm.peers.values() if other.id != peer.id and (peer.wants_data or other.wants_data)]
        return self._reply(swarm, random.sample(others, min(_wanted(query), len(others))), query)

    def _scrape(self, request: Request) -> dict[bytes, Bencodable]:
        asked = [self._hash(value) for value in _query(request).get("info_hash", [])]
        if not asked:
            raise Refused("a scrape names the info_hash it wants; all at once are not told")
        now = time.monotonic()
        files: dict[bytes, Bencodable] = {}
        for info_hash in asked:
            swarm = self._swarms.get(info_hash, Swarm())
            swarm.forget_silent(now - PATIENCE * self._interval_s)
            files[info_hash] = swarm.scrape()
        return {b"files": files, b"flags": {b"min_request_interval": self._interval_s}}

    def _reply(self, swarm: Swarm, peers: list[Peer], query: dict[str, list[bytes]]) -> dict[bytes, Bencodable]:
        reply: dict[bytes, Bencodable] = swarm.counts() | {b"interval": self._interval_s, b"min interval": 1}
        if _one(query, "compact", b"1") != b"0":
            reply[b"peers"] = b"".join(peer.compact for peer in peers if peer.address.version == 4)
            reply[b"peers6"] = b"".join(peer.compact for peer in peers if peer.address.version == 6)
        else:
            named = _one(query, "no_peer_id", b"0") != b"1"
            reply[b"peers"] = [peer.listed(named=named) for peer in peers]
        return reply

    def _hash(self, value: bytes) -> bytes:
        if len(value) != HASH_BYTES:
            raise Refused(f"info_hash has {len(value)} bytes, not {HASH_BYTES}")
        if self._whitelist is not None and value.hex() not in self._whitelist:
            raise Refused("this torrent is not tracked here")
        return value


def tracker_app(*, whitelist: Collection[str] | None = None, interval_s: int = INTERVAL_S) -> Starlette:
    """The tracker as an app: `/announce` and `/scrape`."""
    tracker = Tracker(whitelist=whitelist, interval_s=interval_s)
    return Starlette(routes=[Route("/announce", tracker.announce), Route("/scrape", tracker.scrape)])


def _answer(act: Callable[[Request], dict[bytes, Bencodable]], request: Request) -> Response:
    try:
        reply = act(request)
    except Refused as refused:
        reply = {b"failure reason": str(refused)}  # with 200: that is how clients expect to be refused
    return Response(bencode(reply), media_type="text/plain", headers={"Cache-Control": "no-store"})


def _query(request: Request) -> dict[str, list[bytes]]:
    query: dict[str, list[bytes]] = {}
    raw: bytes = request.scope["query_string"]
    for pair in raw.split(b"&"):
        key, _, value = pair.partition(b"=")
        query.setdefault(key.decode("latin-1"), []).append(unquote_to_bytes(value.replace(b"+", b" ")))
    return query


def _peer(query: dict[str, list[bytes]], request: Request) -> Peer:
    peer_id = _one(query, "peer_id")
    if len(peer_id) != HASH_BYTES:
        raise Refused(f"peer_id has {len(peer_id)} bytes, not {HASH_BYTES}")
    port = _number(query, "port")
    if not 0 < port < 1 << 16:
        raise Refused(f"port {port} is none")
    # The address is where the request comes from; a client's own claim (`ip`) would let it point at others.
    address = ipaddress.ip_address(request.client.host if request.client else "127.0.0.1")
    paused = _one(query, "event", b"") == b"paused"
    return Peer(peer_id, address, port, _number(query, "left", 1), partial=paused, seen=time.monotonic())


def _wanted(query: dict[str, list[bytes]]) -> int:
    wanted = _number(query, "numwant", USUAL_PEERS)
    return USUAL_PEERS if wanted < 0 else min(wanted, MOST_PEERS)


def _one(query: dict[str, list[bytes]], key: str, default: bytes | None = None) -> bytes:
    values = query.get(key, [] if default is None else [default])
    if len(values) != 1:
        raise Refused(f"{key} is missing" if not values else f"{key} is given {len(values)} times")
    return values[0]


def _number(query: dict[str, list[bytes]], key: str, default: int | None = None) -> int:
    text = _one(query, key, None if default is None else b"%d" % default)
    try:
        return int(text)
    except ValueError:
        raise Refused(f"{key} is not a number") from None
