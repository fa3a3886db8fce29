"""The catalog: the one STAC GeoParquet file that knows every version, its copies, its DOI and its torrent.

`item` says what a version is, `fold` joins what became of it, `table` is the one schema, `write` and `mirrors_table` put it in
Parquet, `publish` replaces the published files, `reading` is for everybody else. Reading needs no more than pyarrow and httpx.

Not here: when the catalog is published (orchestration), and the records themselves (storage).
"""
