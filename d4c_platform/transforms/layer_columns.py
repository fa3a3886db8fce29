"""The attribute columns of a layer: lower-case names, the publisher's types, and the DGUID where the rule is declared."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

import pyarrow as pa

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.geo import GEOMETRY
from d4c_platform.transforms.logical_hash import COVERING
from d4c_platform.transforms.parquet import Column
from d4c_platform.transforms.statcan_columns import unique

DGUID_COLUMN = "dguid"


@dataclass(frozen=True, slots=True)
class LayerColumn:
    """One column to write, and the source column it comes from; None when it is made (the DGUID)."""

    column: Column
    source: str | None


def columns_of(schema: pa.Schema, geometry: str, dataset: Dataset, dguid: str | None, file: str) -> tuple[LayerColumn, ...]:
    """The attribute columns in their order.

    Raises:
        PermanentFailure: the DGUID rule names a column that is not there, or would hide one that is.
    """
    declared = {c.name: c for c in dataset.columns}
    taken = {GEOMETRY, COVERING}
    columns = []
    for field in schema:
        if field.name == geometry:
            continue
        name = unique(field.name.lower() or "column", taken)
        original = (field.metadata or {}).get(b"original_name", field.name.encode()).decode()
        en, fr = (declared[name].title.en, declared[name].title.fr) if name in declared else (original, original)
        columns.append(LayerColumn(Column(name, field.type, en, fr, original), field.name))
    if dguid:
        if DGUID_COLUMN in taken:
            raise PermanentFailure(
                "the layer has a DGUID column of its own",
                file=file,
                remedy="Remove `dguid` from the transform in the declaration",
            )
        absent = [name for name in _fields(dguid) if name not in schema.names]
        if absent:
            raise PermanentFailure(
                f"the DGUID is declared as {dguid}, but there is no column {', '.join(absent)} (there are"
                f" {', '.join(c.source or '' for c in columns)})",
                file=file,
                remedy="Correct `dguid` in the declaration",
            )
        titles = declared[DGUID_COLUMN].title if DGUID_COLUMN in declared else None
        en = titles.en if titles else "Dissemination geography unique identifier"
        fr = titles.fr if titles else "Identificateur unique des géographies de diffusion"
        columns.append(LayerColumn(Column(DGUID_COLUMN, pa.string(), en, fr), None))
    return tuple(columns)


def dguids(batch: pa.RecordBatch, template: str, file: str) -> pa.Array:
    """The DGUID of each row by the declared rule; null where a part of it is null.

    Raises:
        PermanentFailure: the rule is no template.
    """
    names = _fields(template)
    parts = [batch.column(name).to_pylist() for name in names]
    try:
        made = [
            None if any(v is None for v in row) else template.format(**dict(zip(names, row, strict=True)))
            for row in zip(*parts, strict=True)
        ]
    except (ValueError, LookupError) as error:
        raise PermanentFailure(
            f"the DGUID rule {template} is no template ({error})", file=file, remedy="Correct `dguid` in the declaration"
        ) from error
    return pa.array(made if names else [template] * batch.num_rows, pa.string())


def _fields(template: str) -> list[str]:
    try:
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name))
    except ValueError as error:
        raise PermanentFailure(
            f"the DGUID rule {template} is no template ({error})", remedy="Correct the declaration"
        ) from error
