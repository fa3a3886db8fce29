"""Object storage: where the bytes and the facts lie.

One small protocol over a local directory or any S3 endpoint, the digests of one pass, the records of a version, and the
portal's layout with its strict latest.
"""
