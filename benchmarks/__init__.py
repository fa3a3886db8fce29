"""Measurements of what the platform does for people, each beside a peer: `python -m benchmarks.<name> [--quick]`."""
