"""Statistics Canada's releases are noticed once, in Eastern time, and never before they are out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import D4CError, PermanentFailure, TransientFailure
from d4c_platform.model.records import Candidate
from d4c_platform.sources.memory import MOST_DAYS, SHARED, Memory
from d4c_platform.sources.registry import Sweep
from d4c_platform.sources.source import EASTERN, Noticed, SourceSettings, Superseded, utc_key
from d4c_platform.sources.statcan import StatCan, StatCanTables
from d4c_platform.sources.wds import eastern_to_utc
from d4c_platform.web import Web
from d4c_platform_tests.sources.conftest import PID, STATCAN, StatCanPublisher, candidate_of, table, utc

WDS = "/t1/wds/rest"
LISTS = f"{WDS}/getChangedCubeList/"


@pytest.fixture
def web(statcan: StatCanPublisher, web_to: Callable[[str, str], Web]) -> Web:
    return web_to(STATCAN, statcan.url)


def seen_at(*moments: str) -> list[Candidate]:
    return [candidate_of(table(), utc_key(utc(m)), utc(m)) for m in moments]


def look(web: Web, now, *seen: str) -> list[Noticed]:
    candidates = seen_at(*seen)
    since = max((c.released_at for c in candidates), default=None)
    return StatCanTables(web).detect(table(), since, candidates, now)


@pytest.mark.parametrize(
    ("said", "utc_text"),
    [
        ("2025-06-11T08:30", "2025-06-11T12:30"),
        ("2025-12-11T08:30", "2025-12-11T13:30"),
        ("2025-03-10T08:30", "2025-03-10T12:30"),
        ("2012-08-01T12:30Z", "2012-08-01T12:30"),
    ],
)
def test_times_without_a_zone_are_eastern_in_every_season(said: str, utc_text: str) -> None:
    assert eastern_to_utc(said) == utc(utc_text)


@given(st.datetimes(timezones=st.just(UTC)).map(lambda m: m.replace(microsecond=0)))
def test_release_keys_sort_by_time(moment) -> None:
    try:
        later = moment + timedelta(seconds=1)
    except OverflowError:
        return
    assert moment.year < 1000 or utc_key(moment) < utc_key(later)


def test_a_table_never_seen_is_noticed_at_its_current_release(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-10T08:30")
    statcan.release("2025-06-11T08:30")
    (noticed,) = look(web, statcan.at("2025-06-11T09:00"))
    assert (noticed.key, noticed.released_at, noticed.vintage_time) == (
        "20250611T123000Z",
        utc("2025-06-11T12:30"),
        date(2025, 6, 11),
    )
    assert noticed.hint["release_time"] == "2025-06-11T08:30:00-04:00"


def test_a_seen_release_is_not_noticed_again(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    assert look(web, statcan.at("2025-06-11T09:00"), "2025-06-11T12:30") == []


def test_a_release_is_not_noticed_before_it_is_out(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-10T08:30")
    statcan.release("2025-06-11T08:30")
    assert look(web, statcan.at("2025-06-11T08:29"), "2025-06-10T12:30") == []


def test_a_list_that_announces_too_early_is_not_believed(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    statcan.at("2025-06-11T09:00")
    assert look(web, utc("2025-06-11T11:00"), "2025-06-10T12:30") == []


def test_a_correction_on_the_same_day_is_a_release_of_its_own(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    statcan.release("2025-06-11T14:00")
    (noticed,) = look(web, statcan.at("2025-06-11T15:00"), "2025-06-11T12:30")
    assert (noticed.key, noticed.vintage_time) == ("20250611T180000Z", date(2025, 6, 11))


def test_after_days_offline_the_newest_release_is_noticed_and_names_those_it_replaced(
    statcan: StatCanPublisher, web: Web
) -> None:
    for day in (9, 10, 11):
        statcan.release(f"2025-06-{day:02}T08:30")
    (noticed,) = look(web, statcan.at("2025-06-14T10:00"), "2025-06-06T12:30")  # the 14th is a Saturday
    assert noticed.key == "20250611T123000Z"
    assert noticed.hint["superseded"] == "20250609T123000Z,20250610T123000Z"


def test_after_months_offline_the_table_itself_is_asked(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    (noticed,) = look(web, statcan.at("2025-06-11T10:00"), "2025-01-06T13:30")
    assert noticed.key == "20250611T123000Z"
    assert statcan.asked("GET", LISTS) == []


def test_a_hundred_tables_ask_for_a_day_once(statcan: StatCanPublisher, web: Web) -> None:
    now, sweep = statcan.at("2025-06-11T10:00"), Sweep(web)
    statcan.release("2025-06-11T08:30")
    statcan.release("2025-06-11T08:30", pid="18100204")
    found = []
    for n in range(100):
        dataset = table(f"{33100000 + n}")
        seen = [candidate_of(dataset, "20250609T123000Z", utc("2025-06-09T12:30"))]
        found += sweep.source(dataset).detect(dataset, seen[0].released_at, seen, now)
    assert len(found) == 1
    assert statcan.asked("GET", LISTS) == [f"GET {LISTS}2025-06-{day:02}" for day in (9, 10, 11)]


@pytest.fixture
def remembering() -> Iterator[SourceSettings]:
    SHARED.forget()
    yield SourceSettings(remember=True)
    SHARED.forget()


def sweep(web: Web, settings: SourceSettings, now, *seen: str) -> list[Noticed]:
    candidates = seen_at(*seen)
    return StatCanTables(web, settings).detect(table(), candidates[-1].released_at, candidates, now)


def test_days_that_are_over_are_asked_for_once_in_a_process(statcan: StatCanPublisher, web: Web, remembering) -> None:
    statcan.release("2025-06-11T08:30")
    for _ in range(3):
        (noticed,) = sweep(web, remembering, statcan.at("2025-06-12T10:00"), "2025-06-10T12:30")
        assert noticed.key == "20250611T123000Z"
    asked = [path.removeprefix(f"GET {LISTS}2025-06-") for path in statcan.asked("GET", LISTS)]
    assert asked == ["10", "11", "12", "12", "12"]


def test_a_past_day_with_an_entry_that_could_not_be_read_is_asked_for_again(
    statcan: StatCanPublisher, web: Web, remembering
) -> None:
    now = statcan.at("2025-06-12T10:00")
    statcan.release("2025-06-11T08:30")
    entry = '{"responseStatusCode": 6, "productId": 33100036, "releaseTime": "2025-06-11T08:30"}'
    statcan.fault(kind="status", path=f"{LISTS}2025-06-11", status=200, body=f'{{"status":"SUCCESS","object":[{entry}]}}')
    assert sweep(web, remembering, now, "2025-06-11T12:00") == []
    assert [n.key for n in sweep(web, remembering, now, "2025-06-11T12:00")] == ["20250611T123000Z"]


def test_a_table_that_rests_is_asked_for_its_state_once_an_hour(statcan: StatCanPublisher, web: Web, remembering) -> None:
    statcan.release("2025-01-06T08:30")
    for clock in ("09:00", "09:05", "09:55"):
        assert sweep(web, remembering, statcan.at(f"2025-06-11T{clock}"), "2025-01-06T13:30") == []
    assert len(statcan.asked("POST", WDS)) == 1
    statcan.release("2025-06-11T08:30")
    (noticed,) = sweep(web, remembering, statcan.at("2025-06-11T10:00"), "2025-01-06T13:30")
    assert noticed.key == "20250611T123000Z"


def test_a_stand_in_is_never_remembered(statcan: StatCanPublisher, web: Web) -> None:
    for _ in range(2):
        sweep(web, SourceSettings(), statcan.at("2025-06-12T10:00"), "2025-06-11T12:30")
    assert len(statcan.asked("GET", f"{LISTS}2025-06-11")) == 2


def test_the_memory_is_bounded_and_keeps_what_is_used() -> None:
    memory, first = Memory(), date(2025, 1, 1)
    for n in range(MOST_DAYS + 10):
        memory.keep_day("a", first + timedelta(days=n), {})
        assert memory.day("a", first) is not None
    assert memory.day("a", first + timedelta(days=1)) is None
    assert memory.day("b", first) is None


@pytest.mark.parametrize("status", [404, 409])
def test_a_day_the_service_does_not_know_yet_has_no_releases(statcan: StatCanPublisher, web: Web, status: int) -> None:
    now = statcan.at("2025-06-11T06:00")
    statcan.fault(kind="status", path=f"{LISTS}2025-06-11", status=status)
    assert look(web, now, "2025-06-10T12:30") == []


def test_a_past_day_that_cannot_be_read_is_an_error_and_not_an_empty_day(statcan: StatCanPublisher, web: Web) -> None:
    now = statcan.at("2025-06-11T10:00")
    statcan.fault(kind="status", path=f"{LISTS}2025-06-10", status=404)
    with pytest.raises(PermanentFailure, match="answered 404"):
        look(web, now, "2025-06-10T12:30")


def test_an_entry_still_being_published_is_left_for_the_next_look(statcan: StatCanPublisher, web: Web) -> None:
    now = statcan.at("2025-06-11T10:00")
    entry = '{"responseStatusCode": 6, "productId": 33100036, "releaseTime": "2025-06-11T08:30"}'
    statcan.fault(kind="status", path=f"{LISTS}2025-06-11", status=200, body=f'{{"status":"SUCCESS","object":[{entry}]}}')
    assert look(web, now, "2025-06-11T12:00") == []
    statcan.release("2025-06-11T08:30")
    assert [n.key for n in look(web, now, "2025-06-11T12:00")] == ["20250611T123000Z"]


def test_a_table_being_published_is_a_transient_failure(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    statcan.at("2025-06-11T07:00")
    with pytest.raises(TransientFailure, match="being published just now"):
        StatCan(web).metadata(PID)


def test_an_unknown_table_is_a_permanent_failure(statcan: StatCanPublisher, web: Web) -> None:
    statcan.at("2025-06-11T07:00")
    with pytest.raises(PermanentFailure, match=r"FAILED \(code 5\)"):
        StatCan(web).metadata("99999999")


def test_a_page_instead_of_json_is_a_transient_failure(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    statcan.at("2025-06-11T09:00")
    statcan.fault(kind="html", path=WDS)
    with pytest.raises(TransientFailure, match="instead of JSON"):
        StatCan(web).metadata(PID)


JSON = st.recursive(
    st.none() | st.integers(-1, 7) | st.sampled_from(["SUCCESS", "FAILED", "2025-06-11T08:30", "x", PID]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "object", "responseStatusCode", "productId", "releaseTime"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_any_answer_ends_in_a_result_or_in_a_sentence(statcan: StatCanPublisher, web: Web, answer: object) -> None:
    def once() -> None:
        statcan.fault(kind="status", path=WDS, status=200, body=json.dumps(answer))

    for ask in (
        lambda: StatCan(web).changed_cubes(date(2025, 6, 11)),
        lambda: StatCanTables(web).detect(table(), None, [], utc("2025-07-01T12:00")),
        lambda: StatCan(web).full_table_url(PID, "en"),
    ):
        once()
        with contextlib.suppress(D4CError):
            ask()


def test_nothing_is_fetched_while_files_are_rebuilt(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    night = statcan.at("2025-06-12T03:00")
    candidate = candidate_of(table(), "20250611T123000Z", utc("2025-06-11T12:30"))
    locked = StatCanTables(web, SourceSettings(statcan_lock=True, clock=lambda: night))
    with pytest.raises(TransientFailure, match="08:35 Eastern") as failure:
        locked.files(table(), candidate)
    assert failure.value.retry_after_s == timedelta(hours=5, minutes=35).total_seconds()
    morning = StatCanTables(web, SourceSettings(statcan_lock=True, clock=lambda: night + timedelta(hours=6)))
    assert [f.name for f in morning.files(table(), candidate)] == [f"{PID}-eng.zip", f"{PID}-fra.zip", f"{PID}.json"]


def test_the_lock_holds_at_the_real_service_only_unless_it_is_asked_for(web: Web) -> None:
    night = utc("2025-06-12T07:00").astimezone(EASTERN)
    settings = SourceSettings(clock=lambda: night)
    with pytest.raises(TransientFailure, match="rebuilt"):
        StatCanTables(Web(), settings)._refuse_while_locked()
    StatCanTables(web, settings)._refuse_while_locked()


def test_a_replaced_release_is_not_fetched_under_its_old_name(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-11T08:30")
    statcan.release("2025-06-12T08:30")
    statcan.at("2025-06-12T09:00")
    with pytest.raises(Superseded, match=r"2025-06-11 08:30 Eastern was replaced by that of 2025-06-12 08:30 Eastern"):
        StatCanTables(web).files(table(), candidate_of(table(), "20250611T123000Z", utc("2025-06-11T12:30")))


def test_an_announced_release_that_is_not_there_yet_is_waited_for(statcan: StatCanPublisher, web: Web) -> None:
    statcan.release("2025-06-10T08:30")
    statcan.at("2025-06-11T09:00")
    with pytest.raises(TransientFailure, match="announced"):
        StatCanTables(web).files(table(), candidate_of(table(), "20250611T123000Z", utc("2025-06-11T12:30")))
