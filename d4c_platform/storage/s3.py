"""Any S3 endpoint as an object store: streamed, conditional, checked on the way.

What other servers than Amazon's ask for is done everywhere: path-style addresses, signature v4, no checksum trailers, parts of
one equal size (R2). Each request carries the MD5 of its bytes, and the sha-256 that the caller knows must be the one of the
bytes that were read before anything becomes visible; so the digest kept in the metadata is one that was checked.

Not here: how one object is written (s3_write), what errors mean (s3_errors), or buckets, policies and lifecycles, which are
an operator's. The operator sets a lifecycle rule that ends incomplete multipart uploads: a killed writer leaves them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from d4c_platform import USER_AGENT
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.storage import keys, s3_errors
from d4c_platform.storage.s3_body import Body
from d4c_platform.storage.s3_upload import S3Upload
from d4c_platform.storage.s3_write import MOST_THREADS, SHA256, UnsupportedCopy, Write
from d4c_platform.storage.store import NoObject, ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PAGE = 1000  # keys of one listing request: the most that S3 gives
BINARY = "application/octet-stream"


class S3Store:
    """An object store in an S3 bucket, or below a prefix of one.

    Args:
        access_key: empty to read a public bucket without signing.
        region: `auto` for Cloudflare R2 and Tigris, the bucket's region for Amazon.
        public_url: the URL under which the public reads this store's keys; the bucket's own by default.
        session_token: of temporary credentials.
        attempts: tries of one request when the trouble can pass, the first included.
    """

    def __init__(
        self,
        endpoint_url: str,
        bucket: str,
        prefix: str = "",
        *,
        access_key: str = "",
        secret_key: str = "",
        region: str = "auto",
        public_url: str = "",
        session_token: str | None = None,
        attempts: int = 5,
    ) -> None:
        if "@" in urlsplit(endpoint_url).netloc:
            raise PermanentFailure("an S3 endpoint must not contain credentials", where="s3", remedy="Pass them as settings")
        self.endpoint_url, self.bucket = endpoint_url.rstrip("/"), bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.public_url = public_url or f"{self.endpoint_url}/{bucket}/{self.prefix}"
        self._where = f"s3://{bucket}"
        self._region, self._credentials = region, (access_key, secret_key, session_token)
        self._attempts = attempts
        self._made: S3Client | None = None
        self._making = threading.Lock()

    def head(self, key: str) -> ObjectInfo | None:
        answer = self._head(key)
        return None if answer is None else _info(key, answer)

    def open(self, key: str) -> BinaryIO:
        address = self._address(key)
        with self._explained(key):
            try:
                return Body(lambda **extra: self._client.get_object(**address, **extra), self._where, key).stream()
            except ClientError as error:
                if s3_errors.is_missing(error):
                    raise self._no_object(key) from error
                raise

    def read(self, key: str) -> bytes:
        with self.open(key) as stream:
            return stream.read()

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        media_type: str = BINARY,
        cache_control: str | None = None,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        with self._explained(key):
            write = self._write(key, media_type, cache_control, sha256, if_absent, if_match)
            try:
                size = len(body) if isinstance(body, bytes) else body.stat().st_size
                return write.put(lambda length: _parts(body, length), size)
            except OSError as error:
                what = f"the file to store cannot be read ({error.strerror})"
                raise PermanentFailure(what, where=self._where, file=str(body), kept="Nothing was written") from error

    def upload(self, key: str, size: int | None, *, media_type: str = BINARY, cache_control: str | None = None) -> S3Upload:
        def write(if_match: str | None) -> Write:
            return self._write(key, media_type, cache_control, None, if_match is None, if_match)

        return S3Upload(write, lambda: self.head(key), self._where, key, size)

    def drop_uploads(self, prefix: str) -> int:
        full, dropped = self.prefix + keys.checked_prefix(prefix), 0
        with self._explained(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=full)
            for found in [upload for page in pages for upload in page.get("Uploads", ())]:
                with contextlib.suppress(self._client.exceptions.NoSuchUpload):
                    self._client.abort_multipart_upload(Bucket=self.bucket, Key=found["Key"], UploadId=found["UploadId"])
                dropped += 1
        return dropped

    def copy(
        self,
        source: str,
        key: str,
        *,
        cache_control: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        found = self._head(source)
        if found is None:
            raise self._no_object(source)
        origin = _info(source, found)
        with self._explained(key):
            write = self._write(key, found.get("ContentType", BINARY), cache_control, origin.sha256, if_absent, if_match)
            if not origin.bytes:
                return write.put(lambda _: iter(()), 0)
            try:
                return write.copy(self._address(source), origin.etag, origin.bytes)
            except UnsupportedCopy:  # then the bytes pass through here
                return write.put(lambda length: self._reread(source, length), origin.bytes)

    def delete(self, key: str) -> None:
        with self._explained(key):
            self._client.delete_object(**self._address(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        full = self.prefix + keys.checked_prefix(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=full, PaginationConfig={"PageSize": PAGE}
        )
        with self._explained(prefix):
            found = [
                ObjectInfo(entry["Key"].removeprefix(self.prefix), entry["Size"], entry["ETag"].strip('"'))
                for page in pages
                for entry in page.get("Contents", ())
            ]
        # SeaweedFS lists folder by folder: `a/b` before `a-b`. Amazon's order, which is ours, costs nothing to sort again.
        return iter(sorted(found, key=lambda info: info.key))

    def url(self, key: str) -> str:
        return keys.public_url(self.public_url, key)

    @property
    def _client(self) -> S3Client:
        with self._making:
            if self._made is None:
                access_key, secret_key, session_token = self._credentials
                # A session of our own: the default one is shared, and making clients from one is not thread-safe.
                self._made = boto3.session.Session().client(
                    "s3",
                    endpoint_url=self.endpoint_url,
                    region_name=self._region,
                    aws_access_key_id=access_key or None,
                    aws_secret_access_key=secret_key or None,
                    aws_session_token=session_token or None,
                    config=Config(
                        signature_version="s3v4" if access_key else UNSIGNED,
                        # Each body goes with its MD5; a second hash of every byte for the signature adds nothing to that.
                        s3={"addressing_style": "path", "payload_signing_enabled": False},
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                        retries={"mode": "standard", "total_max_attempts": self._attempts},
                        connect_timeout=10,
                        read_timeout=60,
                        max_pool_connections=4 * MOST_THREADS,
                        user_agent_extra=USER_AGENT.split(" ", 1)[0],
                    ),
                )
            return self._made

    def _address(self, key: str) -> Any:
        return {"Bucket": self.bucket, "Key": self.prefix + keys.checked(key)}

    def _write(
        self, key: str, media_type: str, cache_control: str | None, sha256: str | None, if_absent: bool, if_match: str | None
    ) -> Write:
        return Write(
            self._client,
            self._where,
            self._address(key),
            key,
            headers={"ContentType": media_type} | ({"CacheControl": cache_control} if cache_control else {}),
            sha256=sha256,
            if_absent=if_absent,
            if_match=if_match,
        )

    def _head(self, key: str) -> Any:
        with self._explained(key):
            try:
                return self._client.head_object(**self._address(key))
            except ClientError as error:
                if s3_errors.is_missing(error):
                    return None
                raise

    def _reread(self, key: str, length: int) -> Iterator[bytes]:
        with self.open(key) as stream:
            while part := stream.read(length):
                yield part

    def _no_object(self, key: str) -> NoObject:
        return NoObject("there is no object under this key", where=self._where, file=key)

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise s3_errors.failure(error, self._where, key) from error


def _info(key: str, answer: Any) -> ObjectInfo:
    return ObjectInfo(key, int(answer["ContentLength"]), answer["ETag"].strip('"'), answer.get("Metadata", {}).get(SHA256))


def _parts(body: bytes | Path, length: int) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield from (body[i : i + length] for i in range(0, len(body), length))
        return
    with body.open("rb", buffering=0) as file:
        # A raw read may return less than it was asked for (Linux stops at 2 GiB); parts must be equal.
        while part := _read_fully(file, length):
            yield part


def _read_fully(file: Any, length: int) -> bytes:
    buffer = bytearray()
    while len(buffer) < length and (chunk := file.read(length - len(buffer))):
        if not buffer and len(chunk) == length:
            return bytes(chunk)
        buffer += chunk
    return bytes(buffer)
