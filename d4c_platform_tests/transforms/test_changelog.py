"""A changelog says what changed to people in both languages and to programs, with rows to look at, and stays small."""

import json

from d4c_platform.model.records import Bump, Changes, Override, RowChange
from d4c_platform.transforms import changes, diff_sample
from d4c_platform.transforms.changelog import changelog_json, changelog_markdown
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_changes import BASE, BEFORE, SAME_VINTAGE, compare, first, with_row, with_value


def test_it_speaks_both_languages(tmp_path):
    said = changelog_markdown(compare(tmp_path, {**with_row(BASE, id=10), "note": ["x"] * 11}))
    assert "| 1 | rows added | lignes ajoutées |" in said
    assert "columns added: `note` | colonnes ajoutées : `note`" in said
    assert BEFORE in said
    headings = [line for line in said.splitlines() if line.startswith("#")]
    assert all(" | " in line for line in headings)
    assert "Première version" in changelog_markdown(changes.compare(r.table_dataset(), BEFORE, tmp_path, None, None))


def test_a_changed_row_is_shown_before_and_after(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 3, 9.0))
    assert found.sample == (RowChange(change="changed", key={"id": "3"}, before={"value": "1.5"}, after={"value": "9.0"}),)
    said = changelog_markdown(found)
    assert "| id 3 | `value` | 1.5 | 9.0 |" in said
    assert "| `value` | 1 |" in said


def test_added_and_removed_rows_are_shown_whole(tmp_path):
    found = compare(tmp_path, with_row(first(BASE, 9), id=99, name="new"))
    added, removed = found.sample
    assert (added.change, added.key, added.after["name"]) == ("added", {"id": "99"}, "new")
    assert (removed.change, removed.key, removed.before["name"]) == ("removed", {"id": "9"}, "n9")
    said = changelog_markdown(found)
    assert "| 99 | new |" in said
    assert "### Removed | Retirées" in said


def test_without_a_key_whole_rows_are_shown(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 3, 9.0), key=())
    assert [(row.change, row.key) for row in found.sample] == [("added", {}), ("removed", {})]
    assert found.sample[0].after["value"] == "9.0"


def test_the_sample_is_bounded_and_the_first_by_key(tmp_path):
    columns = {**BASE, "value": [-v - 1 for v in BASE["value"]], "name": ["x" * 5000] * 10}
    for i in range(100, 140):
        columns = with_row(columns, id=i)
    found = compare(tmp_path, columns)
    assert found.rows_added == 40
    changed = [row for row in found.sample if row.change == "changed"]
    assert [row.key["id"] for row in changed] == [str(i) for i in range(10)]
    assert len([row for row in found.sample if row.change == "added"]) == diff_sample.ROWS
    assert all(len(row.after["name"]) == diff_sample.LETTERS for row in changed)
    assert len(changelog_json(SAME_VINTAGE, found)) < 20_000


def test_a_value_that_looks_alike_is_still_told_to_differ(tmp_path):
    long = "x" * 200
    before = {**BASE, "name": [long + "a"] * 10}
    (row,) = compare(tmp_path, with_value(before, "name", 0, long + "b"), before=before).sample
    assert set(row.after) == {"name"}


def test_programs_read_the_same(tmp_path):
    found = compare(tmp_path, with_value(BASE, "value", 3, 9.0))
    said = json.loads(changelog_json(SAME_VINTAGE, found))
    assert said["version"] == SAME_VINTAGE
    assert said["changed_by_column"] == {"value": 1}
    assert Changes.model_validate({k: v for k, v in said.items() if k != "version"}) == found


def test_a_retyped_column_says_from_what_to_what(tmp_path):
    import pyarrow as pa

    from d4c_platform_tests.transforms.test_changes import TYPES

    found = compare(tmp_path, BASE, types={**TYPES, "uom_id": pa.int64()})
    assert found.types_changed == {"uom_id": ("int32", "int64")}
    assert "| `uom_id` | int32 | int64 |" in changelog_markdown(found)


def test_an_operators_word_stands_beside_what_was_derived(tmp_path):
    found = compare(tmp_path, first(BASE, 7))
    decided = found.model_copy(update={"override": Override(bump=Bump.PATCH, reason="they were duplicates")})
    assert (decided.least_bump, decided.bump) == ("major", "patch")
    said = changelog_markdown(decided)
    assert "Changement de version minimal : **MAJOR**" in said
    assert "## Decided by an operator | Décidé par un opérateur\n\n**PATCH**: they were duplicates" in said
    assert json.loads(changelog_json(SAME_VINTAGE, decided))["override"] == {"bump": "patch", "reason": "they were duplicates"}


def test_values_cannot_break_the_table(tmp_path):
    said = changelog_markdown(compare(tmp_path, with_value(BASE, "name", 3, "a|b\n# `c` <script>")))
    assert r"a\|b # \`c\` \<script>" in said
