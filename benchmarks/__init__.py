"""Measurements that can be repeated: each module is a program whose last line is one JSON object.

    python -m benchmarks.ingest [--quick]
    python -m benchmarks.geoparquet [--quick]

They compare with the programs that people would use otherwise, in the same run and taking turns, and check that what was
measured did its work. A peer that is not installed is reported as absent.
"""
