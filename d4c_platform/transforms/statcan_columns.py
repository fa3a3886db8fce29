"""Which column of a full-table CSV is what, and what it becomes: names, types and titles in both languages.

The fixed columns are known by their upper-case names; everything else is a dimension, even when it is called `Value` or
`Status`. French files translate the names but keep the order, so a French column is what the English one in its place is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from d4c_platform.model.errors import PermanentFailure

REQUIRED = ("REF_DATE", "COORDINATE", "VALUE")
LABELS = ("UOM", "SCALAR_FACTOR")  # fixed columns whose text depends on the language
FRENCH = {
    "REF_DATE": "PÉRIODE DE RÉFÉRENCE",
    "VECTOR": "VECTEUR",
    "COORDINATE": "COORDONNÉES",
    "VALUE": "VALEUR",
}

TITLES: Mapping[str, tuple[str, str]] = {
    "ref_date": ("Reference period", "Période de référence"),
    "ref_start_date": ("First day of the reference period", "Premier jour de la période de référence"),
    "ref_end_date": ("Last day of the reference period", "Dernier jour de la période de référence"),
    "ref_freq": ("Length of the reference period (A, Q, M, D)", "Durée de la période de référence (A, Q, M, D)"),
    "geo_en": ("Geography (English)", "Géographie (anglais)"),
    "geo_fr": ("Geography (French)", "Géographie (français)"),
    "dguid": ("Dissemination geography unique identifier", "Identificateur unique des géographies de diffusion"),
    "dguid_valid": ("Whether the DGUID is well formed", "Si l’IDUGD est bien formé"),
    "uom_en": ("Unit of measure (English)", "Unité de mesure (anglais)"),
    "uom_fr": ("Unit of measure (French)", "Unité de mesure (français)"),
    "uom_id": ("Unit of measure code", "Code de l’unité de mesure"),
    "scalar_factor_en": ("Scalar factor (English)", "Facteur scalaire (anglais)"),
    "scalar_factor_fr": ("Scalar factor (French)", "Facteur scalaire (français)"),
    "scalar_id": ("Scalar factor code: the power of ten", "Code du facteur scalaire : la puissance de dix"),
    "vector": ("Vector", "Vecteur"),
    "vector_id": ("Vector number", "Numéro de vecteur"),
    "coordinate": ("Coordinate: member of each dimension", "Coordonnée : membre de chaque dimension"),
    "value": ("Value", "Valeur"),
    "status": ("Status of the value", "Statut de la valeur"),
    "symbol": ("Symbol of the value", "Symbole de la valeur"),
    "terminated": ("Whether the series is terminated (t)", "Si la série est terminée (t)"),
    "decimals": ("Number of decimals", "Nombre de décimales"),
}

TYPES: Mapping[str, pa.DataType] = {
    "ref_start_date": pa.date32(),
    "ref_end_date": pa.date32(),
    "dguid_valid": pa.bool_(),
    # 32 bits although they are small: Parquet stores nothing smaller, and 10 ** scalar_id must not overflow in a reader.
    "uom_id": pa.int32(),
    "scalar_id": pa.int32(),
    "decimals": pa.int32(),
    "vector_id": pa.int64(),
}


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column of texts: the geography or a dimension. `name` is its column name without the language."""

    index: int
    original: str
    name: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one English full-table CSV.

    Attributes:
        fixed: the upper-case names to their places.
        width: how many columns there are.
    """

    fixed: Mapping[str, int]
    labels: tuple[LabelColumn, ...]
    width: int

    def has(self, name: str) -> bool:
        return name in self.fixed


_FIXED = (
    *REQUIRED,
    *LABELS,
    *("VECTOR", "GEO", "DGUID", "UOM_ID", "SCALAR_ID", "STATUS", "SYMBOL", "TERMINATED", "DECIMALS"),
)


def layout_of(header: tuple[str, ...], file: str, *, census: bool = False) -> Layout:
    """Recognise the columns of an English header.

    Args:
        census: it is a census table that was laid down (statcan_wide), and has no vectors.

    Raises:
        PermanentFailure: columns that every full table has are missing.
    """
    fixed = {name: max(i for i, h in enumerate(header) if h == name) for name in _FIXED if name in header}
    required = REQUIRED if census else (*REQUIRED, "VECTOR")
    missing = [name for name in required if name not in fixed]
    if missing:
        raise PermanentFailure(
            f"the header has no {', '.join(missing)} (it has {', '.join(header[:12])}{'…' if len(header) > 12 else ''})",
            file=file,
            remedy="This is not a Statistics Canada full-table CSV; check the product id in the declaration",
        )
    taken = {"uom", "scalar_factor", "geo"}
    labels = []
    for index, original in enumerate(header):
        if index == fixed.get("GEO"):
            labels.append(LabelColumn(index, original, "geo"))
        elif index not in fixed.values():
            labels.append(LabelColumn(index, original, unique(snake(original), taken)))
    return Layout(fixed, tuple(labels), len(header))


def check_french(layout: Layout, header: tuple[str, ...], file: str) -> None:
    """Prove that the French columns stand where the English ones do.

    Raises:
        PermanentFailure: they do not.
    """
    wrong = [
        f"column {i + 1} is {header[i] if i < len(header) else 'missing'} where {FRENCH[name]} is expected"
        for name, i in layout.fixed.items()
        if name in FRENCH and (i >= len(header) or _plain(header[i]) not in (_plain(FRENCH[name]), _plain(name)))
    ]
    if len(header) != layout.width:
        wrong.append(f"it has {len(header)} columns and the English file {layout.width}")
    if wrong:
        raise PermanentFailure(
            f"the French file does not have the columns of the English one: {'; '.join(wrong)}",
            file=file,
            remedy="The two files are of different releases or tables: fetch the release again",
        )


def snake(name: str) -> str:
    """A column name as lower-case ASCII words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", _plain(name)).strip("_") or "column"


def unique(name: str, taken: set[str]) -> str:
    """The name, numbered when it is taken already; takes it."""
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}_{n}"
    taken.add(candidate)
    return candidate


def output_names(layout: Layout, *, french_labels: bool, french_file: bool) -> Iterable[str]:
    """The columns of the artifact in their order."""
    geo = [c.name for c in layout.labels if c.name == "geo"]
    rest = [c.name for c in layout.labels if c.name != "geo"]
    languages = ("en", "fr") if french_labels else ("en",)
    yield from ("ref_date", "ref_start_date", "ref_end_date", "ref_freq")
    yield from (f"{name}_{lang}" for name in geo for lang in languages)
    if layout.has("DGUID"):
        yield from ("dguid", "dguid_valid")
    yield from (f"{name}_{lang}" for name in rest for lang in languages)
    for label, code in (("UOM", "UOM_ID"), ("SCALAR_FACTOR", "SCALAR_ID")):
        if layout.has(label):
            yield from (f"{label.lower()}_{lang}" for lang in (("en", "fr") if french_file else ("en",)))
        if layout.has(code):
            yield code.lower()
    yield from ("vector", "vector_id") if layout.has("VECTOR") else ()
    yield from ("coordinate", "value")
    yield from (name.lower() for name in ("STATUS", "SYMBOL", "TERMINATED", "DECIMALS") if layout.has(name))


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).replace("’", "'")
