"""The bad day: first the portal is gone, then the mirrors too, and every artifact is still to be had.

Works from what a stranger kept: the catalog and the torrents. Every download is compared with the catalog's sha-256.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from d4c_platform.demo.witness import Row, Witness
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.sandbox.up import Sandbox
from d4c_platform.torrents.swarm import Fetched, Seeder, fetch

FETCH_TIMEOUT_S = 120
MIRRORS = ("mirror", "zenodo")


class BadDay:
    """Turns the servers off, one kind after the other, and fetches everything each time."""

    def __init__(self, sandbox: Sandbox, witness: Witness, folder: Path, progress: Callable[[str], None]) -> None:
        self._sandbox, self._witness, self._folder, self._progress = sandbox, witness, folder, progress

    def portal_dies(self) -> tuple[str, str]:
        """Every artifact from its torrent, through the mirrors' web seeds alone."""
        self._sandbox.kill("portal")
        fetched = [self._fetch(row, "from-web-seeds", web_seeds=True) for row in self._witness.kept_catalog()]
        peers = sum(f.from_peers for f in fetched)
        if peers:
            raise PermanentFailure(f"{peers} bytes came from peers, not from the mirrors", where="bad day")
        return (
            "each artifact from its torrent through the mirrors' web seeds alone; sha-256 = the catalog's",
            f"{len(fetched)} artifacts, {sum(f.bytes for f in fetched):,} bytes",
        )

    def mirrors_die(self) -> tuple[str, str]:
        """Every artifact from a peer that has it, found through the tracker."""
        for name in MIRRORS:
            self._sandbox.kill(name)
        rows = self._witness.kept_catalog()
        with Seeder(loopback=True) as seeder:
            for row in rows:
                torrent = self._witness.torrent_file(row)
                seeder.add(torrent.read_bytes(), self._folder / "from-web-seeds" / row.info_hash)
            fetched = [self._fetch(row, "from-a-peer", web_seeds=False) for row in rows]
        return (
            "each artifact from a peer found through the tracker; sha-256 = the catalog's",
            f"{len(fetched)} artifacts, {sum(f.from_peers for f in fetched):,} bytes from peers",
        )

    def _fetch(self, row: Row, how: str, *, web_seeds: bool) -> Fetched:
        folder = self._folder / how / row.info_hash
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._progress(f"fetching {how.replace('-', ' ')}: {row.version_id}")
        torrent = self._witness.torrent_file(row).read_bytes()
        fetched = fetch(torrent, folder, timeout_s=FETCH_TIMEOUT_S, web_seeds=web_seeds, use_peers=not web_seeds, loopback=True)
        with fetched.path.open("rb") as stream:
            seen = hashlib.file_digest(stream, "sha256").hexdigest()
        if seen != row.sha256:
            raise PermanentFailure(
                f"sha-256 {seen[:12]}… instead of the catalog's {row.sha256[:12]}…", where=how, version=row.version_id
            )
        return fetched
