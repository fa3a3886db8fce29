"""Table 98-10-0001 as the sandbox ships it: census population counts by province and territory, in two releases.

The counts are those that Statistics Canada published from the 2016 and 2021 censuses; the form is its full-table format, in
both languages. The file itself was written for this project, and its note says so: it is not the publisher's.

Not here: the metadata beside it (`census_metadata`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from d4c_platform.sandbox.clock import EASTERN

PRODUCT_ID = "98100001"
FIRST_VECTOR = 1_999_000_001  # far above the vectors in use, so that nobody takes a series for a real one
Language = Literal["eng", "fra"]


@dataclass(frozen=True, slots=True)
class Place:
    """Canada, a province or a territory, with its census counts.

    Attributes:
        code: 11124 for Canada, the PRUID otherwise.
        population: census year to persons.
    """

    code: str
    en: str
    fr: str
    population: dict[int, int]

    def dguid(self, census: int) -> str:
        kind = "A0000" if self.code == "11124" else "A0002"
        return f"{census}{kind}{self.code}"


def _place(code: str, en: str, fr: str, in_2016: int, in_2021: int) -> Place:
    return Place(code, en, fr, {2016: in_2016, 2021: in_2021})


CANADA = _place("11124", "Canada", "Canada", 35151728, 36991981)
PROVINCES = (
    _place("10", "Newfoundland and Labrador", "Terre-Neuve-et-Labrador", 519716, 510550),
    _place("11", "Prince Edward Island", "Île-du-Prince-Édouard", 142907, 154331),
    _place("12", "Nova Scotia", "Nouvelle-Écosse", 923598, 969383),
    _place("13", "New Brunswick", "Nouveau-Brunswick", 747101, 775610),
    _place("24", "Quebec", "Québec", 8164361, 8501833),
    _place("35", "Ontario", "Ontario", 13448494, 14223942),
    _place("46", "Manitoba", "Manitoba", 1278365, 1342153),
    _place("47", "Saskatchewan", "Saskatchewan", 1098352, 1132505),
    _place("48", "Alberta", "Alberta", 4067175, 4262635),
    _place("59", "British Columbia", "Colombie-Britannique", 4648055, 5000879),
    _place("60", "Yukon", "Yukon", 35874, 40232),
    _place("61", "Northwest Territories", "Territoires du Nord-Ouest", 41786, 41070),
    _place("62", "Nunavut", "Nunavut", 35944, 36858),
)
PLACES = (CANADA, *PROVINCES)


@dataclass(frozen=True, slots=True)
class CensusRelease:
    """One release of the table: when it came out, which censuses it covers, and whose boundaries its DGUIDs name."""

    released_at: datetime
    censuses: tuple[int, ...]

    @property
    def geography(self) -> int:
        return self.censuses[-1]


RELEASES = (
    CensusRelease(datetime(2017, 2, 8, 8, 30, tzinfo=EASTERN), (2016,)),
    CensusRelease(datetime(2022, 2, 9, 8, 30, tzinfo=EASTERN), (2016, 2021)),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A member of the table's second dimension."""

    en: str
    fr: str
    unit_en: str
    unit_fr: str
    unit_id: int
    decimals: int


MEASURES = (
    Measure("Population", "Population", "Persons", "Personnes", 249, 0),
    Measure("Population percentage change", "Variation en pourcentage de la population", "Percent", "Pourcentage", 239, 1),
)
DIMENSION = {"eng": "Population and growth", "fra": "Population et croissance"}
HEADERS: dict[Language, tuple[str, ...]] = {
    "eng": (
        "REF_DATE", "GEO", "DGUID", DIMENSION["eng"], "UOM", "UOM_ID", "SCALAR_FACTOR", "SCALAR_ID",
        "VECTOR", "COORDINATE", "VALUE", "STATUS", "SYMBOL", "TERMINATED", "DECIMALS",
    ),
    "fra": (
        "PÉRIODE DE RÉFÉRENCE", "GÉO", "DGUID", DIMENSION["fra"], "UNITÉ DE MESURE", "IDENTIFICATEUR D'UNITÉ DE MESURE",
        "FACTEUR SCALAIRE", "IDENTIFICATEUR SCALAIRE",
        "VECTEUR", "COORDONNÉES", "VALEUR", "STATUS", "SYMBOLE", "TERMINÉ", "DÉCIMALES",
    ),
}  # fmt: skip


def data_csv(release: CensusRelease, language: Language) -> str:
    """The table's rows as the publisher writes them: everything quoted, `;` and decimal commas in French."""
    mark = "," if language == "eng" else ";"
    rows = [HEADERS[language], *_rows(release, language)]
    return "\ufeff" + "".join(mark.join(f'"{cell}"' for cell in row) + "\n" for row in rows)


def _rows(release: CensusRelease, language: Language) -> Iterator[tuple[str, ...]]:
    english = language == "eng"
    for census in release.censuses:
        for member, place in enumerate(PLACES, start=1):
            for position, measure in enumerate(MEASURES, start=1):
                value = figure(place, census, release.censuses, position)
                yield (
                    str(census),
                    place.en if english else place.fr,
                    place.dguid(release.geography),
                    measure.en if english else measure.fr,
                    measure.unit_en if english else measure.unit_fr,
                    str(measure.unit_id),
                    "units" if english else "unités",
                    "0",
                    f"v{FIRST_VECTOR + (member - 1) * len(MEASURES) + position - 1}",
                    f"{member}.{position}",
                    value if english else value.replace(".", ","),
                    "" if value else "..",
                    "",
                    "",
                    str(measure.decimals),
                )


def figure(place: Place, census: int, censuses: tuple[int, ...], position: int) -> str:
    """A cell's value; empty when the release has no earlier census to compare with."""
    if position == 1:
        return str(place.population[census])
    earlier = [c for c in censuses if c < census]
    if not earlier:
        return ""
    before = place.population[earlier[-1]]
    return f"{100 * (place.population[census] - before) / before:.1f}"
