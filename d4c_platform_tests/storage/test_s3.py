"""What only a server and a network can get wrong: a proxy in between, real answers, real failures."""

from __future__ import annotations

import uuid

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform.storage import s3 as s3_module
from d4c_platform.storage import s3_errors, s3_write
from d4c_platform.storage.s3 import S3Store
from d4c_platform.storage.store import Conflict
from d4c_platform_tests.storage.stores import BUCKET, KEYS

MIB = 1024 * 1024


def before(store: S3Store, operation: str, act) -> None:
    store._client.meta.events.register_first(f"before-call.s3.{operation}", act)


def after(store: S3Store, operation: str, act) -> None:
    """Let the real request through, then change its answer, as a network or a proxy does."""
    store._client.meta.events.register_last(f"after-call.s3.{operation}", act)


def test_a_wrong_secret_is_a_permanent_failure_without_the_secret(seaweed: Seaweed):
    store = S3Store(seaweed.endpoint_url, BUCKET, access_key=KEYS[0], secret_key="not-the-secret-x9")
    with pytest.raises(PermanentFailure, match=r"403 SignatureDoesNotMatch.*secret key") as failure:
        store.put("a", b"x")
    assert "x9" not in str(failure.value)
    assert KEYS[0] not in str(failure.value)
    assert "x9" not in repr(store) + repr(vars(failure.value))


def test_a_missing_bucket_is_named_with_a_remedy(seaweed: Seaweed):
    store = S3Store(seaweed.endpoint_url, "no-such-bucket", access_key=KEYS[0], secret_key=KEYS[1])
    with pytest.raises(PermanentFailure, match=r"no-such-bucket.*NoSuchBucket.*Create the bucket"):
        store.put("a", b"x")
    with pytest.raises(PermanentFailure):
        list(store.list(""))


def test_a_server_that_is_down_is_a_transient_failure():
    store = S3Store("http://127.0.0.1:9", BUCKET, access_key="a", secret_key="b", attempts=2)
    with pytest.raises(TransientFailure, match="no complete answer"):
        store.head("a")


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout")])
def test_an_overloaded_server_is_a_transient_failure(status: int, code: str):
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert isinstance(s3_errors.failure(ClientError(answer, "PutObject"), "s3", "a"), TransientFailure)


def test_credentials_in_an_endpoint_are_refused():
    with pytest.raises(PermanentFailure):
        S3Store("https://key:secret@s3.example.org", "b")


def test_headers_and_metadata_reach_the_object_and_its_copy(s3: S3Store, seaweed: Seaweed):
    s3.put("a", b"x", media_type="text/plain", cache_control="no-cache")
    for condition in ({}, {"if_absent": True}):
        key = f"b{len(condition)}"
        s3.copy("a", key, cache_control="public, max-age=31536000, immutable", **condition)
        head = seaweed.client().head_object(Bucket=BUCKET, Key=s3.prefix + key)
        assert head["ContentType"] == "text/plain"
        assert head["CacheControl"] == "public, max-age=31536000, immutable"
        assert head["Metadata"]["sha256"] == s3.head("a").sha256


@pytest.mark.parametrize("size", [10, 17 * MIB])
def test_a_write_whose_answer_was_lost_is_recognised_as_done(s3: S3Store, size: int):
    operation = "PutObject" if size < MIB else "CompleteMultipartUpload"
    lost = []

    def lose(**_: object) -> None:
        if not lost:
            lost.append(1)
            raise ConnectionClosedError(endpoint_url="http://127.0.0.1")

    after(s3, operation, lose)
    body = b"x" * size
    put = s3.put("a", body, if_absent=True)
    assert lost
    assert s3.head("a").etag == put.etag


def test_a_write_that_was_sent_twice_is_not_a_conflict_with_itself(s3: S3Store):
    def answer_as_the_second(http_response, parsed, **_: object) -> None:
        if http_response.status_code == 200:
            http_response.status_code = 412
            parsed.clear()
            parsed.update({"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"HTTPStatusCode": 412}})

    after(s3, "PutObject", answer_as_the_second)
    assert s3.put("a", b"mine", if_absent=True).bytes == 4
    with pytest.raises(Conflict):
        s3.put("a", b"other", if_absent=True)
    assert s3.read("a") == b"mine"


def test_a_race_answered_with_409_is_repeated(s3: S3Store):
    raced = []

    def race(http_response, parsed, **_: object) -> None:
        if len(raced) < 2:
            raced.append(1)
            s3_address = {"Bucket": BUCKET, "Key": s3.prefix + "a"}
            s3._client.delete_object(**s3_address)
            http_response.status_code = 409
            parsed.clear()
            parsed.update({"Error": {"Code": "ConditionalRequestConflict"}, "ResponseMetadata": {"HTTPStatusCode": 409}})

    after(s3, "PutObject", race)
    s3.put("a", b"x", if_absent=True)
    assert len(raced) == 2
    assert s3.read("a") == b"x"


def test_a_failed_upload_leaves_no_parts(s3: S3Store, seaweed: Seaweed):
    with pytest.raises(PermanentFailure, match="sha-256"):
        s3.put("a", b"x" * 17 * MIB, sha256="0" * 64)
    assert not seaweed.client().list_multipart_uploads(Bucket=BUCKET, Prefix=s3.prefix).get("Uploads")


def test_a_damaged_part_is_refused_by_the_server(s3: S3Store, monkeypatch: pytest.MonkeyPatch):
    md5 = s3_write._md5
    monkeypatch.setattr(s3_write, "_md5", lambda data: md5(data + b"as it left"))
    with pytest.raises(PermanentFailure, match="Digest"):
        s3.put("a", b"as it arrived")
    assert s3.head("a") is None


def test_a_broken_download_goes_on_where_it_broke(s3: S3Store):
    body = b"0123456789" * 400_000
    s3.put("a", body)
    breaks = iter([700_000, 10, 1_500_000])
    with s3.open("a") as stream:
        raw = stream.raw
        received = b""
        while chunk := stream.read(300_000):
            received += chunk
            left = next(breaks, None)
            if left is not None:
                real = raw._stream.read
                budget = [left]

                def read(amount: int, real=real, budget=budget) -> bytes:
                    if budget[0] <= 0:
                        raise ConnectionResetError("peer")
                    data = real(min(amount, budget[0]))
                    budget[0] -= len(data)
                    return data

                raw._stream.read = read
    assert received == body


def test_a_download_never_mixes_two_versions(s3: S3Store):
    s3.put("a", b"1" * 4_000_000)
    with s3.open("a") as stream:
        stream.read(10)
        s3.put("a", b"2" * 4_000_000)
        stream.raw._stream.close()
        with pytest.raises(TransientFailure, match="replaced while it was read"):
            stream.read()


def test_a_conditional_copy_works_where_parts_cannot_be_copied(s3: S3Store):
    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}, "UploadPartCopy")

    s3.put("a", b"x" * 17 * MIB)
    before(s3, "UploadPartCopy", refuse)
    s3.copy("a", "b", if_absent=True)
    assert s3.head("b").bytes == 17 * MIB
    with pytest.raises(Conflict):
        s3.copy("a", "b", if_absent=True)


def test_a_listing_of_more_than_one_page_is_complete(s3: S3Store, monkeypatch: pytest.MonkeyPatch):
    keys = sorted([f"p/{n // 9}/{n}" for n in range(30)] + [f"p/{n}-x" for n in range(5)] + [f"p/{n}.y" for n in range(5)])
    for key in keys:
        s3.put(key, b"x")
    monkeypatch.setattr(s3_module, "PAGE", 7)
    assert [i.key for i in s3.list("p/")] == keys


def test_parts_are_equal_and_never_too_many():
    for size in (17 * MIB, 160_000 * MIB, 160_001 * MIB, 5 * 1024**4 - 1):
        length = s3_write.part_length(size)
        assert -(-size // length) <= 10_000
        assert length >= 16 * MIB
    assert s3_write.part_length(120 * 1000**3) == 16 * MIB


def test_a_public_url_is_encoded(seaweed: Seaweed):
    store = S3Store(seaweed.endpoint_url, BUCKET, "p/q", public_url="https://data.example.org/x/")
    assert store.url("versions/é v/a+b.txt") == "https://data.example.org/x/versions/%C3%A9%20v/a%2Bb.txt"
    assert S3Store(seaweed.endpoint_url, BUCKET, "p").url("a") == f"{seaweed.endpoint_url}/{BUCKET}/p/a"


def test_a_server_left_by_a_killed_sandbox_is_ended_and_its_objects_stay(tmp_path):
    left = Seaweed(tmp_path / "weed", access_key="a", secret_key="b")
    try:
        left.start()
        left.create_bucket("bucket")
        store = S3Store(left.endpoint_url, "bucket", uuid.uuid4().hex, access_key="a", secret_key="b")
        store.put("key", b"x" * 100_000)
        with Seaweed(tmp_path / "weed", access_key="a", secret_key="b") as again:
            assert left.pid is None
            assert again.endpoint_url == left.endpoint_url
            assert store.read("key") == b"x" * 100_000
    finally:
        left.kill()
