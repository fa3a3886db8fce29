"""A check is tuned or waived with a reason in both languages, or the declaration is refused on its line."""

from __future__ import annotations

import pytest
import yaml

from d4c_platform.datasets.declarations import check_files, load
from d4c_platform.datasets.families import check_families
from d4c_platform.model.checks import ALWAYS, CheckName
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.stages.town import declaration

REASON = {"en": "The publisher drops old years", "fr": "L'éditeur retire les vieilles années"}


def problems(tmp_path, *choices: str) -> list[str]:
    file = tmp_path / "trees.yaml"
    plain = yaml.Dumper
    plain.ignore_aliases = lambda *_: True
    written = yaml.dump(declaration(), Dumper=plain, sort_keys=False, allow_unicode=True)
    file.write_text(written + "checks:\n" + "".join(choices))
    _, found = check_files([file])
    lines = written.count("\n")
    # Lines are told from the one with `checks:`, which is 1.
    return [f"{p.line - lines}: {'.'.join(map(str, p.path))}: {p.what}" for p in found]


def choice(check: str, how: str = "waived: true") -> str:
    return f"  - check: {check}\n    {how}\n    reason: {{en: 'Agreed', fr: 'Convenu'}}\n"


def test_a_waiver_and_a_limit_are_read(tmp_path):
    assert problems(tmp_path, choice("key"), choice("drift", "limit: 0.5")) == []


@pytest.mark.parametrize("check", sorted(set(CheckName) - ALWAYS))
def test_every_other_check_can_be_waived(tmp_path, check):
    assert problems(tmp_path, choice(check)) == []


@pytest.mark.parametrize("check", ["rows", "no_row_lost"])
def test_that_no_row_is_lost_cannot_be_waived(tmp_path, check):
    (told,) = problems(tmp_path, choice(check))
    assert f"the check {check} cannot be waived" in told


def test_an_unknown_check_is_an_error_on_its_line(tmp_path):
    (told,) = problems(tmp_path, choice("key"), choice("row_count"))
    assert told.startswith("5: checks.1.check: 'row_count' is not one of rows, no_row_lost, rejected_rows, ")


@pytest.mark.parametrize(
    ("written", "line", "told"),
    [
        ("  - {check: key, waived: true}\n", 2, "checks.0.reason: it is missing"),
        ("  - {check: key, waived: true, reason: {en: Agreed}}\n", 2, "checks.0.reason.fr: it is missing"),
        ("  - {check: key, waived: true, reason: {en: ' ', fr: Convenu}}\n", 2, "checks.0.reason.en: it is empty"),
        (choice("key", "limit: 0.5"), 3, "checks.0.limit: key has no limit; these have: drift, geometry"),
        (choice("drift", "limit: 20"), 3, "checks.0.limit: 20 is greater than the maximum of 1"),
        (choice("drift", "waived: false"), 2, "checks.0: a check is either waived (waived: true) or tuned"),
        (choice("drift", "waived: true\n    limit: 0.5"), 2, "checks.0: a check is either waived (waived: true) or tuned"),
        (choice("key") + choice("key"), 5, "checks.1.check: key is listed twice"),
        (choice("key", "wavied: true"), 3, "checks.0.wavied: there is no such field; did you mean waived?"),
    ],
)
def test_a_choice_that_says_too_little_or_too_much_is_an_error_on_its_line(tmp_path, written, line, told):
    found = problems(tmp_path, written)
    assert any(f.startswith(f"{line}: {told}") for f in found), found


def test_no_packaged_dataset_waives_a_check_without_anybody_noticing():
    """A waiver in the package is a decision: add it here when it is taken."""
    assert {d.id: [c.check for c in d.checks] for d in load().values() if d.checks} == {}


def test_a_family_tunes_all_its_datasets_and_is_checked_alike(tmp_path):
    packaged = ROOT / "d4c_platform" / "datasets" / "statistical" / "statcan_tables.family.yaml"
    text = packaged.read_text()
    file = tmp_path / "t.family.yaml"
    file.write_text(text + "checks:\n" + choice("drift", "limit: 0.4"))
    families, found = check_families([file])
    assert found == ()
    from d4c_platform.datasets.expansion import template

    (family,) = families.values()
    assert [c.limit for c in template(family, family.areas[0]).checks] == [0.4]
    file.write_text(text + "checks:\n" + choice("key", "limit: 0.4"))
    _, (problem,) = check_families([file])
    assert "key has no limit" in problem.what
    assert problem.line == text.count("\n") + 3
