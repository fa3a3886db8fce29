"""A disk that is full: the system refuses to let this process write more than so many bytes to any file."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def disk_full_beyond(most_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
