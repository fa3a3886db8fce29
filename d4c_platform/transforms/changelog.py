"""The changelog of a version, for people (Markdown, English and French) and for programs (JSON).

Both say the same and come from `Changes` alone, so they can be written again from the records at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from d4c_platform.model.records import Changes, RowChange

TITLE = "# Changelog | Journal des modifications"
SAMPLED = {
    "changed": "### Changed | Modifiées",
    "added": "### Added | Ajoutées",
    "removed": "### Removed | Retirées",
}


def changelog_json(version_id: str, changes: Changes) -> str:
    """The changes as one JSON object."""
    said = {"version": version_id, **changes.model_dump(mode="json")}
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def changelog_markdown(changes: Changes) -> str:
    """The changes as Markdown, in both languages."""
    if changes.least_bump == "first":
        return f"{TITLE}\n\nFirst version. | Première version.\n"
    return "\n".join(_lines(changes)) + "\n"


def _lines(changes: Changes) -> Iterator[str]:
    yield from (TITLE, "", f"Since | Depuis : `{changes.predecessor}`", "")
    yield from ("| | Change | Modification |", "|---:|---|---|")
    yield f"| {changes.rows_added:,} | rows added | lignes ajoutées |"
    yield f"| {changes.rows_removed:,} | rows removed | lignes retirées |"
    yield f"| {changes.rows_changed:,} | rows changed | lignes modifiées |"
    if changes.rows_before or changes.rows_after:
        yield f"| {changes.rows_after:,} | rows now, {changes.rows_before:,} before | lignes, {changes.rows_before:,} avant |"
    yield from _columns(changes.columns_added, "columns added", "colonnes ajoutées")
    yield from _columns(changes.columns_removed, "columns removed", "colonnes retirées")
    yield from _columns(changes.columns_retyped, "columns retyped", "colonnes dont le type a changé")
    yield from ("", f"Least version change | Changement de version minimal : **{changes.least_bump.upper()}**", "")
    if changes.override is not None:
        yield "## Decided by an operator | Décidé par un opérateur"
        yield from ("", f"**{changes.override.bump.upper()}**: {_cell(changes.override.reason)}", "")
    yield from ("## Evidence | Preuves", "", *(f"- {sentence}" for sentence in changes.evidence))
    if changes.types_changed:
        yield from ("", "## Types | Types", "", "| Column / Colonne | Before / Avant | Now / Maintenant |", "|---|---|---|")
        yield from (f"| `{c}` | {before} | {now} |" for c, (before, now) in changes.types_changed.items())
    if changes.changed_by_column:
        yield from ("", "## Changed values by column | Valeurs modifiées par colonne", "")
        yield from ("| Column / Colonne | Rows / Lignes |", "|---|---:|")
        yield from (f"| `{c}` | {n:,} |" for c, n in sorted(changes.changed_by_column.items()))
    if changes.sample:
        yield from ("", "## Sample | Échantillon")
        for kind, heading in SAMPLED.items():
            yield from _sampled(heading, [r for r in changes.sample if r.change == kind])


def _columns(names: tuple[str, ...], en: str, fr: str) -> Iterator[str]:
    if names:
        shown = ", ".join(f"`{name}`" for name in names)
        yield f"| {len(names)} | {en}: {shown} | {fr} : {shown} |"


def _sampled(heading: str, rows: list[RowChange]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", heading, "")
    if rows[0].change == "changed":
        yield from ("| Row / Ligne | Column / Colonne | Before / Avant | Now / Maintenant |", "|---|---|---|---|")
        for row in rows:
            for column, before in row.before.items():
                yield f"| {_row(row)} | `{column}` | {_cell(before)} | {_cell(row.after[column])} |"
        return
    columns = list(rows[0].after or rows[0].before)
    yield from (_table_row(f"`{c}`" for c in columns), "|" + "---|" * len(columns))
    for row in rows:
        yield _table_row(_cell(value) for value in (row.after or row.before).values())


def _row(row: RowChange) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in row.key.items())


def _table_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str | None) -> str:
    """A value that breaks out of no table and becomes no markup."""
    if value is None:
        return "∅"
    text = " ".join(value.split())
    for mark in ("\\", "|", "`", "*", "_", "[", "<"):
        text = text.replace(mark, f"\\{mark}")
    return text or "“”"
