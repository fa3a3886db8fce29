"""An S3 object as a stream that survives broken connections.

A read that breaks off goes on at the byte it reached, with `Range`, and with `If-Match` so that the rest comes from the same
object: a latest that was switched meanwhile ends in an error, never in a mixture of two versions.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from d4c_platform.model.errors import TransientFailure
from d4c_platform.storage import s3_errors

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER = 1024 * 1024
RESUMES = 4  # in a row without one byte; boto3 repeats each request by itself, too
BROKEN = (HTTPClientError, IncompleteReadError, HTTPError, OSError)


class Body(io.RawIOBase):
    """The bytes of one object.

    Args:
        get: performs GetObject with these extra arguments.
    """

    def __init__(self, get: Callable[..., Any], where: str, key: str) -> None:
        self._get, self._where, self._key = get, where, key
        answer = get()
        self._stream, self._etag, self._size = answer["Body"], answer["ETag"], int(answer["ContentLength"])
        self._at, self._stalled = 0, 0

    def stream(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(self, BUFFER))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while self._at < self._size and len(view):
            try:
                chunk = self._stream.read(min(len(view), self._size - self._at))
            except BROKEN as error:
                self._resume(error)
                continue
            if not chunk:
                self._resume(None)
                continue
            view[: len(chunk)] = chunk
            self._at += len(chunk)
            self._stalled = 0
            return len(chunk)
        return 0

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _resume(self, cause: Exception | None) -> None:
        self._stream.close()
        self._stalled += 1
        if self._stalled > RESUMES:
            raise self._broken("the download broke off again and again") from cause
        time.sleep(0.1 * self._stalled)
        try:
            self._stream = self._get(Range=f"bytes={self._at}-", IfMatch=self._etag)["Body"]
        except ClientError as error:
            if s3_errors.is_lost_condition(error, if_match=True):
                raise self._broken("the object was replaced while it was read") from error
            raise s3_errors.failure(error, self._where, self._key) from error
        except BotoCoreError as error:
            raise s3_errors.failure(error, self._where, self._key) from error

    def _broken(self, what: str) -> TransientFailure:
        return TransientFailure(
            f"{what}, after {self._at} of {self._size} bytes", where=self._where, file=self._key, remedy="Read it again"
        )
