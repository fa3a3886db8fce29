"""What Zenodo accepts as metadata, as far as the platform meets it: required fields, dates, names, rights, vocabularies.

The real service checks more (identifier syntax by scheme, whole vocabularies). What is here is what a publisher gets wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

REQUIRED = "Missing data for required field."
EDTF = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?(/\d{4}(-\d{2}(-\d{2})?)?)?")
LICENCES = frozenset({"ogl-canada-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "cc-zero", "odbl-1.0", "pddl-1.0", "mit"})
RELATIONS = frozenset({"isderivedfrom", "issourceof", "isidenticalto", "issupplementto", "isversionof", "cites", "references"})
DATE_TYPES = frozenset({"accepted", "available", "collected", "copyrighted", "created", "issued", "other", "updated", "valid"})
FIELDS = frozenset(
    {
        "resource_type",
        "title",
        "additional_titles",
        "publication_date",
        "publisher",
        "creators",
        "contributors",
        "description",
        "additional_descriptions",
        "languages",
        "rights",
        "subjects",
        "identifiers",
        "related_identifiers",
        "version",
        "formats",
        "sizes",
        "dates",
        "locations",
        "funding",
        "references",
        "copyright",
    }
)

Problem = dict[str, Any]


def problems(metadata: dict[str, Any]) -> list[Problem]:
    """Everything that would stop a draft with this metadata from being published."""
    return list(_problems(metadata))


def valid_part(metadata: dict[str, Any], found: list[Problem]) -> dict[str, Any]:
    """What a draft keeps of invalid metadata: every top-level field without a problem."""
    bad = {p["field"].split(".")[1] for p in found}
    return {key: value for key, value in metadata.items() if key not in bad}


def _problem(field: str, message: str) -> Problem:
    return {"field": f"metadata.{field}", "messages": [message]}


def _problems(metadata: dict[str, Any]) -> Iterator[Problem]:
    for field in sorted(set(metadata) - FIELDS):
        yield _problem(field, "Unknown field.")
    for field in ("title", "publication_date", "creators", "resource_type"):
        if not metadata.get(field):
            yield _problem(field, REQUIRED)
    if metadata.get("title") and len(metadata["title"]) < 3:
        yield _problem("title", "Shorter than minimum length 3.")
    if metadata.get("publication_date") and not EDTF.fullmatch(str(metadata["publication_date"])):
        yield _problem("publication_date", "Please provide a valid date or interval.")
    if not metadata.get("publisher"):
        yield _problem("publisher", "Missing publisher field required for DOI registration.")
    for field in ("creators", "contributors"):
        yield from _people(field, metadata.get(field) or [])
    for index, right in enumerate(metadata.get("rights") or []):
        if ("id" in right) == ("title" in right):
            yield _problem(f"rights.{index}", "Please provide either an id or a title.")
        elif "id" in right and right["id"] not in LICENCES:
            yield _problem(f"rights.{index}", f"Invalid value {right['id']}.")
    for index, language in enumerate(metadata.get("languages") or []):
        if not re.fullmatch("[a-z]{3}", str(language.get("id"))):
            yield _problem(f"languages.{index}", f"Invalid value {language.get('id')}.")
    for index, related in enumerate(metadata.get("related_identifiers") or []):
        if related.get("relation_type", {}).get("id") not in RELATIONS:
            yield _problem(f"related_identifiers.{index}.relation_type", REQUIRED)
    for index, date in enumerate(metadata.get("dates") or []):
        if not EDTF.fullmatch(str(date.get("date"))):
            yield _problem(f"dates.{index}.date", "Please provide a valid date or interval.")
        if date.get("type", {}).get("id") not in DATE_TYPES:
            yield _problem(f"dates.{index}.type", "Invalid value.")


def _people(field: str, people: list[dict[str, Any]]) -> Iterator[Problem]:
    for index, person in enumerate(people):
        named = person.get("person_or_org", {})
        at = f"{field}.{index}.person_or_org"
        if named.get("type") not in {"personal", "organizational"}:
            yield _problem(f"{at}.type", "Invalid value. Choose one of ['organizational', 'personal'].")
        elif not named.get("family_name" if named["type"] == "personal" else "name"):
            yield _problem(at, "Name cannot be blank.")
        if field == "contributors" and not person.get("role", {}).get("id"):
            yield _problem(f"{field}.{index}.role", REQUIRED)
