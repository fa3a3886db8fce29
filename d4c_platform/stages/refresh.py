"""Read the publishers' lists behind the families: what a scheduled job does once a day, so that no sensor tick has to.

The list is stored whole, and only after every dataset it makes was checked: what a sensor finds in it is right. An entry that
makes no right dataset is left out, with the reason, and the others are not held up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from d4c_platform import datasets, naming
from d4c_platform.model.dataset import Text
from d4c_platform.model.family import Family
from d4c_platform.model.listing import Listing
from d4c_platform.sources.cube_list import read_listing
from d4c_platform.sources.wds import StatCan
from d4c_platform.stages.listings import listing_key, store_listing
from d4c_platform.stages.platform import Platform


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one reading of a list brought.

    Attributes:
        listed: entries of the list that can be datasets.
        datasets: datasets the family makes of them.
        new: entries that were not known before.
        released: known entries with another release time than before.
        left_out: entries that make no dataset, each with the reason.
    """

    family: str
    listed: int
    datasets: int
    new: int
    released: int
    left_out: dict[str, str]


def refresh_families(platform: Platform, now: datetime) -> list[Refreshed]:
    """Read the list of every family that this installation follows.

    Raises:
        D4CError: a list could not be read; the one before stays.
    """
    return [_refresh(platform, family, now) for family in platform.families.values()]


def _refresh(platform: Platform, family: Family, now: datetime) -> Refreshed:
    store = platform.portal.store
    present = store.head(listing_key(family))
    before = platform.listing(family) if present is not None else None
    areas = [area.dguid for area in family.areas]
    fresh = read_listing(StatCan(platform.web, platform.sources.wds), before, areas, now)
    checked = _checked(family, fresh, before)
    store_listing(store, family, checked, replaces=present.etag if present is not None else None)
    known = before.tables if before is not None else {}
    explicit = platform.datasets.explicit.values()
    return Refreshed(
        family=family.family,
        listed=len(checked.tables),
        datasets=len(datasets.Expansion(family, checked, explicit)),
        new=len(set(checked.tables) - set(known)),
        released=sum(t.released != known[p].released for p, t in checked.tables.items() if p in known),
        left_out=dict(checked.left_out),
    )


def _checked(family: Family, listing: Listing, before: Listing | None) -> Listing:
    """The list without the entries of which no right dataset can be made; a known one stays as it was checked before."""
    known = before.tables if before is not None else {}
    everything = family.model_copy(update={"subjects": (), "archived": True})
    made = datasets.Expansion(everything, listing)
    tables, left_out = dict(listing.tables), dict(listing.left_out)
    for dataset_id, product_id in made.tables.items():
        if known.get(product_id) == tables[product_id]:
            continue
        reason = _trouble(made, dataset_id)
        if reason:
            left_out[product_id] = reason
            tables.pop(product_id)
            tables |= {product_id: known[product_id]} if product_id in known else {}
    return replace(listing, tables=tables, left_out=left_out)


def _trouble(made: datasets.Expansion, dataset_id: str) -> str:
    """What is wrong with a dataset of the family; empty when nothing is."""
    try:
        # What its entry adds is checked; what it shares with the family was, once.
        dataset = made[dataset_id]
        name = naming.parse(dataset_id)
        Text.model_validate(dataset.title.model_dump())
        Text.model_validate(dataset.description.model_dump())
    except (naming.BadName, ValidationError, KeyError) as error:
        return f"it makes no dataset: {error}"
    return "" if str(name) == dataset_id else f"its id would be spelt {name}"
