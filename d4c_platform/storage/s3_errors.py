"""What an S3 server's answers mean for a person: passing trouble, a refusal with its remedy, or a lost condition.

Only the error code and the status are quoted: messages of servers and of botocore may repeat headers, and so credentials.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError
from botocore.exceptions import ConnectionError as NoConnection

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.storage.store import Conflict

TRANSIENT_CODES = frozenset({"SlowDown", "RequestTimeout", "RequestLimitExceeded", "Throttling", "ThrottlingException"})
REMEDIES = {
    "RequestTimeTooSkewed": "Set this machine's clock",
    "ExpiredToken": "Renew the temporary credentials",
    "InvalidToken": "Renew the temporary credentials",
    "InvalidAccessKeyId": "Check the access key of this store",
    "SignatureDoesNotMatch": "Check the secret key and the region of this store",
    "NoSuchBucket": "Create the bucket, or check its name and the endpoint",
    "BadDigest": "The bytes were damaged on the way; run the step again",
    "InvalidDigest": "The bytes were damaged on the way; run the step again",
}
DENIED = "Check that this key may read and write the bucket, and the bucket's policy"


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    metadata: Any = error.response.get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))


def is_missing(error: ClientError) -> bool:
    """There is no such object (rather than no such bucket or upload)."""
    return status_of(error) == 404 and code_of(error) in {"NoSuchKey", "404", "NotFound", ""}


def is_lost_condition(error: ClientError, if_match: bool) -> bool:
    """The condition of a write does not hold. S3 answers 404 to `If-Match` on an object that is gone."""
    return status_of(error) == 412 or (if_match and is_missing(error))


def is_write_race(error: ClientError) -> bool:
    """Another conditional write of the same key was under way; S3 asks to try again."""
    return status_of(error) == 409 and code_of(error) in {"ConditionalRequestConflict", "OperationAborted"}


def is_unsupported(error: ClientError) -> bool:
    """The server does not know the operation: proxies in front of S3 leave out UploadPartCopy."""
    return status_of(error) in {405, 501}


def may_have_happened(error: Exception) -> bool:
    """The answer does not say whether the write took place: lost, or an error about a request that was sent twice."""
    if isinstance(error, ClientError):
        return status_of(error) >= 500 or status_of(error) == 412 or code_of(error) == "NoSuchUpload"
    return isinstance(error, HTTPClientError)


def conflict(where: str, key: str, if_absent: bool) -> Conflict:
    what = "the object exists already" if if_absent else "the object is no longer the one that was read"
    return Conflict(what, where=where, file=key, kept="It stays as it is")


def failure(error: Exception, where: str, key: str) -> D4CError:
    """The failure that a botocore exception means."""
    if isinstance(error, ClientError):
        code, status = code_of(error), status_of(error)
        what = f"the server answered {status} {code}".rstrip()
        if status >= 500 or status in {408, 409, 425, 429} or code in TRANSIENT_CODES:
            return TransientFailure(what, where=where, file=key, remedy="It is tried again on the next run")
        remedy = REMEDIES.get(code) or (DENIED if status in {401, 403} else "Look the error code up in the server's manual")
        return PermanentFailure(what, where=where, file=key, kept="Nothing was changed", remedy=remedy)
    name = type(error).__name__
    if isinstance(error, SSLError):
        return PermanentFailure(
            f"the server's certificate was refused ({name})", where=where, file=key, remedy="Check the endpoint and its CA"
        )
    if isinstance(error, NoConnection | HTTPClientError):
        return TransientFailure(f"no complete answer ({name})", where=where, file=key, remedy="Check that the endpoint is up")
    if isinstance(error, BotoCoreError):
        return PermanentFailure(
            f"the request could not be made ({name})", where=where, file=key, remedy="Check this store's settings"
        )
    raise error
