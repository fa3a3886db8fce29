"""The action API of a CKAN portal: the one call we need, and its failures as sentences.

A failure comes as `{"success": false, "error": {"__type": …}}` with a status of 403, 404 or 409, or with 200.

Not here: what the answer means for a dataset (ckan).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.sources.documents import json_of
from d4c_platform.sources.hops import refuse_astray
from d4c_platform.sources.receipt import KEPT
from d4c_platform.web import HttpRefusal, Web

WHERE = "ckan"
NOT_FOUND, DENIED, INVALID = "Not Found Error", "Authorization Error", "Validation Error"
DELETED = "deleted"
TOLD = frozenset({400, 403, 404, 409})  # statuses whose body may say in CKAN's words what is wrong
SHOWN = 12  # resources in a message: enough to see the one that is meant


class Portal:
    """One CKAN portal.

    Args:
        base: its address, to which `/api/3/action` is appended.
    """

    def __init__(self, web: Web, base: str) -> None:
        self._web, self._base = web, base.rstrip("/")

    def package_url(self, package: str) -> str:
        return f"{self._base}/api/3/action/package_show?id={quote(package, safe='')}"

    def package(self, package: str) -> tuple[dict[str, Any], httpx.Response]:
        """A package with its resources, and the answer it came in.

        Raises:
            PermanentFailure: there is none, it was deleted, or it is not public.
            TransientFailure: the portal could not answer.
        """
        url = self.package_url(package)
        try:
            response = self._web.request("GET", url, where=WHERE)
        except HttpRefusal as refusal:
            raise self._refused(refusal, package) from refusal
        refuse_astray(self._web, url, response, where=WHERE, kept=KEPT)
        answer = json_of(response, url, WHERE)
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise self._failed(answer.get("error") if isinstance(answer, dict) else None, package)
        found = answer.get("result")
        if not isinstance(found, dict) or not isinstance(found.get("resources"), list):
            raise _permanent("the answer carries no package with resources", package, "Look at the portal's answer")
        if found.get("state", "active") == DELETED:
            raise _permanent(
                "the package was deleted from the portal",
                package,
                "What is published stays; look whether the publisher offers the data elsewhere, and declare that",
            )
        return found, response

    def resource(self, package: Mapping[str, Any], resource_id: str) -> dict[str, Any]:
        """One of a package's resources.

        Raises:
            PermanentFailure: it is not, or no longer, among them.
        """
        resources = [r for r in package["resources"] if isinstance(r, dict) and r.get("state", "active") != DELETED]
        for resource in resources:
            if resource.get("id") == resource_id:
                return resource
        there = "; ".join(f"{r.get('id')} ({r.get('format') or 'no format'}, {_title(r)})" for r in resources[:SHOWN])
        more = f"; and {len(resources) - SHOWN} more" if len(resources) > SHOWN else ""
        name = str(package.get("name") or package.get("id"))
        raise _permanent(
            f"the package no longer has the resource {resource_id}",
            name,
            f"Declare the resource that took its place. There are: {there or 'none'}{more}",
        )

    def _refused(self, refusal: HttpRefusal, package: str) -> D4CError:
        """A refusal in CKAN's own words, when it has any: a firewall or a wrong address answers in others."""
        if refusal.status not in TOLD:
            return refusal
        try:
            answer = json.loads(refusal.body)
        except ValueError:  # a page, or the start of an answer with a long help text before what is wrong
            kind = next((kind for kind in (NOT_FOUND, DENIED, INVALID) if f'"{kind}"' in refusal.body), None)
            answer = {"error": {"__type": kind}} if kind else None
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            return self._failed(answer["error"], package)
        if refusal.status == 404 and not refusal.body.lstrip().startswith("{"):
            return _permanent(
                f"no CKAN portal answers at {self._base}/api/3/action",
                package,
                "Correct the declared portal: its address is what stands before /api/3/action",
            )
        return refusal

    def _failed(self, error: object, package: str) -> D4CError:
        said = error if isinstance(error, dict) else {}
        kind, words = said.get("__type"), _words(said)
        if kind == NOT_FOUND:
            return _permanent(
                "the portal has no such package",
                package,
                "Look for it on the portal: it may have another id there, or have been removed; what is published stays",
            )
        if kind == DENIED:
            return _permanent(
                f"the package is not public ({words or 'access denied'})",
                package,
                "Ask the publisher whether it is meant to be",
            )
        if kind == INVALID:
            return _permanent(f"the portal refuses the question: {words}", package, "Correct the declared package")
        return TransientFailure(
            f"the portal could not answer: {kind or 'success is false'}{f', {words}' if words else ''}",
            where=WHERE,
            file=package,
            kept=KEPT,
            remedy="It is tried again on the next run",
        )


def in_languages(translated: object, otherwise: object) -> dict[str, str]:
    """A text or a list of words by language; of a portal with one language, by `und` (undetermined).

    Languages are kept as the portal spells them: `fr-t-en` is French that a machine translated from English.
    """
    if not isinstance(translated, dict) or not any(translated.values()):
        translated = {"und": otherwise}
    return {str(language): words for language, value in sorted(translated.items()) if (words := _joined(value))}


def _joined(value: object) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(str(word) for word in value if word) if isinstance(value, Sequence) else ""


def _title(resource: Mapping[str, Any]) -> str:
    titles = in_languages(resource.get("name_translated"), resource.get("name"))
    return next((titles[language] for language in ("en", "und", *titles) if language in titles), "without a name")


def _words(error: Mapping[str, Any]) -> str:
    """An error's message, or its fields: a validation error has one list of complaints a field."""
    if isinstance(error.get("message"), str):
        return " ".join(str(error["message"]).split())
    return "; ".join(f"{field}: {_joined(said) or said}" for field, said in error.items() if field != "__type")


def _permanent(what: str, package: str, remedy: str) -> PermanentFailure:
    return PermanentFailure(what, where=WHERE, file=package, kept=KEPT, remedy=remedy)
