"""A stranger with a web browser and DuckDB: what the public can see of the portal and the catalog.

Uses the published URLs and files only, never the records. What it downloads stays with it, as it would with a person: on the
bad day that is all there is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.web import Web

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One version as the catalog tells it."""

    version_id: str
    href: str
    sha256: str
    doi: str
    info_hash: str
    torrent: str
    latest: bool


class Witness:
    """Looks at the portal from outside.

    Args:
        portal: its public base URL.
        folder: where the downloads are kept.
    """

    def __init__(self, portal: str, folder: Path, web: Web) -> None:
        self._portal, self._folder, self._web = portal.rstrip("/"), folder, web
        folder.mkdir(parents=True, exist_ok=True)

    def same_bytes(self, url: str, sha256: str, *, cache: str | None = None) -> None:
        """Read a URL whole and compare its digest, and its Cache-Control when one is expected."""
        digest = hashlib.sha256()
        with self._web.stream(self._absolute(url), where="witness") as response:
            for chunk in response.iter_raw(CHUNK_BYTES):
                digest.update(chunk)
            seen = response.headers.get("cache-control", "")
        if digest.hexdigest() != sha256:
            raise PermanentFailure(f"sha-256 {digest.hexdigest()[:12]}… instead of {sha256[:12]}…", where="witness", file=url)
        if cache is not None and cache not in seen:
            raise PermanentFailure(f"Cache-Control is {seen!r}, not {cache!r}", where="witness", file=url)

    def rows(self, url: str, sha256: str) -> int:
        """Rows of a published Parquet file, counted from a download."""
        path = self._download(url, self._folder / f"{sha256[:16]}.parquet")
        return int(pq.ParquetFile(path).metadata.num_rows)

    def catalog(self) -> list[Row]:
        """Every version in the catalog, asked with DuckDB; the catalog and its torrents are kept for the bad day."""
        path = self._download("catalog/catalog.parquet", self._folder / "catalog.parquet")
        rows = self.kept_catalog()
        for row in rows:
            self._download(row.torrent, self.torrent_file(row))
        if not path.stat().st_size:
            raise PermanentFailure("the catalog is empty", where="witness")
        return rows

    def kept_catalog(self) -> list[Row]:
        """The versions in the catalog that was downloaded before."""
        with duckdb.connect() as connection:
            found = connection.execute(
                """
                SELECT id, assets.data.href, substr(assets.data."file:checksum", 5), coalesce("sci:doi", ''),
                       coalesce("d4c:info_hash", ''), coalesce(assets.torrent.href, ''), "d4c:latest"
                FROM read_parquet(?) ORDER BY id
                """,
                [str(self._folder / "catalog.parquet")],
            ).fetchall()
        return [Row(*row) for row in found]

    def torrent_file(self, row: Row) -> Path:
        return self._folder / f"{row.info_hash}.torrent"

    def _absolute(self, url: str) -> str:
        return url if "://" in url else f"{self._portal}/{url}"

    def _download(self, url: str, path: Path) -> Path:
        partial = path.with_suffix(path.suffix + ".part")
        with self._web.stream(self._absolute(url), where="witness") as response, partial.open("wb") as out:
            for chunk in response.iter_raw(CHUNK_BYTES):
                out.write(chunk)
        return partial.replace(path)
