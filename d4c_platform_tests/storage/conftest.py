"""Both stores – a folder, and a bucket on a real S3 server – and versions small enough to publish by the dozen."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.storage.s3 import S3Store
from d4c_platform.storage.store import ObjectStore
from d4c_platform_tests.storage.stores import BUCKET, KEYS, Stores


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    access_key, secret_key = KEYS
    with Seaweed(tmp_path_factory.mktemp("seaweed"), access_key=access_key, secret_key=secret_key) as server:
        server.create_public_bucket(BUCKET)
        yield server


@pytest.fixture(params=["local", "s3"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """How to open one and the same empty store, also in another process."""
    if request.param == "local":
        return Stores(root=str(tmp_path / "store"))
    return Stores(endpoint_url=request.getfixturevalue("seaweed").endpoint_url, prefix=uuid.uuid4().hex)


@pytest.fixture
def store(stores: Stores) -> ObjectStore:
    return stores.open()


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", "http://127.0.0.1/store")


@pytest.fixture
def s3(seaweed: Seaweed) -> S3Store:
    opened = Stores(endpoint_url=seaweed.endpoint_url, prefix=uuid.uuid4().hex).open()
    assert isinstance(opened, S3Store)
    return opened


@pytest.fixture
def portal(store: ObjectStore) -> Portal:
    return Portal(store)
