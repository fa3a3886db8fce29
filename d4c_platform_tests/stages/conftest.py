from collections.abc import Iterator

import pytest

from d4c_platform.web import Web
from d4c_platform_tests.storage.conftest import seaweed

__all__ = ["seaweed", "web"]


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(per_host_per_s=10_000, attempts=3, first_wait_s=0.01, timeout_s=20)
    yield client
    client.close()
