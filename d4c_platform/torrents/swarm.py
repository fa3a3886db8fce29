"""Move the bytes: fetch a torrent's file from its web seeds and peers, and seed files to others.

A fetch works in a hidden folder beside the destination and renames the file when every piece matched and the client has said
that its cache is on disk ("finished" comes before that). So the final name never carries unverified bytes, and a fetch that was
killed continues from what is there: the client checks the partial file and asks only for what is missing.

libtorrent runs its own threads; what we call here releases the interpreter while it waits. Hashing a torrent through it would
not, which is one more reason why pieces come from the digests. Bans, error texts and stalls are read from its alerts, because a
client whose web seeds are all banned says nothing and waits for ever.

Not here: which torrents to fetch or seed (download, smartnode), what stands in them (metainfo), how libtorrent is set up
(client), or what lies on disk before and after (landing).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.torrents.client import libtorrent, read, session
from d4c_platform.torrents.landing import Landing
from d4c_platform.torrents.metainfo import BadTorrent, Metainfo, parse
from d4c_platform.torrents.tally import Tally

BLOCK_BYTES = 16 << 10  # what BitTorrent requests and reports
POLL_S = 0.05
STALL_S = 90.0  # three of libtorrent's waits before it asks a failed web seed again
MOST_RECHECKS = 2  # of one fetch whose client forgot to hash; each reads the file once
FLUSH_S = 600.0  # a slow disk under load; more than this is a fault of the disk

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched, and from whom.

    Attributes:
        bytes: the file's size.
        from_web_seeds: payload that web seeds sent, bytes that failed their hash included.
        from_peers: payload that peers sent.
        failed_sources: one sentence for each web seed that did not do its part, and each peer that lied.
    """

    path: Path
    bytes: int
    from_web_seeds: int
    from_peers: int
    seconds: float
    failed_sources: tuple[str, ...] = ()


def fetch(
    torrent: bytes,
    folder: Path,
    *,
    timeout_s: float,
    web_seeds: bool | Sequence[str] = True,
    peers: Sequence[tuple[str, int]] = (),
    use_peers: bool = True,
    on_progress: Progress | None = None,
    stall_s: float = STALL_S,
    loopback: bool = False,
) -> Fetched:
    """Fetch the one file of a torrent into a folder, verified piece by piece.

    A file that is already there is verified and kept; if it has other bytes, its good pieces are used.

    Args:
        timeout_s: seconds the whole fetch may take.
        web_seeds: the torrent's own (True), none (False), or these instead.
        peers: addresses to connect to besides those that trackers and the DHT tell.
        use_peers: False fetches from web seeds alone: no tracker, no DHT, no peer, no open port.
        on_progress: called with verified and total bytes whenever they change.
        stall_s: seconds without a new byte after which the fetch gives up.
        loopback: everything is on this machine: no DHT, no local discovery, addresses of this machine allowed.

    Raises:
        BadTorrent: the torrent must not be used; nothing was written.
        PermanentFailure: no source it names can ever complete it.
        TransientFailure: out of time, stalled or disturbed; what was verified is kept and the next call continues.
    """
    started = time.monotonic()
    meta = _single_file(torrent)
    landing = Landing(folder, meta)
    with landing.claimed():
        if landing.is_complete():
            return Fetched(landing.target, meta.length, 0, 0, time.monotonic() - started)
        landing.need_room()
        seeds = list(meta.web_seeds) if web_seeds is True else list(web_seeds or ())
        may_find_peers = use_peers and bool(peers or meta.trackers or not loopback)
        tally = Tally(seeds, may_find_peers=may_find_peers)
        with session(loopback=loopback, peers=use_peers) as client:
            handle = client.add_torrent(_wanted(torrent, meta, landing, seeds, use_peers=use_peers))
            for peer in peers if use_peers else ():
                handle.connect_peer(peer)
            watch = _Watch(client, handle, meta, tally, stall_s, started + timeout_s, on_progress)
            try:
                watch.until_complete()
            except (PermanentFailure, TransientFailure):
                if watch.verified == 0:
                    landing.clear()
                raise
            finally:
                client.remove_torrent(handle)
        tally.complete()
        landing.settle()
    seconds = time.monotonic() - started
    return Fetched(landing.target, meta.length, tally.from_web_seeds, tally.from_peers, seconds, tally.failed_sources)


class Seeder:
    """Seeds files to others while the block runs. It never writes to them and never downloads.

    Args:
        loopback: serve this machine only, on 127.0.0.1.
        port: the TCP port to listen on; 0 takes a free one.
    """

    def __init__(self, *, loopback: bool = False, port: int = 0) -> None:
        self._loopback, self._wanted_port = loopback, port
        self._handles: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._scope = session(loopback=self._loopback, peers=True, port=self._wanted_port)
        self._session = self._scope.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handles.clear()
        self._scope.__exit__(None, None, None)

    @property
    def port(self) -> int:
        """The port that peers connect to."""
        port: int = self._session.listen_port()
        return port

    @property
    def uploaded(self) -> int:
        """Payload bytes sent to peers since the block began."""
        return sum(handle.status().total_payload_upload for handle in self._handles.values())

    def add(self, torrent: bytes, path: Path) -> str:
        """Seed a file under its torrent and announce it; returns the info-hash.

        The pieces are not hashed first: each is checked when it is asked for, and a file that turns out to differ is no
        longer served.

        Args:
            path: the file under any name, or the folder that holds it under the torrent's.

        Raises:
            BadTorrent: the torrent must not be used.
            PermanentFailure: the file is not there, or has another size.
        """
        meta = _single_file(torrent)
        path = path / meta.name if path.is_dir() else path
        size = path.stat().st_size if path.is_file() else None
        if size != meta.length:
            found = "no such file" if size is None else f"the file has {size} bytes"
            raise PermanentFailure(f"{found}, and the torrent is of {meta.length} bytes", where="seeder", file=str(path))
        lt = libtorrent()
        params = read(torrent, meta, path.parent, path.name)
        params.url_seeds = []  # they would repair our file, and a seeder only reads
        params.flags |= lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
        self._handles[meta.info_hash] = self._session.add_torrent(params)
        return meta.info_hash


class _Watch:
    """Follows one torrent's alerts until it is complete or cannot be."""

    def __init__(
        self,
        session: Any,
        handle: Any,
        meta: Metainfo,
        tally: Tally,
        stall_s: float,
        deadline: float,
        on_progress: Progress | None,
    ) -> None:
        self._session, self._handle, self._meta, self._tally = session, handle, meta, tally
        self._stall_s, self._deadline, self._tell = stall_s, deadline, on_progress or (lambda done, total: None)
        self._pieces_failed = self._flushed = False
        self._rechecks = 0
        self._trouble: str | None = None
        self.verified = 0

    def until_complete(self) -> None:
        last_sign, received = time.monotonic(), 0
        while True:
            self._look()
            status = self._handle.status()
            progress = status.state in _checking() or status.total_payload_download != received
            verified = self._verified_bytes(status.num_pieces)
            if verified != self.verified:
                self.verified, progress = verified, True
                self._tell(verified, self._meta.length)
            now = time.monotonic()
            if progress:
                last_sign, received = now, status.total_payload_download
            if self._trouble is not None:
                raise TransientFailure(
                    self._trouble, where="torrent", file=self._meta.name, kept=self._kept(), remedy="Fix the disk and try again"
                )
            if status.is_seeding:
                return self._until_on_disk()
            self._tally.still_listed(self._handle.url_seeds(), pieces_failed=self._pieces_failed)
            if self._tally.hopeless:
                raise self._failure("no source can complete it")
            if now > self._deadline:
                raise self._failure("out of time")
            if now - last_sign > self._stall_s:
                if status.total_done < self._meta.length or self._rechecks == MOST_RECHECKS:
                    raise self._failure(f"nothing arrived for {self._stall_s:.0f} s")
                # Every block is here and none is hashed: after a source was banned in the middle of its answer, the client
                # (libtorrent 2.1.1) at times forgets to hash what came instead. What lies on disk is hashed from the start.
                self._rechecks += 1
                self._handle.force_recheck()
                last_sign = now

    def _verified_bytes(self, pieces: int) -> int:
        """The bytes of the pieces whose hash matched. (`total_done` counts blocks too that are received and not hashed yet.)"""
        last = self._meta.piece_count - 1
        first_byte, last_byte = self._meta.piece_range(last)
        short_by = self._meta.piece_length - (last_byte - first_byte + 1) if pieces and self._handle.have_piece(last) else 0
        return pieces * self._meta.piece_length - short_by

    def _until_on_disk(self) -> None:
        self._handle.flush_cache()
        give_up = time.monotonic() + FLUSH_S
        while not self._flushed:
            self._look()
            if time.monotonic() > give_up or self._trouble:
                raise TransientFailure(
                    self._trouble or f"the disk did not take the last bytes in {FLUSH_S:.0f} s",
                    where="torrent",
                    file=self._meta.name,
                    kept=self._kept(),
                )
        self._tally.still_listed(self._handle.url_seeds(), pieces_failed=self._pieces_failed)

    def _failure(self, what: str) -> PermanentFailure | TransientFailure:
        return self._tally.failure(what, file=self._meta.name, kept=self._kept())

    def _kept(self) -> str:
        return (
            f"{self.verified} of {self._meta.length} bytes are kept for the next try" if self.verified else "Nothing was kept"
        )

    def _look(self) -> None:
        """Wait a moment and take in what libtorrent has to say. Alerts must not outlive the next look."""
        lt = libtorrent()
        if self._session.wait_for_alert(int(POLL_S * 1000)):
            time.sleep(POLL_S)  # let alerts gather: one call fetches them all
        for alert in self._session.pop_alerts():
            match alert:
                case lt.block_downloading_alert():
                    self._meet(alert.endpoint)
                    self._tally.asked(alert.endpoint, *self._block(alert))
                case lt.block_finished_alert():
                    self._tally.received(alert.endpoint, *self._block(alert))
                case lt.hash_failed_alert():
                    self._pieces_failed = True
                case lt.url_seed_alert():
                    self._tally.web_seed_failed(alert.server_url(), alert.error_message() or alert.error.message())
                case lt.peer_ban_alert():
                    self._tally.banned(alert.endpoint)
                case lt.peer_disconnected_alert() | lt.peer_error_alert():
                    self._tally.disconnected(alert.endpoint, alert.error.message())
                case lt.tracker_error_alert():
                    self._tally.tracker(alert.url, alert.error_message() or alert.error.message())
                case lt.tracker_reply_alert():
                    self._tally.tracker(alert.url, None)
                case lt.file_error_alert() | lt.torrent_error_alert():
                    self._trouble = f"the client could not go on: {alert.error.message()}"
                case lt.cache_flushed_alert():
                    self._flushed = True

    def _block(self, alert: Any) -> tuple[tuple[int, int], int]:
        """A block's number and its size."""
        first = alert.piece_index * self._meta.piece_length + alert.block_index * BLOCK_BYTES
        piece_end = self._meta.piece_range(alert.piece_index)[1] + 1
        return (alert.piece_index, alert.block_index), min(BLOCK_BYTES, piece_end - first)

    def _meet(self, endpoint: tuple[str, int]) -> None:
        """Learn whether a connection is a web seed or a peer, while it is there to be asked."""
        if not self._tally.knows(endpoint):
            for peer in self._handle.get_peer_info():
                self._tally.connected(peer.ip, web_seed=peer.connection_type == peer.web_seed)


def _single_file(torrent: bytes) -> Metainfo:
    meta = parse(torrent)
    if not meta.single_file:
        raise BadTorrent("it is a folder torrent; only single files are fetched and seeded", where="torrent", file=meta.name)
    return meta


def _checking() -> tuple[Any, ...]:
    states = libtorrent().torrent_status
    return (states.checking_files, states.checking_resume_data, states.queued_for_checking)


def _wanted(torrent: bytes, meta: Metainfo, landing: Landing, seeds: list[str], *, use_peers: bool) -> Any:
    params = read(torrent, meta, landing.partial, meta.name)
    params.url_seeds = seeds
    if not use_peers:
        flags = libtorrent().torrent_flags
        params.trackers, params.tracker_tiers = [], []
        params.flags |= flags.disable_dht | flags.disable_lsd | flags.disable_pex
    return params
