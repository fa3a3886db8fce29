"""A Statistics Canada full-table release to one typed, sorted, bilingual Parquet table.

The CSV streams out of its zip into narrow rows, and what repeats – the names of series, notes, dates – is kept apart, once
(statcan_rows). That little is typed, labelled and sorted (statcan_select); then the rows are sorted, and both are put
together as they are written (statcan_merge). Nothing is held whole; nothing is guessed. What the publisher wrote stays:
STATUS, SYMBOL, DGUID and COORDINATE verbatim, suppressed values null. A row that cannot be read is kept apart and counted
(rejects).

Not here: what a REF_DATE means (statcan_periods), which column is what (statcan_columns), the French file (statcan_french),
census tables, whose last dimension lies across the page (statcan_wide).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import parquet, statcan_french, statcan_members, statcan_metadata, statcan_select
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.engine import engine
from d4c_platform.transforms.logical_hash import canonical_order
from d4c_platform.transforms.rejects import REJECTS, Rejects
from d4c_platform.transforms.statcan_columns import TITLES, TYPES, Layout, output_names
from d4c_platform.transforms.statcan_meaning import stage_members, stage_periods
from d4c_platform.transforms.statcan_members import MEMBERS
from d4c_platform.transforms.statcan_merge import Parts, groups
from d4c_platform.transforms.statcan_rows import stage_english, stage_french

BY_SERIES = ("vector_id", "ref_start_date", "ref_date")
BY_COORDINATE = ("coordinate", "ref_start_date", "ref_date")  # of a table where a row has no vector


def build(dataset: Dataset, version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the table.

    Args:
        raw: `…-eng.zip`, and when they were archived `…-fra.zip` and the metadata `….json`.

    Raises:
        PermanentFailure: a file is not what it should be, or the two languages disagree.
    """
    english, french, described = _files(raw)
    metadata = statcan_metadata.read(described) if described else None
    with engine(workdir) as sql, Rejects(workdir / REJECTS) as rejects:
        rows = stage_english(sql, english, workdir, rejects)
        figures = statcan_select.figures(sql, rows)
        periods = stage_periods(sql, metadata.frequency_code if metadata else None)
        positions = stage_members(sql, rows.layout, metadata, rows.staged.name) if metadata else ()
        if french:
            statcan_french.prove(sql, rows, stage_french(sql, french, workdir, rejects, rows))
        names = tuple(output_names(rows.layout, french_labels=bool(metadata or french), french_file=bool(french)))
        columns = _columns(dataset, names, rows.layout, metadata, integral=figures.integral)
        made = statcan_select.make(rows, positions, french_file=bool(french))
        sorted_by = BY_SERIES if statcan_select.every_row_has_a_vector(sql, rows.layout) else BY_COORDINATE
        statcan_select.sort_series(sql, rows, made, columns, sorted_by[0], positions, french_file=bool(french))
        parts = Parts(periods, statcan_select.notes(sql, made, columns))
        path = workdir / f"{version_id}.parquet"
        expected = rows.source_rows - rows.rejected
        written = parquet.write(
            path,
            columns,
            groups(sql, columns, parts, parquet.rows_per_group(expected)),
            expected_rows=expected,
            order=canonical_order((*sorted_by, "coordinate"), names),
            facts=parquet.describe(dataset, version_id),
            sorted_by=sorted_by,
        )
        counts = {
            "source_rows": rows.source_rows,
            "rejected_rows": rows.rejected,
            **figures.counts,
            "unresolved_periods": statcan_select.unresolved_periods(sql),
            **statcan_select.label_counts(sql, rows, positions, french_file=bool(french)),
        }
        beside = {REJECTS: rejects.path} if rejects.path else {}
        if metadata:
            beside[MEMBERS] = statcan_members.write(workdir / MEMBERS, dataset, version_id, metadata)
        if metadata and metadata.data_points is not None:
            counts["publisher_rows"] = metadata.data_points
        return BuiltFile(
            path=path,
            rows=written.rows,
            columns=written.columns,
            logical_hash=written.logical_hash,
            key=dataset.key,
            period=statcan_select.period(sql),
            counts=MappingProxyType(dict(sorted(counts.items()))),
            beside=MappingProxyType(beside),
        )


def _files(raw: Mapping[str, Path]) -> tuple[Path, Path | None, Path | None]:
    """The English zip, the French zip, the metadata."""
    zips = [path for name, path in sorted(raw.items()) if name.lower().endswith(".zip")]
    french = [p for p in zips if p.name.lower().endswith(("-fra.zip", "_fra.zip", "-fr.zip"))]
    english = [p for p in zips if p not in french]
    described = [path for name, path in sorted(raw.items()) if name.lower().endswith(".json")]
    if len(english) != 1 or len(french) > 1 or len(described) > 1:
        raise PermanentFailure(
            f"a table's release is one English zip, at most one French zip and at most one metadata file, not {sorted(raw)}",
            file=", ".join(sorted(raw)) or None,
            remedy="Archive the release again",
        )
    return english[0], next(iter(french), None), next(iter(described), None)


def _columns(
    dataset: Dataset,
    names: tuple[str, ...],
    layout: Layout,
    metadata: statcan_metadata.TableMetadata | None,
    *,
    integral: bool,
) -> tuple[parquet.Column, ...]:
    """The columns to write: a title is the declaration's, else ours, else the publisher's own name of the dimension."""
    declared = {c.name: c for c in dataset.columns}
    whole = integral and not ("value" in declared and declared["value"].type == "double")
    types = {**TYPES, "value": pa.int64() if whole else pa.float64()}
    originals = {i.lower(): i for i in layout.fixed} | {
        f"{c.name}_{lang}": c.original for c in layout.labels for lang in ("en", "fr")
    }
    french_names = {d.en.casefold(): d.fr for d in metadata.dimensions} if metadata else {}
    columns = []
    for name in names:
        original = originals.get(name) or originals.get(name.removesuffix("_en").removesuffix("_fr"))
        if name in declared:
            en, fr = declared[name].title.en, declared[name].title.fr
        elif name in TITLES:
            en, fr = TITLES[name]
        else:
            french_name = french_names.get(str(original).casefold(), str(original))
            en, fr = (f"{original} (English)", f"{french_name} (anglais)")
            if name.endswith("_fr"):
                en, fr = (f"{original} (French)", f"{french_name} (français)")
        # Sorted by series and date, a date shares most of its text with the one before.
        encoding = "DELTA_BYTE_ARRAY" if name == "ref_date" else None
        kind = types.get(name, pa.string())
        columns.append(parquet.Column(name, kind, en, fr, original, encoding, coded=kind == pa.string() and not encoding))
    return tuple(columns)
