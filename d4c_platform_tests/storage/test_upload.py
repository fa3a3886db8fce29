"""An object that is written while its bytes still arrive is whole or not there."""

from __future__ import annotations

import hashlib
import random

import pytest

from d4c_platform.storage.digests import OnePass
from d4c_platform.storage.parts import PART, part_length
from d4c_platform_tests.storage.stores import BUCKET

MIB = 1 << 20


def written(store, key: str, data: bytes, size: int | None):
    with store.upload(key, size, media_type="image/tiff") as upload:
        for at in range(0, len(data), upload.part_length):
            upload.send(bytearray(data[at : at + upload.part_length]))
        return upload.finish(hashlib.sha256(data).hexdigest(), hashlib.md5(data).digest())


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5])
def test_an_upload_is_the_bytes_that_were_sent_and_has_the_etag_of_its_parts(store, size):
    data = random.Random(size).randbytes(size)
    done = written(store, "a/b.tif", data, size)
    assert store.read("a/b.tif") == data
    one_pass = OnePass(size, part_size=PART)
    one_pass.update(data)
    assert done.s3_etag == (one_pass.s3_etag() if size else hashlib.md5(b"").hexdigest())
    assert store.head("a/b.tif").bytes == done.info.bytes == size


def test_the_etag_is_the_servers(s3):
    for size in (5, PART, PART + 1):
        data = random.Random(size).randbytes(size)
        assert s3.head(written(s3, f"{size}", data, size).info.key).etag == written(s3, f"{size}", data, size).s3_etag


@pytest.mark.parametrize("size", [5, 64 * MIB + 5])
def test_an_upload_of_unknown_size_is_as_good(s3, size):
    data = bytes(size)
    done = written(s3, "a", data, None)
    assert (s3.head("a").bytes, s3.head("a").etag, done.part_length) == (size, done.s3_etag, part_length(None))


def test_an_upload_that_is_left_leaves_nothing(store):
    for parts in (1, 2):
        with store.upload("a", parts * PART) as upload:
            for _ in range(parts):
                upload.send(bytes(PART))
        assert store.head("a") is None
    assert store.drop_uploads("") == 0


def test_the_same_bytes_under_the_key_stay_and_other_bytes_give_way(store):
    for size in (10, PART + 1):
        key, data, other = f"{size}", bytes(size), b"x" * size
        first = written(store, key, data, size)
        before = store.head(key).etag
        written(store, key, data, size)
        assert store.head(key).etag == before
        written(store, key, other, size)
        assert store.read(key) == other
        assert first.s3_etag != written(store, key, other, size).s3_etag
        assert store.drop_uploads("") == 0


def test_the_sha256_of_a_small_object_is_kept_with_it(store):
    written(store, "a", b"abc", 3)
    assert store.head("a").sha256 == hashlib.sha256(b"abc").hexdigest()


def test_only_uploads_below_the_prefix_are_ended(s3, seaweed):
    for key in ("a/1", "a/2", "b/1"):
        seaweed.client().create_multipart_upload(Bucket=BUCKET, Key=s3.prefix + key)
    assert s3.drop_uploads("a/") == 2
    assert s3.drop_uploads("a/") == 0
    assert s3.drop_uploads("") == 1
