"""From a family and its publisher's list to one `Dataset` an entry, made when it is asked for.

A sensor tick needs a handful of eight thousand datasets. So the ids are made at once, which is cheap, and a dataset on access,
from a template that was validated whole. A declaration of its own wins over the family: one with the same id, with the same
table, or with ids that could not be told apart from the family's.

Not here: reading the list (sources), or checking a family file (families).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from d4c_platform.datasets.rules import undated
from d4c_platform.model.dataset import Area, Dataset, Text
from d4c_platform.model.family import Family, FamilyArea
from d4c_platform.model.listing import ListedTable, Listing
from d4c_platform.model.sources import StatCanTableSource

SOURCE_SEGMENT = "statcan"
MADE_UP = "10100001"
STATE = {
    True: Text(
        en="Statistics Canada has archived the table: it is not updated any more.",
        fr="Statistique Canada a archivé le tableau : il n'est plus mis à jour.",
    ),
    False: Text(en="Statistics Canada updates the table.", fr="Statistique Canada met le tableau à jour."),
}


class Expansion(Mapping[str, Dataset]):
    """The datasets of one family by id, in order.

    Attributes:
        tables: dataset id to the product id of its table: what a sweep needs, without making a dataset.
        listing: the list they come from.
    """

    def __init__(self, family: Family, listing: Listing, explicit: Iterable[Dataset] = ()) -> None:
        self.family, self.listing = family, listing
        explicit = list(explicit)
        declared = {d.source.product_id for d in explicit if isinstance(d.source, StatCanTableSource)}
        taken = {undated(d.id) for d in explicit}
        self._areas = {area.dguid: area for area in family.areas}
        self._templates = {area.dguid: template(family, area) for area in family.areas}
        made = {
            self.id_of(table): table.product_id
            for table in listing.tables.values()
            if table.product_id not in declared and self._belongs(table)
        }
        self.tables: dict[str, str] = {i: made[i] for i in sorted(made) if i not in taken}

    def __getitem__(self, dataset_id: str) -> Dataset:
        return self._dataset(self.listing.tables[self.tables[dataset_id]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __contains__(self, dataset_id: object) -> bool:
        return dataset_id in self.tables

    def id_of(self, table: ListedTable) -> str:
        return _id(self.family, self._area(table), table.product_id)

    def _belongs(self, table: ListedTable) -> bool:
        if table.archived and not self.family.archived:
            return False
        return not self.family.subjects or any(code.startswith(self.family.subjects) for code in table.subjects)

    def _area(self, table: ListedTable) -> FamilyArea:
        return self._areas.get(table.area, self.family.areas[0])

    def _dataset(self, table: ListedTable) -> Dataset:
        family, licence = self.family, self.family.licence
        facts_en, facts_fr = self._facts(table)
        attribution = Text.model_construct(
            en=licence.attribution.en.format_map(facts_en), fr=licence.attribution.fr.format_map(facts_fr)
        )
        description = Text.model_construct(
            en=family.description.en.format_map(facts_en), fr=family.description.fr.format_map(facts_fr)
        )
        return self._templates[self._area(table).dguid].model_copy(
            update={
                "id": self.id_of(table),
                "title": Text.model_construct(en=table.title_en, fr=table.title_fr),
                "description": description,
                "licence": licence.model_copy(update={"attribution": attribution}),
                "source": _source(family, table.product_id),
                "keywords": tuple(self._keywords(table)),
            }
        )

    def _facts(self, table: ListedTable) -> tuple[dict[str, str], dict[str, str]]:
        number = f"{table.product_id[:2]}-{table.product_id[2:4]}-{table.product_id[4:]}"
        frequency = self.listing.words.get(f"frequency.{table.frequency}", ("not stated", "non indiquée"))
        state = STATE[table.archived]
        english = {"title": table.title_en, "frequency": frequency[0].lower(), "state": state.en}
        french = {"title": table.title_fr, "frequency": frequency[1].lower(), "state": state.fr}
        since = {"number": number, "since": table.since or "–"}
        return english | since, french | since

    def _keywords(self, table: ListedTable) -> Iterator[Text]:
        """The table's subjects, each with the broad one it belongs to: a code begins with that one's."""
        codes = dict.fromkeys(code for subject in table.subjects for code in (subject[:2], subject))
        for code in codes:
            words = self.listing.words.get(f"subject.{code}")
            if words is not None:
                yield Text.model_construct(en=words[0], fr=words[1])


def template(family: Family, area: FamilyArea) -> Dataset:
    """What all datasets of the family in one of its areas share, as a dataset of a made-up table. Raises ValidationError."""
    words = Text(en="Table", fr="Tableau")
    return Dataset(
        id=_id(family, area, MADE_UP),
        version=family.version,
        package=family.package,
        title=words,
        description=words,
        publisher=family.publisher,
        source=_source(family, MADE_UP),
        transform=family.transform,
        vintage=family.vintage,
        licence=family.licence,
        area=Area(dguid=area.dguid, name=area.name, geometry=area.geometry),
        mirrors=family.mirrors,
        checks=family.checks,
    )


def _id(family: Family, area: FamilyArea, product_id: str) -> str:
    return f"{area.region}_{SOURCE_SEGMENT}-{area.dguid}_{family.package}_{product_id}"


def _source(family: Family, product_id: str) -> StatCanTableSource:
    return StatCanTableSource.model_construct(
        kind="statcan-table", product_id=product_id, languages=family.languages, recheck_days=family.recheck_days
    )
