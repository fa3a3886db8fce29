"""A Statistics Canada full-table release to one typed, sorted, bilingual Parquet table.

The CSV streams out of its zip while its shape is proved (csv_shape), DuckDB reads it once as text into a file of its own,
and everything after is SQL over that: types, periods, labels, one sort, one stream into the writer. Nothing is held whole;
nothing is guessed. What the publisher wrote stays: STATUS, SYMBOL, DGUID and COORDINATE verbatim, suppressed values null. A
row that cannot be read is kept apart and counted (rejects).

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
from d4c_platform.transforms.engine import BATCH_ROWS, engine
from d4c_platform.transforms.logical_hash import canonical_order
from d4c_platform.transforms.rejects import REJECTS, Rejects
from d4c_platform.transforms.statcan_columns import TITLES, TYPES, Layout, layout_of, output_names
from d4c_platform.transforms.statcan_members import MEMBERS
from d4c_platform.transforms.statcan_stage import stage, stage_members, stage_periods
from d4c_platform.transforms.statcan_wide import is_wide, lay_down

SORTED_BY = ("vector_id", "ref_start_date", "ref_date")


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
        staged = stage(sql, "en", english, workdir, rejects)
        census = is_wide(staged.shape.header)
        if census:
            staged = lay_down(sql, staged)
        layout = layout_of(staged.shape.header, staged.name, census=census)
        sorted_by = SORTED_BY if layout.has("VECTOR") else SORTED_BY[1:]
        # Of a census table a line is as many rows as it has values.
        ragged = len(staged.shape.rejected) * staged.rows_a_record
        unreadable = statcan_select.reject_unreadable(sql, staged, layout, rejects)
        figures = statcan_select.figures(sql, layout)
        stage_periods(sql, layout, metadata.frequency_code if metadata else None)
        positions = stage_members(sql, layout, metadata, staged) if metadata else ()
        if french:
            other = stage(sql, "fr", french, workdir, rejects)
            statcan_french.stage_and_prove(sql, layout, staged, lay_down(sql, other) if census else other)
        names = tuple(output_names(layout, french_labels=bool(metadata or french), french_file=bool(french)))
        columns = _columns(dataset, names, layout, metadata, integral=figures.integral)
        select = statcan_select.select(layout, columns, positions=positions, french_file=bool(french))
        reader = sql.execute(select).to_arrow_reader(BATCH_ROWS)
        path = workdir / f"{version_id}.parquet"
        written = parquet.write(
            path,
            columns,
            reader,
            expected_rows=staged.shape.records,
            order=canonical_order((*sorted_by, "coordinate"), names),
            facts=parquet.describe(dataset, version_id),
            sorted_by=sorted_by,
        )
        counts = {
            "source_rows": staged.shape.records + ragged,
            "rejected_rows": ragged + unreadable,
            **figures.counts,
            "unresolved_periods": statcan_select.unresolved_periods(sql, layout),
            **statcan_select.label_counts(sql, layout, positions, french_file=bool(french)),
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
        columns.append(parquet.Column(name, types.get(name, pa.string()), en, fr, original, encoding))
    return tuple(columns)
