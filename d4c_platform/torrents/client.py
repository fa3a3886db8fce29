"""The one place that loads libtorrent and sets it up.

Reading the catalog must install without it, so it is imported when it is first used, and its absence is a sentence. What stands
here are the settings that a default client gets wrong for us, each with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certifi

from d4c_platform import USER_AGENT
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.torrents.metainfo import MAX_TORRENT_BYTES, SHA1_BYTES, BadTorrent, Metainfo

ALERT_QUEUE = 200_000  # two for each block of 16 KiB: more than a gigabyte between two looks


def libtorrent() -> Any:
    """The module. Raises PermanentFailure where it is not installed."""
    # Its wheel looks for certificates where its build machine had them; every HTTPS web seed would stall in silence.
    os.environ.setdefault("SSL_CERT_FILE", certifi.where())
    try:
        import libtorrent as module
    except ImportError as error:
        raise PermanentFailure(
            "libtorrent is not installed", where="torrent", remedy="Install the `node` extra: pip install 'd4c-platform[node]'"
        ) from error
    return module


def read(torrent: bytes, meta: Metainfo, folder: Path, file: str) -> Any:
    """What libtorrent makes of a torrent, held against our own reading before anything is written."""
    lt = libtorrent()
    limits = {"max_buffer_size": MAX_TORRENT_BYTES, "max_pieces": MAX_TORRENT_BYTES // SHA1_BYTES}
    try:
        params = lt.load_torrent_buffer(torrent, limits)
    except RuntimeError as error:
        raise BadTorrent(f"the client refuses it: {error}", where="torrent", file=meta.name) from error
    info_hash = str(params.ti.info_hashes().v1)
    if info_hash != meta.info_hash:
        raise BadTorrent(f"the client sees info-hash {info_hash} instead of {meta.info_hash}", where="torrent", file=meta.name)
    params.save_path = str(folder)
    params.renamed_files = {0: file}
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return params


@contextmanager
def session(*, loopback: bool, peers: bool, port: int = 0) -> Iterator[Any]:
    """A client while the block runs.

    Args:
        loopback: this machine only.
        peers: be reachable, and find peers without a tracker too (DHT, local discovery, a port opened in the router).
    """
    lt = libtorrent()
    category = lt.alert.category_t
    settings = {
        "user_agent": USER_AGENT,
        "peer_fingerprint": lt.generate_fingerprint("D4", 0, 1, 0, 0),
        "alert_queue_size": ALERT_QUEUE,
        "alert_mask": category.error_notification
        | category.status_notification
        | category.storage_notification
        | category.peer_notification
        | category.connect_notification
        | category.tracker_notification
        | category.block_progress_notification,
        "listen_interfaces": "" if not peers else f"127.0.0.1:{port}" if loopback else f"0.0.0.0:{port},[::]:{port}",
        "enable_dht": peers and not loopback,
        "enable_lsd": peers and not loopback,
        "enable_upnp": peers and not loopback,
        "enable_natpmp": peers and not loopback,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
    }
    if loopback:
        settings |= {
            # On this machine uTP is slow, everybody has one address, and "private address" is no sign of an attack.
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            "allow_multiple_connections_per_ip": True,
            "ssrf_mitigation": False,
            "min_announce_interval": 1,
            "stop_tracker_timeout": 1,
        }
    session = lt.session(settings)
    try:
        yield session
    finally:
        session.pause()
        del session
