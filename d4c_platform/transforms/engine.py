"""The one DuckDB that transforms, checks and diffs use: bounded, repeatable, without a network.

DuckDB reads and sorts what does not fit in memory, which is why it does this and pandas does not. Every setting that could
make two runs differ, or reach out of this machine, is fixed here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY_LIMIT = "768MB"  # leaves room for Python, Arrow batches and zstd under 1.5 GB of resident memory
THREADS = 2
BATCH_ROWS = 65_536  # rows that travel from DuckDB to Arrow at once


@contextmanager
def engine(workdir: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB whose tables and spill files live in `workdir` and go with it."""
    with tempfile.TemporaryDirectory(prefix="duckdb-", dir=workdir) as folder:
        connection = duckdb.connect(
            str(Path(folder) / "stage.duckdb"),
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": THREADS,
                "temp_directory": str(Path(folder) / "spill"),
                "preserve_insertion_order": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            # A GeoParquet's geometry stays the WKB it is: no extension is needed, and none changes it.
            connection.execute("SET enable_geoparquet_conversion = false")
            connection.execute("SET enable_progress_bar = false")  # nobody watches, and it would stand in the run's log
            yield connection
        finally:
            connection.close()


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def scalar(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[object] | None = None) -> int:
    """The one number a query answers with; 0 when it answers null."""
    row = connection.execute(sql, parameters or []).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
