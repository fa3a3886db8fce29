"""What a Zenodo record says of a version, in both official languages; and whether Zenodo kept it.

Every save sends the complete document: what is left out of a save is reset on Zenodo, silently. So the same functions say
what is wanted and compare it with what is read back, before a DOI makes it permanent.

The version id stands in the record as an alternate identifier. It is the marker by which a draft is found again whose
creation was answered with a timeout.

Not here: the calls (zenodo_api) and their order (zenodo).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape, unescape
from typing import Any

from d4c_platform import naming
from d4c_platform.mirrors.mirror import PublishedVersion
from d4c_platform.model.dataset import Dataset, Licence, ReleaseVintage

MARKER_FIELD = "metadata.identifiers.identifier"
MARKER_SCHEME = "other"
REPOSITORY = "Zenodo"  # DataCite's publisher is who keeps the record; who made the data is its creator
CURATOR = "Data for Canada"
LANGUAGES = ("eng", "fra")
EDTF_DAY = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


def document_of(version: PublishedVersion, publication_date: str) -> dict[str, Any]:
    """The complete draft document of a version, without what Zenodo itself keeps in it (pids, custom fields)."""
    return {
        "access": {"record": "public", "files": "public"},
        "files": {"enabled": True},
        "metadata": metadata_of(version, publication_date),
    }


def metadata_of(version: PublishedVersion, publication_date: str) -> dict[str, Any]:
    """The record's metadata, in the vocabulary of InvenioRDM."""
    dataset, name = version.dataset, naming.parse(version.version_id)
    edition = f" ({name.date})" if isinstance(dataset.vintage, ReleaseVintage) and name.date else ""
    metadata: dict[str, Any] = {
        "resource_type": {"id": "dataset"},
        "title": dataset.title.en + edition,
        "additional_titles": [{"title": dataset.title.fr + edition, "type": {"id": "translated-title"}, "lang": {"id": "fra"}}],
        "publication_date": publication_date,
        "publisher": REPOSITORY,
        "creators": [{"person_or_org": {"type": "organizational", "name": dataset.publisher.en}}],
        "contributors": [{"person_or_org": {"type": "organizational", "name": CURATOR}, "role": {"id": "datacurator"}}],
        "description": _prose(dataset.description.en, dataset.licence.attribution.en),
        "additional_descriptions": [
            {
                "description": _prose(dataset.description.fr, dataset.licence.attribution.fr),
                "type": {"id": "abstract"},
                "lang": {"id": "fra"},
            }
        ],
        "languages": [{"id": language} for language in LANGUAGES],
        "rights": [_right(dataset.licence)],
        "subjects": [{"subject": word} for word in _keywords(dataset)],
        "identifiers": [{"identifier": version.version_id, "scheme": MARKER_SCHEME}],
        "related_identifiers": [
            {
                "identifier": url,
                "scheme": "url",
                "relation_type": {"id": "isderivedfrom"},
                "resource_type": {"id": "dataset"},
            }
            for url in dict.fromkeys(version.release_urls)
        ],
        "version": str(name.version) if name.version else dataset.version,
        "formats": list(dict.fromkeys(a.media_type for a in version.artifacts)),
        "locations": {"features": [_location(dataset)]},
    }
    dates = [
        {"date": f"{first}/{last}", "type": {"id": "other"}, "description": "Reference period / Période de référence"}
        for first, last in dict.fromkeys(a.period for a in version.artifacts if a.period)
        if EDTF_DAY.fullmatch(first) and EDTF_DAY.fullmatch(last)
    ]
    return {**metadata, "dates": dates} if dates else metadata


def marker_of(document: Mapping[str, Any]) -> str | None:
    """The version id that a draft or record carries, if it is one of ours."""
    for identifier in document.get("metadata", {}).get("identifiers", []):
        if identifier.get("scheme") == MARKER_SCHEME:
            return str(identifier.get("identifier"))
    return None


def differences(wanted: Any, got: Any, field: str = "") -> Iterator[str]:
    """The fields of `wanted` that `got` does not say, as `field: wants … has …`.

    Zenodo enriches what it keeps (titles of vocabulary entries, icons of licences), so `got` may say more. Descriptions come
    back sanitised: their words are compared, not their markup.
    """
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key, value in wanted.items():
            yield from differences(value, got.get(key), f"{field}.{key}" if field else key)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, (value, other) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(value, other, f"{field}[{index}]")
    elif isinstance(wanted, str) and isinstance(got, str) and field.endswith("description"):
        if _words(wanted) != _words(got):
            yield f"{field}: wants {_words(wanted)[:60]!r}, has {_words(got)[:60]!r}"
    elif wanted != got and not (wanted == [] and got is None):
        yield f"{field}: wants {wanted!r}, has {got!r}"


def _prose(description: str, attribution: str) -> str:
    """Zenodo's descriptions are HTML: the declaration's text is not."""
    paragraphs = [p for text in (description, attribution) for p in text.split("\n\n") if p.strip()]
    return "".join(f"<p>{escape(' '.join(p.split()), quote=False)}</p>" for p in paragraphs)


def _words(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _right(licence: Licence) -> dict[str, Any]:
    """A licence of Zenodo's vocabulary by its lower-case SPDX id; any other one by its words and link, as a custom right."""
    if licence.id.lower() != "other":
        return {"id": licence.id.lower()}
    return {
        "title": {"en": licence.title.en, "fr": licence.title.fr},
        "description": {"en": licence.attribution.en, "fr": licence.attribution.fr},
        "link": licence.url.en,
    }


def _keywords(dataset: Dataset) -> list[str]:
    return list(dict.fromkeys(word for text in dataset.keywords for word in (text.en, text.fr)))


def _location(dataset: Dataset) -> dict[str, Any]:
    """The area's bounding box: Zenodo's index refuses detailed polygons that it finds invalid, and a map needs no more."""
    points = list(_points(dataset.area.geometry["coordinates"]))
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    place = f"{dataset.area.name.en} / {dataset.area.name.fr}"
    return {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "place": place,
        "description": f"DGUID {dataset.area.dguid}",
    }


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
    else:
        for part in coordinates:
            yield from _points(part)
