"""One write of one S3 object: in one request or in parts, under a condition, and settled when its answer is lost.

Conditions are `If-Match` and `If-None-Match` on PutObject and CompleteMultipartUpload, which servers enforce. On CopyObject
many ignore them without a word, so a conditional copy is made of UploadPartCopy and a conditional completion. A write whose
answer does not say whether it took place (it was lost, or it was sent twice and the second met the first) is recognised by
the id it carries in its metadata.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.storage import s3_errors
from d4c_platform.storage.parts import MIB, PART, part_length
from d4c_platform.storage.store import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

IN_FLIGHT = 128 * MIB  # of parts on their way, so that memory stays bounded when parts grow
MOST_THREADS = 4
LARGEST_COPY = 5 * 1024 * MIB  # of CopyObject
COPY_PART = 512 * MIB
RACES = 5  # tries of a write that S3 answers with 409, before it counts as lost
SHA256, WRITE_ID = "sha256", "d4c-write"  # names of user metadata


class UnsupportedCopy(Exception):
    """The server does not know UploadPartCopy."""


class Write:
    """One write.

    Args:
        address: bucket and full key.
        key: the key as messages name it.
        headers: Content-Type and Cache-Control.
        sha256: of the bytes, when it is known.
    """

    def __init__(
        self,
        client: S3Client,
        where: str,
        address: dict[str, str],
        key: str,
        *,
        headers: dict[str, str],
        sha256: str | None,
        if_absent: bool,
        if_match: str | None,
    ) -> None:
        self._client, self._where, self._address, self._key = client, where, address, key
        self._headers, self._sha256, self._if_absent, self._if_match = headers, sha256, if_absent, if_match
        self._conditions: dict[str, str] = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            self._conditions["IfMatch"] = f'"{if_match}"'
        self._id = uuid.uuid4().hex

    def put(self, parts: Callable[[int], Iterator[bytes]], size: int) -> ObjectInfo:
        """Write these bytes; `parts` gives them in pieces of a length, and is called again for every attempt."""
        if size <= PART:
            return self._through_races(lambda: self._in_one_request(b"".join(parts(PART)), size))
        return self._through_races(lambda: self._in_parts(parts, size))

    def whole(self, data: bytes | bytearray, sha256: str, md5: bytes) -> ObjectInfo:
        """Write bytes whose digests are known, in one request; the server compares the MD5."""
        arguments: Any = {**self._address, **self._headers, **self._conditions, "Metadata": self._metadata(sha256)}
        arguments |= {"Body": data, "ContentMD5": base64.b64encode(md5).decode("ascii")}

        def attempt() -> ObjectInfo:
            etag = self._settled(lambda: self._client.put_object(**arguments)["ETag"])
            return ObjectInfo(self._key, len(data), etag, sha256)

        return self._through_races(attempt)

    def copy(self, source: Any, etag: str, size: int) -> ObjectInfo:
        """Copy an object, as long as its etag is this one.

        Raises:
            UnsupportedCopy: the server cannot do it under a condition or in parts.
        """
        if not self._conditions and size <= LARGEST_COPY:
            return self._through_races(lambda: self._copy_whole(source, etag, size))
        return self._through_races(lambda: self._copy_in_parts(source, etag, size))

    def _in_one_request(self, data: bytes, size: int) -> ObjectInfo:
        found = hashlib.sha256(data).hexdigest()
        self._require(len(data), size, found)
        arguments: Any = {**self._address, **self._headers, **self._conditions, "Metadata": self._metadata(found)}
        etag = self._settled(lambda: self._client.put_object(Body=data, ContentMD5=_md5(data), **arguments)["ETag"])
        return ObjectInfo(self._key, size, etag, found)

    def _in_parts(self, parts: Callable[[int], Iterator[bytes]], size: int) -> ObjectInfo:
        length = part_length(size)
        threads = max(1, min(MOST_THREADS, IN_FLIGHT // length - 1))

        def upload_all(upload_id: str) -> list[dict[str, Any]]:
            hashed, read, done = hashlib.sha256(), 0, []
            pending: deque[Future[dict[str, Any]]] = deque()
            with ThreadPoolExecutor(threads, thread_name_prefix="s3-part") as pool:
                for number, data in enumerate(parts(length), start=1):
                    hashed.update(data)
                    read += len(data)
                    pending.append(pool.submit(self._upload_part, upload_id, number, data))
                    if len(pending) >= threads:
                        done.append(pending.popleft().result())
                done += [part.result() for part in pending]
            self._require(read, size, hashed.hexdigest())
            return done

        return ObjectInfo(self._key, size, self._multipart(upload_all), self._sha256)

    def begin(self) -> str:
        """Start an upload in parts; returns its id."""
        headers: Any = {**self._address, **self._headers, "Metadata": self._metadata(self._sha256)}
        return self._client.create_multipart_upload(**headers)["UploadId"]

    def send(self, upload_id: str, number: int, data: bytes | bytearray, md5: bytes) -> dict[str, Any]:
        """Send a part; the server compares its MD5. What is returned names it when the upload is completed."""
        address: Any = {**self._address, "UploadId": upload_id, "PartNumber": number}
        body: Any = {"Body": data, "ContentMD5": base64.b64encode(md5).decode("ascii")}
        return {"PartNumber": number, "ETag": self._client.upload_part(**body, **address)["ETag"]}

    def complete(self, upload_id: str, parts: Any, size: int) -> ObjectInfo:
        """Make an upload's parts the object."""
        return self._through_races(lambda: ObjectInfo(self._key, size, self._completed(upload_id, parts), self._sha256))

    def abort(self, upload_id: str) -> None:
        """End an upload; one that cannot be ended now is left to the bucket's lifecycle."""
        address: Any = self._address
        with contextlib.suppress(ClientError, BotoCoreError):
            self._client.abort_multipart_upload(UploadId=upload_id, **address)

    def _upload_part(self, upload_id: str, number: int, data: bytes) -> dict[str, Any]:
        address: Any = {**self._address, "UploadId": upload_id, "PartNumber": number}
        answer = self._client.upload_part(Body=data, ContentMD5=_md5(data), **address)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _completed(self, upload_id: str, parts: Any) -> str:
        arguments: Any = {**self._address, **self._conditions}
        complete = self._client.complete_multipart_upload
        return self._settled(lambda: complete(UploadId=upload_id, MultipartUpload={"Parts": parts}, **arguments)["ETag"])

    def _copy_whole(self, source: Any, etag: str, size: int) -> ObjectInfo:
        address: Any = {**self._address, **self._headers, "Metadata": self._metadata(self._sha256)}
        try:
            answer = self._client.copy_object(
                CopySource=source, CopySourceIfMatch=f'"{etag}"', MetadataDirective="REPLACE", **address
            )
        except ClientError as error:
            raise self._about_source(error) from error
        return ObjectInfo(self._key, size, answer["CopyObjectResult"]["ETag"].strip('"'), self._sha256)

    def _copy_in_parts(self, source: Any, etag: str, size: int) -> ObjectInfo:
        def copy_all(upload_id: str) -> list[dict[str, Any]]:
            done = []
            for number, start in enumerate(range(0, size, COPY_PART), start=1):
                address: Any = {**self._address, "UploadId": upload_id, "PartNumber": number}
                last = min(start + COPY_PART, size) - 1
                try:
                    answer = self._client.upload_part_copy(
                        CopySource=source, CopySourceIfMatch=f'"{etag}"', CopySourceRange=f"bytes={start}-{last}", **address
                    )
                except ClientError as error:
                    raise self._about_source(error) from error
                done.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            return done

        return ObjectInfo(self._key, size, self._multipart(copy_all), self._sha256)

    def _multipart(self, make_parts: Callable[[str], list[dict[str, Any]]]) -> str:
        """Everything between the start of a multipart upload and its visible object; nothing stays of one that fails."""
        self._check()
        upload_id = self.begin()
        try:
            return self._completed(upload_id, make_parts(upload_id))
        except BaseException:
            self.abort(upload_id)
            raise

    def _check(self) -> None:
        """Before bytes are moved; the server decides in the end."""
        if self._conditions:
            there = self._head()
            etag = None if there is None else there["ETag"].strip('"')
            if (self._if_absent and there is not None) or (self._if_match is not None and etag != self._if_match):
                raise s3_errors.conflict(self._where, self._key, self._if_absent)

    def _settled(self, act: Callable[[], str]) -> str:
        """Do it; when the answer leaves it open, look whether what is there now is this very write."""
        try:
            return act().strip('"')
        except (ClientError, BotoCoreError) as error:
            if s3_errors.may_have_happened(error):
                with contextlib.suppress(ClientError, BotoCoreError):
                    there = self._head()
                    if there is not None and there.get("Metadata", {}).get(WRITE_ID) == self._id:
                        return str(there["ETag"]).strip('"')
            raise

    def _head(self) -> Any:
        address: Any = self._address
        try:
            return self._client.head_object(**address)
        except ClientError as error:
            if s3_errors.is_missing(error):
                return None
            raise

    def _through_races(self, attempt: Callable[[], ObjectInfo]) -> ObjectInfo:
        for race in range(1, RACES + 1):
            try:
                return attempt()
            except ClientError as error:
                if s3_errors.is_lost_condition(error, self._if_match is not None):
                    raise s3_errors.conflict(self._where, self._key, self._if_absent) from error
                if not s3_errors.is_write_race(error):
                    raise s3_errors.failure(error, self._where, self._key) from error
                if race == RACES:
                    raise s3_errors.conflict(self._where, self._key, self._if_absent) from error
            except BotoCoreError as error:
                raise s3_errors.failure(error, self._where, self._key) from error
            time.sleep(random.uniform(0, 0.1 * 2**race))
        raise AssertionError("unreachable: the last race returns or raises")

    def _about_source(self, error: ClientError) -> Exception:
        if s3_errors.is_unsupported(error):
            return UnsupportedCopy()
        if s3_errors.status_of(error) == 412 or s3_errors.is_missing(error):
            return TransientFailure("the object was replaced or removed while it was copied", where=self._where, file=self._key)
        return error

    def _require(self, read: int, size: int, found: str) -> None:
        if read != size:
            what = f"{read} bytes were read instead of {size}: the file was changed while it was stored"
        elif self._sha256 is not None and found != self._sha256:
            what = f"the bytes have sha-256 {found} instead of {self._sha256}"
        else:
            return
        raise PermanentFailure(what, where=self._where, file=self._key, kept="Nothing was written")

    def _metadata(self, sha256: str | None) -> dict[str, str]:
        return {WRITE_ID: self._id} | ({SHA256: sha256} if sha256 else {})


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
