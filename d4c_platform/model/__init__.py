"""The words of the platform as types: dataset, release, version, artifact, copy, manifest.

Everything here is frozen and knows nothing of storage, networks or Dagster. It imports nothing else of ours.
"""
