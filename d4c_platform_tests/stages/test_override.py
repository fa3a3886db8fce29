"""A number that says too little is refused; an operator who knows better says so once, with a reason that stays readable."""

from __future__ import annotations

import json

import pytest

from d4c_platform.cli.version import app
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Bump, Manifest, Release, Withdrawal
from d4c_platform.stages.build import Unchanged, archive_release, build_artifact
from d4c_platform.stages.override import override
from d4c_platform_tests.stages.town import FIXED, TREES, Town, csv, town

pytestmark = pytest.mark.usefixtures("there")
# Trees are planted and felled within one vintage, so that the rows decide.
OF_2021 = {
    "id": FIXED,
    "vintage": {"rule": "fixed", "date": "2021"},
    "checks": [{"check": "drift", "limit": 0.5, "reason": {"en": "This is about the number", "fr": "Il s'agit du numéro"}}],
}
REASON = "rows 1 to 4 were listed twice"


@pytest.fixture
def there(tmp_path):
    with town(tmp_path) as found:
        found.declare(**OF_2021)
        yield found


@pytest.fixture
def too_little(there: Town) -> str:
    """A version that lost a quarter of its rows and is numbered as a PATCH."""
    there.publish(there.release(csv(TREES)))
    version = there.release(csv({n: kind for n, kind in TREES.items() if n > 5}))
    assert version.endswith("_v1.0.1")
    return version


def overruled(there: Town, version: str, bump: Bump = Bump.PATCH, reason: str = REASON):
    with there.platform() as platform:
        return override(platform, version, bump, reason)


def test_the_number_is_refused_with_the_evidence_until_an_operator_overrules_it(there, too_little, capsys):
    with pytest.raises(PermanentFailure, match=r"More than 20% of the rows are gone: .*5 removed") as caught:
        there.publish(too_little)
    assert "Declare `version: 2.0.0` or higher" in str(caught.value)
    assert "d4c version override" in str(caught.value)
    app(["override", too_little, "--bump", "patch", "--reason", REASON], exit_on_error=False, result_action="return_value")
    assert "counts as patch" in capsys.readouterr().out
    there.publish(too_little)
    changelog = there.object(f"versions/{too_little}/CHANGELOG.md").read_text()
    assert f"**PATCH**: {REASON}" in changelog
    told = json.loads(there.object(f"versions/{too_little}/changelog.json").read_text())
    assert (told["least_bump"], told["override"]["bump"]) == ("major", "patch")
    with there.platform() as platform:
        assert platform.records.read(Manifest, too_little).changes.override.reason == REASON


def test_a_word_that_says_more_than_the_rule_is_held_against_the_number_too(there):
    there.publish(there.release(csv(TREES)))
    version = there.release(csv(TREES | {1: "elm"}))
    overruled(there, version, Bump.MINOR, "kind is the botanical name from now on")
    with pytest.raises(PermanentFailure, match="An operator counted it as minor, derived was patch: kind is the botanical"):
        there.publish(version)


def test_it_may_be_recorded_anew_until_the_version_is_built(there, too_little):
    overruled(there, too_little, Bump.MAJOR, "a slip")
    overruled(there, too_little)
    there.publish(too_little)
    with pytest.raises(PermanentFailure, match="built already"):
        overruled(there, too_little)


def test_equal_values_are_no_version_unless_an_operator_wants_one(there):
    there.publish(there.release(csv(TREES)))
    reordered = dict(reversed(TREES.items()))  # other bytes, the same values
    unwanted = there.release(csv(reordered))
    with there.platform() as platform:
        archive_release(platform, unwanted)
        assert isinstance(build_artifact(platform, unwanted), Unchanged)
    wanted = there.release(csv(TREES).replace(b"\n", b"\r\n"))
    with there.platform() as platform:
        assert isinstance(archive_release(platform, wanted), Release)
        overruled(there, wanted, reason="the titles of the columns were wrong")
        built = build_artifact(platform, wanted)
        assert isinstance(built, Build)
        assert (built.changes.least_bump, built.changes.override.bump) == ("none", "patch")


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_word_without_a_reason_is_refused(there, too_little, reason):
    with pytest.raises(PermanentFailure, match="needs a reason"):
        overruled(there, too_little, reason=reason)


def test_there_is_nothing_to_overrule_about_a_first_version(there):
    with pytest.raises(PermanentFailure, match="no version before"):
        overruled(there, there.release(csv(TREES)))


def test_a_slip_of_the_pen_becomes_no_record(there, too_little):
    with pytest.raises(PermanentFailure, match="no release was noticed"):
        overruled(there, f"{FIXED}_v7.0.0")
    assert not there.object(f"records/{FIXED}_v7.0.0").exists()


def test_a_withdrawn_version_cannot_be_overruled(there, too_little):
    with there.platform() as platform:
        platform.records.write(Withdrawal(version_id=too_little, reason="no"))
    with pytest.raises(PermanentFailure, match="withdrawn"):
        overruled(there, too_little)


@pytest.mark.parametrize("overruled_first", [True, False])
def test_equal_files_are_no_version_either_unless_an_operator_wants_one(there, overruled_first):
    first = there.release(csv(TREES))
    there.publish(first)
    again = f"{FIXED}_v1.0.1"
    with there.platform() as platform:
        (noticed,) = platform.records.candidates(FIXED)
        platform.records.notice(noticed.model_copy(update={"key": "stamped-anew", "version_id": again}))
        if overruled_first:
            override(platform, again, Bump.PATCH, "the titles of the columns were wrong")
        assert isinstance(archive_release(platform, again), Release if overruled_first else Withdrawal)
