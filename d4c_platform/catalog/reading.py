"""Open the published catalog, from a URL, a file or a folder, with nothing but pyarrow and httpx.

This is the door for everybody who does not publish: the command line, download tools, nodes, sites. Any GeoParquet reader opens
the same file; this one adds what the file means (latest, versions in order, STAC items without the table's nulls).

Not here: trust. A reader that needs to know who wrote the file checks its signature first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from d4c_platform.catalog.table import to_items
from d4c_platform.catalog.vocabulary import CATALOG_KEY
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.naming import order_key
from d4c_platform.web import Web

CATALOG_FILE = "catalog.parquet"
MIRRORS_FILE = "mirrors.parquet"


def open_catalog(url_or_path: str | Path, *, web: Web | None = None) -> pa.Table:
    """The catalog's rows.

    Args:
        url_or_path: `catalog.parquet` itself, the folder or URL it lies in, or the portal's root folder.
        web: the HTTP client to use; one of its own by default.

    Raises:
        PermanentFailure: there is no catalog there, or the file is not one.
    """
    return _read(_locate(url_or_path), web)


def rows(url_or_path: str | Path, *, web: Web | None = None) -> Iterator[dict[str, Any]]:
    """The STAC items of a catalog, one at a time, in catalog order."""
    return to_items(open_catalog(url_or_path, web=web))


class Catalog:
    """A catalog in memory, to ask questions of.

    >>> catalog = Catalog.open("https://data.example.org/catalog/")  # doctest: +SKIP
    >>> catalog.latest("ca_statcan-…_33100036")["assets"]["data"]["href"]  # doctest: +SKIP
    """

    def __init__(self, table: pa.Table, *, source: str | Path | None = None, web: Web | None = None) -> None:
        self.table = table
        self._source, self._web = source, web

    @classmethod
    def open(cls, url_or_path: str | Path, *, web: Web | None = None) -> Self:
        """Open a catalog; the arguments are those of `open_catalog`."""
        source = _locate(url_or_path)
        return cls(_read(source, web), source=source, web=web)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return to_items(self.table)

    def datasets(self) -> list[str]:
        """The ids of all datasets, in order."""
        return sorted(pc.unique(self.table["d4c:dataset"]).to_pylist())

    def versions(self, dataset_id: str) -> list[str]:
        """The version ids of a dataset, oldest first; none when the dataset is not in the catalog."""
        ids: list[str] = self.table.filter(pc.field("d4c:dataset") == dataset_id)["id"].to_pylist()
        return sorted(ids, key=order_key)

    def latest(self, dataset_id: str) -> dict[str, Any]:
        """The item of a dataset's latest version."""
        found = self.table.filter((pc.field("d4c:dataset") == dataset_id) & pc.field("d4c:latest"))
        return self._one(found, dataset_id, "this dataset")

    def get(self, version_id: str) -> dict[str, Any]:
        """The item of a version."""
        return self._one(self.table.filter(pc.field("id") == version_id), version_id, "this version")

    @cached_property
    def mirrors(self) -> pa.Table:
        """The state of every copy: the file beside the catalog."""
        if self._source is None:
            raise PermanentFailure("a catalog made from a table has no mirrors.parquet beside it", where="catalog")
        source = self._source
        beside = source.with_name(MIRRORS_FILE) if isinstance(source, Path) else source.rpartition("/")[0] + f"/{MIRRORS_FILE}"
        return _read(beside, self._web)

    def sql(self, query: str) -> pa.Table:
        """Answer a query over the tables `catalog` and `mirrors` with DuckDB.

        Raises:
            PermanentFailure: DuckDB is not installed, or does not understand the query.
        """
        try:
            import duckdb
        except ImportError as error:
            raise PermanentFailure(
                "SQL needs DuckDB, which is not installed", where="catalog", remedy="Install duckdb, or use `list` and `show`"
            ) from error
        with duckdb.connect() as connection:
            connection.register("catalog", self.table)
            if self._source is not None:
                connection.register("mirrors", self.mirrors)
            # The query is the reader's own; it may ask of the two tables, not touch the machine's files or network.
            connection.execute("SET enable_external_access = false")
            try:
                answer: pa.Table = connection.execute(query).to_arrow_table()
            except duckdb.Error as error:
                raise PermanentFailure(f"the query failed: {error}", where="catalog") from error
        return answer

    def _one(self, found: pa.Table, subject: str, kind: str) -> dict[str, Any]:
        if found.num_rows != 1:
            what = (
                f"{kind} is not in the catalog" if found.num_rows == 0 else f"{kind} is in the catalog {found.num_rows} times"
            )
            raise PermanentFailure(what, where="catalog", file=subject, remedy="`d4c catalog list` shows what is there")
        return next(to_items(found))


def _locate(url_or_path: str | Path) -> str | Path:
    text = str(url_or_path)
    if text.startswith(("http://", "https://")):
        return text if text.endswith(".parquet") else f"{text.rstrip('/')}/{CATALOG_FILE}"
    path = Path(url_or_path)
    candidates = [path / CATALOG_FILE, path / CATALOG_KEY] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise PermanentFailure("there is no catalog here", where="catalog", file=text, remedy="Name catalog.parquet or its folder")


def _read(source: str | Path, web: Web | None) -> pa.Table:
    if isinstance(source, Path):
        return _read_file(source, str(source))
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        client = web or Web()
        try:
            with client.stream(source, where="catalog") as answer:
                for chunk in answer.iter_raw():
                    copy.write(chunk)
        finally:
            if web is None:
                client.close()
        copy.flush()
        return _read_file(Path(copy.name), source)


def _read_file(path: Path, shown: str) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise PermanentFailure(f"it is not a readable Parquet file ({error})", where="catalog", file=shown) from error
