"""The stages a version passes, as plain functions that can be killed and repeated.

Each stage looks at what is already true (a record, a remote checksum) and does only what is missing. Dagster's assets are
sentences that call them; `d4c` and the tests call the same functions. Nothing here imports Dagster.
"""
