"""Statistics Canada's list of all tables, read as the `Listing` that families and sweeps stand on.

One request names every table with its release time, but the list and the tables sometimes disagree, and its times are UTC
while all others are Eastern. So its time is only compared with what it said before, and a table of which it says something new
is asked itself, fifty in a request; what the table says counts. On the first day that is every table, later the few that were
released. A table that cannot be read now keeps what was known of it,
and a new one waits for the next reading: its area is part of its id, and an id is for ever.

Not here: which of the tables a family takes (datasets.expansion), or when the list is read (orchestration).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from d4c_platform.model.errors import D4CError, TransientFailure
from d4c_platform.model.listing import ListedTable, Listing
from d4c_platform.sources.source import utc_key
from d4c_platform.sources.wds import BATCH, WHERE, StatCan, eastern_to_utc

ARCHIVED = "1"
DGUID_PLACE = 5  # where in a DGUID the kind of area and its code begin: before them stand vintage and type
MOST_LOST = 3  # batches in a row that the service could not answer; then the others wait for the next reading

log = logging.getLogger(__name__)


def read_listing(statcan: StatCan, before: Listing | None, areas: Sequence[str], now: datetime) -> Listing:
    """Read the list, and ask the tables of which it says something new.

    Args:
        before: the list as it was read last.
        areas: DGUIDs a table may cover; the first is for all that cover none of the others.

    Raises:
        D4CError: the list itself could not be read.
    """
    cubes = {str(cube.get("productId", "")): cube for cube in statcan.all_cubes()}
    known = dict(before.tables) if before is not None else {}
    left_out = {product_id: reason for product_id, cube in cubes.items() if (reason := _unfit(product_id, cube))}
    news = [p for p, cube in cubes.items() if p not in left_out and (p not in known or known[p].listed != _listed(cube))]
    answers = _ask(statcan, sorted(news))
    for product_id in news:
        answer = answers.get(product_id, "it could not be asked in time")
        if isinstance(answer, dict) and answer.get("releaseTime"):
            area = known[product_id].area if product_id in known else _area(answer, areas)
            released = utc_key(eastern_to_utc(answer["releaseTime"]))
            known[product_id] = _table(product_id, cubes[product_id], released, area)
        elif product_id not in known:
            left_out[product_id] = "it has no release yet" if isinstance(answer, dict) else answer
    for product_id in set(cubes).intersection(known).difference(news, left_out):  # a title is corrected, a table archived
        known[product_id] = _table(product_id, cubes[product_id], known[product_id].released, known[product_id].area)
    if not known:
        raise TransientFailure("no table could be read", where=WHERE, remedy="It is tried again with the next reading")
    return Listing(now, before.listed_at if before is not None else None, known, left_out, _words(statcan, before))


def _ask(statcan: StatCan, product_ids: list[str]) -> dict[str, dict[str, Any] | str]:
    answers: dict[str, dict[str, Any] | str] = {}
    lost = 0
    for start in range(0, len(product_ids), BATCH):
        batch = product_ids[start : start + BATCH]
        try:
            found = statcan.metadata_of(batch)
        except TransientFailure as error:
            answers |= dict.fromkeys(batch, error.what)
            lost += 1
            if lost == MOST_LOST:
                break
            continue
        lost = 0
        answers |= {p: answer.what if isinstance(answer, D4CError) else answer for p, answer in found.items()}
    return answers


def _table(product_id: str, cube: Mapping[str, Any], released: str, area: str) -> ListedTable:
    frequency = cube.get("frequencyCode")
    return ListedTable(
        product_id,
        title_en=_text(cube, "cubeTitleEn"),
        title_fr=_text(cube, "cubeTitleFr"),
        released=released,
        listed=_listed(cube),
        area=area,
        archived=str(cube.get("archived", "")) == ARCHIVED,
        frequency="" if frequency is None else str(frequency),
        since=str(cube.get("cubeStartDate") or ""),
        subjects=tuple(str(code) for code in cube.get("subjectCode") or ()),
    )


def _area(metadata: Mapping[str, Any], areas: Sequence[str]) -> str:
    """The one area that the table's geography begins with, when it is a known one; the first of the areas otherwise.

    The geography of a table is a tree; a table of one province has that province as its only root. Its vintage says which
    edition of the boundaries was used, and not that it is another province.
    """
    try:
        geography = next(d for d in metadata["dimension"] if d["dimensionNameEn"].strip().lower() == "geography")
        roots = [m for m in geography["member"] if m["parentMemberId"] is None]
        (root,) = roots
        place = f"{int(root['geoLevel']):04}{root['classificationCode']}"
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return areas[0]
    return next((dguid for dguid in areas if dguid[DGUID_PLACE:] == place), areas[0])


def _unfit(product_id: str, cube: Mapping[str, Any]) -> str:
    """Why an entry of the list makes no dataset; empty when it can."""
    if not re.fullmatch(r"[0-9]{8}", product_id):
        return f"its product id {product_id!r} is not one"
    if not (_text(cube, "cubeTitleEn") and _text(cube, "cubeTitleFr")):
        return "it has no title in one of the languages"
    return ""


def _listed(cube: Mapping[str, Any]) -> str:
    return str(cube.get("releaseTime") or "")


def _text(cube: Mapping[str, Any], name: str) -> str:
    return " ".join(str(cube.get(name) or "").split())


def _words(statcan: StatCan, before: Listing | None) -> Mapping[str, tuple[str, str]]:
    """What the codes mean. The list is whole without it, so a failure keeps the words there are."""
    known = before.words if before is not None else {}
    try:
        return statcan.words() or known
    except (D4CError, AttributeError, TypeError) as error:
        log.warning("statcan: the code sets could not be read: %s", error)
        return known
