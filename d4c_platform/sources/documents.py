"""The small JSON documents of publishers' APIs: how they are read, and their one spelling in the archive."""

from __future__ import annotations

import json
from typing import Any

import httpx

from d4c_platform.model.errors import TransientFailure
from d4c_platform.web import without_query


def canonical_json(document: Any) -> bytes:
    """One spelling a document: sorted keys, UTF-8, a final newline."""
    return (json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def json_of(response: httpx.Response, url: str, where: str) -> Any:
    """What an answer says in JSON.

    Raises:
        TransientFailure: it is no JSON; gateways and maintenance pages answer 200 too.
    """
    try:
        return response.json()
    except ValueError as error:
        kind = response.headers.get("Content-Type", "no content type")
        raise TransientFailure(
            f"answered {response.status_code} with {kind} instead of JSON",
            where=where,
            file=without_query(url),
            remedy="It is tried again on the next run; if it stays so, look whether the address of the API is right",
        ) from error
