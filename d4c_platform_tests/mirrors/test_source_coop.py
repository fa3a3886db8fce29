"""Immutable keys on a real S3 server: sent once, proved by reading back, never overwritten."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from d4c_platform.mirrors.source_coop import SourceCoop
from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Copies, CopyState
from d4c_platform.sandbox.faults import with_faults
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records
from d4c_platform.storage.s3 import S3Store
from d4c_platform.web import Web
from d4c_platform_tests.mirrors.versions import DATASET, FIRST, published_version

ACCESS, SECRET = "mirror-access", "mirror-secret-of-the-tests"
KEY = f"d4c-datapkg-statistical/processed/{FIRST}.parquet"
accounts = (f"dataforcanada{n}" for n in itertools.count())


@dataclass
class Account:
    """One account's bucket, and the mirror that writes to it."""

    store: S3Store
    mirror: SourceCoop
    url: str


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with Seaweed(tmp_path_factory.mktemp("seaweed"), access_key=ACCESS, secret_key=SECRET) as server:
        yield server


@pytest.fixture
def account(seaweed: Seaweed, records: Records, web: Web, tmp_path: Path) -> Account:
    bucket = next(accounts)
    seaweed.create_public_bucket(bucket)
    url = f"{seaweed.endpoint_url}/{bucket}"
    store = S3Store(seaweed.endpoint_url, bucket, access_key=ACCESS, secret_key=SECRET, region="us-east-1", public_url=url)
    return Account(store, SourceCoop(store, records=records, web=web, workdir=tmp_path / "work"), url)


def test_an_artifact_lies_under_d4cs_key_and_is_proved_by_reading_it_back(
    account: Account, portal: Path, records: Records, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 40_000
    copies = account.mirror.publish(published_version(portal, content=content))
    (copy,) = copies.copies
    assert copy.url == f"{account.url}/{KEY}"
    assert httpx.get(copy.url).content == content
    assert copy.verified == "sha256"
    assert records.read(Copies, FIRST, place="source-coop") == copies
    assert list((tmp_path / "work").iterdir()) == [], "nothing is left on local disk"


def test_an_object_that_is_there_is_proved_and_not_sent_again(account: Account, portal: Path) -> None:
    version = published_version(portal)
    first = account.mirror.publish(version)
    before = account.store.head(KEY)
    (portal / f"{FIRST}.parquet").unlink()  # whoever reads the portal now fails
    again = account.mirror.publish(version)
    assert account.store.head(KEY) == before
    assert again.copies[0].url == first.copies[0].url


@pytest.mark.parametrize("other", [b"PAR1 wrong PAR1", b"another size"])
def test_other_bytes_under_the_key_are_an_error_and_stay(
    other: bytes, account: Account, portal: Path, records: Records
) -> None:
    account.store.put(KEY, other)
    with pytest.raises(PermanentFailure, match="another object") as failure:
        account.mirror.publish(published_version(portal))
    assert KEY in str(failure.value)
    assert FIRST in str(failure.value)
    assert account.store.read(KEY) == other
    assert records.read(Copies, FIRST, place="source-coop") is None


def test_wrong_bytes_on_the_portal_are_not_sent(account: Account, portal: Path) -> None:
    version = published_version(portal)
    (portal / f"{FIRST}.parquet").write_bytes(b"PAR1 worse PAR1")
    with pytest.raises(PermanentFailure, match="portal serves sha-256"):
        account.mirror.publish(version)
    assert account.store.head(KEY) is None


def test_verify_finds_a_copy_that_rotted_and_one_that_went(account: Account, portal: Path) -> None:
    copies = account.mirror.publish(published_version(portal))
    assert [c.state for c in account.mirror.verify(copies).copies] == [CopyState.FRESH]
    account.store.put(KEY, b"PAR1 rot.. PAR1")
    assert [c.state for c in account.mirror.verify(copies).copies] == [CopyState.BAD]
    account.store.delete(KEY)
    assert [c.state for c in account.mirror.verify(copies).copies] == [CopyState.BAD]


def test_a_mirror_that_answers_503_is_a_sentence_and_can_be_tried_again(
    portal: Path, records: Records, web: Web, tmp_path: Path
) -> None:
    with serve(with_faults(portal_app(tmp_path / "bucket"))) as served:
        fault = {"kind": "status", "status": 503, "times": -1}
        httpx.post(f"{served.url}/_sandbox/faults", json=fault).raise_for_status()
        store = S3Store(served.url, "dataforcanada", access_key=ACCESS, secret_key=SECRET, region="us-east-1")
        mirror = SourceCoop(store, records=records, web=web, workdir=tmp_path)
        with pytest.raises(TransientFailure) as failure:
            mirror.publish(published_version(portal))
    said = str(failure.value)
    assert said.startswith(f"source-coop: {FIRST}: {KEY}: ")
    assert "503" in said
    assert "previous latest stays" in said
    assert SECRET not in said
    assert records.read(Copies, FIRST, place="source-coop") is None


def test_a_public_url_that_breaks_off_is_trouble_and_not_a_bad_copy(
    portal: Path, records: Records, web: Web, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    with serve(with_faults(portal_app(bucket))) as served:
        mirror = SourceCoop(LocalStore(bucket, served.url), records=records, web=web, workdir=tmp_path / "work")
        version = published_version(portal, content=bytes(2_000_000))
        fault = {"method": "GET", "path": f"/{KEY}", "kind": "truncate", "after_bytes": 1000}
        httpx.post(f"{served.url}/_sandbox/faults", json=fault).raise_for_status()
        with pytest.raises(TransientFailure):
            mirror.publish(version)
        assert mirror.publish(version).copies[0].verified == "sha256"


def test_a_url_without_range_cannot_be_a_web_seed(portal: Path, records: Records, web: Web, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    app = portal_app(bucket)

    async def without_range(scope, receive, send):
        kept = [h for h in scope.get("headers", []) if h[0] != b"range"]
        await app({**scope, "headers": kept}, receive, send)

    with serve(without_range) as served:
        mirror = SourceCoop(LocalStore(bucket, served.url), records=records, web=web, workdir=tmp_path / "work")
        with pytest.raises(PermanentFailure, match="cannot be a web seed"):
            mirror.publish(published_version(portal))


def test_the_key_follows_the_data_package(portal: Path) -> None:
    version = published_version(portal)
    assert SourceCoop.key(version.dataset, version.artifacts[0]) == f"{DATASET.package.value}/processed/{FIRST}.parquet"
