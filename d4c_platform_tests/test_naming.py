"""The naming convention: what reads, what it means, what is refused and where the error points."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from d4c_platform.model.dataset import DataPackage
from d4c_platform.naming import (
    PACKAGES,
    BadName,
    Name,
    Segment,
    SemVer,
    dataset_id_of,
    order_key,
    parse,
    read_date,
    version_id,
)
from d4c_platform.naming.dates import looks_like_date
from d4c_platform.naming.vocabulary import EXTENSIONS, PROVINCES, WRAPPERS, tells_projection

TABLE = "ca_statcan-2021A000011124_d4c-datapkg-statistical_33100036"

# -- strategies -------------------------------------------------------------------------------------------------------

slugs = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,4})?", fullmatch=True)
name_segments = slugs.filter(
    lambda s: not (read_date(s) or looks_like_date(s) or tells_projection(s, words_too=True) or s.startswith("v"))
)
days = st.dates(date(1600, 1, 1), date(2190, 12, 31))
dates = st.one_of(
    days.map(lambda d: f"{d.year}"),
    days.map(lambda d: f"{d:%Y-%m}"),
    days.map(lambda d: f"{d:%Y-%m-%d}"),
    days.map(lambda d: f"{d:%Y-%j}"),
    days.map(lambda d: "{}-W{:02}".format(*d.isocalendar())),
    days.map(lambda d: "{}-W{:02}-{}".format(*d.isocalendar())),
    st.tuples(days, st.sampled_from(["09", "0930", "093015", "093015Z"])).map(lambda t: f"{t[0]:%Y-%m-%d}T{t[1]}"),
)
numbers = st.integers(0, 30)
pre_releases = st.lists(st.from_regex(r"0|[1-9][0-9]{0,2}|[a-z-][a-z0-9-]{0,4}", fullmatch=True), max_size=3).filter(
    lambda ids: not ids or ids[-1] not in EXTENSIONS | WRAPPERS
)
semvers = st.builds(SemVer, numbers, numbers, numbers, pre_releases.map(tuple))
regions = st.sampled_from(["ca", "us-ca", "fr-971", "gb", *(f"ca-{p}" for p in PROVINCES)])
sources = st.from_regex(r"[a-z]{2,8}(-[a-z]{2,6}){0,2}", fullmatch=True)
dguids = st.from_regex(r"20(16|21)[ASCBZ]000[0-9][0-9]{2,7}", fullmatch=True)
exts = st.sampled_from([None, "parquet", "pmtiles", "csv.gz", "fgdb.zip", "parquet.torrent", "zip", "torrent"])


@st.composite
def names(draw: st.DrawFn, *, dated: bool | None = None, versioned: bool | None = None) -> Name:
    dated = draw(st.booleans()) if dated is None else dated
    versioned = draw(st.booleans()) if versioned is None else versioned
    return Name(
        region=draw(regions),
        source=draw(sources),
        dguid=draw(dguids),
        package=draw(st.sampled_from(PACKAGES)),
        name=tuple(draw(st.lists(name_segments, max_size=3))),
        date=draw(dates) if dated else None,
        variant=tuple(draw(st.lists(name_segments, max_size=2))) if dated else (),
        version=draw(semvers) if versioned else None,
        ext=draw(exts),
    )


# -- what D4C has published reads ---------------------------------------------------------------------------------------


def test_an_underscore_between_source_and_dguid_is_read_and_a_hyphen_written():
    name = parse("ca_statcan_2021A000011124_d4c-datapkg-statistical_census_divisions_digital_2021_v0.1.0-beta")
    assert (name.source, name.dguid, name.name, name.date) == (
        "statcan",
        "2021A000011124",
        ("census", "divisions", "digital"),
        "2021",
    )
    assert str(name) == "ca_statcan-2021A000011124_d4c-datapkg-statistical_census_divisions_digital_2021_v0.1.0-beta"


def test_a_source_with_hyphens_keeps_them():
    name = parse("ca-ab_red-deer-2024A00054808011_d4c-datapkg-orthoimagery_2024_075mm_v0.1.0-beta.pmtiles")
    assert (name.region, name.source, name.dguid) == ("ca-ab", "red-deer", "2024A00054808011")
    assert (name.name, name.date, name.variant, str(name.version), name.ext) == (
        (),
        "2024",
        ("075mm",),
        "0.1.0-beta",
        "pmtiles",
    )


def test_a_name_may_have_neither_name_nor_version():
    name = parse("ca_versatiles-2021A000011124_d4c-datapkg-orthoimagery_2025-08-10")
    assert (name.name, name.date, name.version, name.ext) == ((), "2025-08-10", None, None)


def test_a_package_without_its_prefix_is_read_as_in_the_first_torrents():
    name = parse("ca-yt_whitehorse-2019A000556001009_orthoimagery_2019_200mm.pmtiles.torrent")
    assert str(name) == "ca-yt_whitehorse-2019A000556001009_d4c-datapkg-orthoimagery_2019_200mm.pmtiles.torrent"


def test_a_lower_case_type_letter_is_written_upper_case():
    assert parse("ca_statcan-2021a000011124_d4c-datapkg-statistical_33100036").stem == TABLE


def test_colons_in_a_time_are_read_and_left_out_when_written():
    assert parse(f"{TABLE}_2026-02-11T19:50:58").date == "2026-02-11T195058"
    assert parse(f"{TABLE}_20260211t195058z").date == "2026-02-11T195058Z"


@given(names())
def test_a_name_reads_back_as_itself(name: Name):
    assert parse(str(name)) == name
    assert str(parse(str(name))) == str(name)


# -- which segment is the date ------------------------------------------------------------------------------------------


def test_a_product_id_is_never_a_date_even_when_its_digits_could_be():
    assert read_date("18100204") is None
    assert parse("ca_statcan-2021A000011124_d4c-datapkg-statistical_18100204").date is None


def test_the_last_date_is_the_date_and_an_earlier_year_is_part_of_the_name():
    name = parse("ca_statcan-2021A000011124_d4c-datapkg-statistical_census_2016_to_2021-05_30cm_v1.0.0")
    assert (name.name, name.date, name.variant) == (("census", "2016", "to"), "2021-05", ("30cm",))


@pytest.mark.parametrize(
    "text", ["1999", "2024-02", "2024-02-29", "2024-W53", "2020-W53-7", "2024-366", "2024-02-29T23", "2024-02-29T235959Z"]
)
def test_iso_dates_of_every_precision_are_dates(text: str):
    assert (read_date(text) is not None) == (text != "2024-W53")  # 2024 has 52 ISO weeks


@pytest.mark.parametrize(
    "text", ["2023-02-29", "2023-13", "2023-366", "0999", "2200", "075mm", "2023-1", "2023-06-01T25", "2023-06T10", "٢٠٢١"]
)
def test_what_is_not_in_the_calendar_is_no_date(text: str):
    assert read_date(text) is None


# -- what is wrong is pointed at ----------------------------------------------------------------------------------------

BAD = [
    ("", Segment.TEXT, ""),
    ("raw/" + TABLE, Segment.TEXT, "raw/"),
    (TABLE.replace("ca_", "CA_", 1), Segment.REGION, "CA"),
    (TABLE.replace("ca_", "xx_", 1), Segment.REGION, "xx"),
    (TABLE.replace("ca_", "ca-xx_", 1), Segment.REGION, "ca-xx"),
    ("ca", Segment.SOURCE, ""),
    ("ca_d4c-datapkg-statistical_x", Segment.SOURCE, ""),
    (TABLE.replace("statcan-", ""), Segment.SOURCE, "2021A000011124"),
    (TABLE.replace("statcan", "StatCan"), Segment.SOURCE, "StatCan"),
    (TABLE.replace("statcan", "red_deer"), Segment.SOURCE, "red_deer-2021A000011124"),
    (TABLE.replace("-2021A000011124", ""), Segment.DGUID, "statcan"),
    (TABLE.replace("2021A", "2021E"), Segment.DGUID, "2021E000011124"),
    (TABLE.replace("-2021A000011124", "_2021A00"), Segment.DGUID, "2021A00"),
    (TABLE.replace("2021A000011124", "2021A0000"), Segment.DGUID, "2021A0000"),
    (TABLE.replace("2021A000011124", "2021A0000123456789012"), Segment.DGUID, "2021A0000123456789012"),
    ("ca_statcan-2021A000011124", Segment.PACKAGE, ""),
    (TABLE.replace("statistical", "statistics"), Segment.PACKAGE, "d4c-datapkg-statistics"),
    (TABLE.replace("_d4c-datapkg-statistical", ""), Segment.PACKAGE, "33100036"),
    (TABLE + "_Montréal", Segment.NAME, "Montréal"),
    (TABLE + "__wards", Segment.NAME, "__"),
    (TABLE + "_", Segment.NAME, "_"),
    (TABLE + "_wgs84", Segment.NAME, "wgs84"),
    (TABLE + "_2021-13-01", Segment.DATE, "2021-13-01"),
    (TABLE + "_2021_2022-02-30", Segment.DATE, "2022-02-30"),
    (TABLE + "_2021_30 cm", Segment.VARIANT, "30 cm"),
    (TABLE + "_2021_epsg3347", Segment.VARIANT, "epsg3347"),
    (TABLE + "_2021_lambert", Segment.VARIANT, "lambert"),
    (TABLE + "_2021_075mm-utm17_v1.0.0", Segment.VARIANT, "075mm-utm17"),
    (TABLE + "_2021_nad83-csrs", Segment.VARIANT, "nad83-csrs"),
    (TABLE + "_2021_v1.0.0_30cm", Segment.VERSION, "v1.0.0"),
    (TABLE + "_2021_v1.0", Segment.VERSION, "v1.0"),
    (TABLE + "_2021_V1.0.0", Segment.VERSION, "V1.0.0"),
    (TABLE + "_2021_1.0.0", Segment.VERSION, "1.0.0"),
    (TABLE + "_2021_v01.0.0", Segment.VERSION, "v01.0.0"),
    (TABLE + "_2021_v1.0.0+build.parquet", Segment.VERSION, "v1.0.0+build"),
    (TABLE + "_2021_v1.0.0-beta..1", Segment.VERSION, "v1.0.0-beta..1"),
    (TABLE + "_2021_v1.0.0.PARQUET", Segment.EXT, ".PARQUET"),
    (TABLE + "_2021_v1.0.0.xyz", Segment.EXT, ".xyz"),
    (TABLE + "_2021_v1.0.0-beta.parquet.csv", Segment.EXT, ".parquet"),
    (TABLE + "_2021.xyz", Segment.EXT, ".xyz"),
    (TABLE + "_" + "a" * 300, Segment.TEXT, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "segment", "part"), BAD)
def test_a_bad_name_points_at_the_segment_that_is_wrong(text: str, segment: Segment, part: str | None):
    with pytest.raises(BadName) as caught:
        parse(text)
    error = caught.value
    assert error.segment is segment
    assert part is None or error.part == part
    assert 0 <= error.start <= error.end <= len(text)


def test_the_caret_line_stands_under_the_offending_part():
    with pytest.raises(BadName) as caught:
        parse(f"{TABLE}_2021_v1.0")
    text, carets = str(caught.value).splitlines()[-2:]
    assert text == f"{TABLE}_2021_v1.0"
    assert carets == " " * text.index("v1.0") + "^^^^"


@pytest.mark.parametrize(("text", "segment", "part"), BAD)
def test_a_suggestion_put_in_place_of_the_part_cures_that_part(text: str, segment: Segment, part: str | None):
    with pytest.raises(BadName) as caught:
        parse(text)
    error = caught.value
    if error.suggestion is None:
        return
    cured = text[: error.start] + error.suggestion + text[error.end :]
    try:
        parse(cured)
        next_start = len(cured)
    except BadName as another:
        next_start = another.start
    assert next_start > error.start  # another part may be wrong too, further on


@given(names(dated=True, versioned=True), st.data())
def test_junk_in_any_segment_is_an_error_that_points_into_the_text(name: Name, data: st.DataObject):
    text = str(name)
    at = data.draw(st.integers(0, len(text)))
    junk = data.draw(st.sampled_from("#é %/\t!"))
    with pytest.raises(BadName) as caught:
        parse(text[:at] + junk + text[at:])
    assert 0 <= caught.value.start <= caught.value.end <= len(text) + 1


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_a_bad_name(text: str):
    try:
        name, error = parse(text), None
    except BadName as caught:
        name, error = None, caught
    assert error is None or 0 <= error.start <= error.end <= len(text)
    assert name is None or parse(str(name)) == name


# -- a Name that would not read back cannot be made ---------------------------------------------------------------------

WHOLE = parse(f"{TABLE}_2021_30cm_v1.0.0.parquet")


@pytest.mark.parametrize(
    ("change", "segment"),
    [
        ({"date": None}, Segment.NAME),
        ({"date": "2021-5"}, Segment.DATE),
        ({"variant": ("2020",)}, Segment.NAME),
        ({"variant": ("a_b",)}, Segment.VARIANT),
        ({"dguid": "2021a000011124"}, Segment.DGUID),
        ({"package": "statistical"}, Segment.PACKAGE),
        ({"ext": "xyz"}, None),
        ({"region": "ca_on"}, None),
    ],
)
def test_a_name_that_would_be_read_differently_cannot_be_made(change: dict[str, object], segment: Segment | None):
    with pytest.raises(BadName) as caught:
        dataclasses.replace(WHOLE, **change)
    assert segment is None or caught.value.segment is segment


def test_the_packages_are_those_of_the_model():
    assert set(PACKAGES) == set(DataPackage)


# -- SemVer -------------------------------------------------------------------------------------------------------------


def test_semver_precedence_is_that_of_the_specification():
    order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
    ]
    assert [str(v) for v in sorted(map(SemVer.parse, reversed(order)))] == order


@pytest.mark.parametrize(
    "text", ["1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+b", "1.0.0-é", "", " 1.0.0"]
)
def test_what_is_not_semver_is_refused(text: str):
    with pytest.raises(BadName):
        SemVer.parse(text)


def test_the_next_patch_of_a_beta_is_a_beta():
    assert str(SemVer.parse("0.1.0-beta").bump_patch()) == "0.1.1-beta"


@given(semvers)
def test_a_bump_always_comes_later(version: SemVer):
    assert version.bump_patch() > version


@given(semvers, semvers)
def test_semver_order_is_total(a: SemVer, b: SemVer):
    assert (a < b) + (b < a) + (a == b) == 1


# -- version ids --------------------------------------------------------------------------------------------------------


def test_the_release_supplies_the_date_that_the_dataset_id_leaves_out():
    version = version_id(TABLE, "2025-06-11", SemVer.parse("1.0.0"))
    assert version == f"{TABLE}_2025-06-11_v1.0.0"
    assert dataset_id_of(version, vintage_from_release=True) == TABLE


def test_a_fixed_date_stays_in_the_dataset_id():
    dataset = "ca-ab_red-deer-2024A00054808011_d4c-datapkg-orthoimagery_2024_075mm"
    version = version_id(dataset, "2024", SemVer.parse("0.1.0-beta"))
    assert version == f"{dataset}_v0.1.0-beta"
    assert dataset_id_of(version, vintage_from_release=False) == dataset


def test_a_vintage_that_contradicts_the_fixed_date_is_refused():
    with pytest.raises(BadName) as caught:
        version_id(f"{TABLE}_2021", "2022", SemVer.parse("1.0.0"))
    assert caught.value.part == "2021"


@given(names(), dates, semvers)
def test_the_dataset_is_found_again_from_its_version(name: Name, date: str, version: SemVer):
    released = name.date is None
    dataset = dataclasses.replace(name, version=None, ext=None).stem
    vintage = date if name.date is None else name.date
    assert dataset_id_of(version_id(dataset, vintage, version), vintage_from_release=released) == dataset


# -- order --------------------------------------------------------------------------------------------------------------


def test_versions_order_by_date_then_semver_not_by_text():
    order = [
        f"{TABLE}_2024-12-31_v2.0.0",
        f"{TABLE}_2025_v9.0.0",
        f"{TABLE}_2025-01_v1.0.0",
        f"{TABLE}_2025-01-01_v1.0.0",
        f"{TABLE}_2025-W02_v1.0.0",
        f"{TABLE}_2025-06-11_v1.2.0-beta",
        f"{TABLE}_2025-06-11_v1.2.0",
        f"{TABLE}_2025-06-11_v1.10.0",
        f"{TABLE}_2025-06-11T083000Z_v0.1.0",
        f"{TABLE}_2025-163_v1.0.0",  # the 12th of June
    ]
    assert sorted(set(order), key=order_key) == order


@given(st.lists(names(dated=True, versioned=True), min_size=3, max_size=3, unique=True))
def test_order_is_total_and_transitive(three: list[Name]):
    a, b, c = sorted(order_key(str(n)) for n in three)
    assert a < b < c


@given(names(dated=True, versioned=True), semvers, days, st.integers(1, 400))
def test_a_later_day_wins_over_any_semver_and_semver_decides_within_a_day(name: Name, other: SemVer, day: date, later: int):
    def key(when: date, version: SemVer | None) -> tuple[object, ...]:
        return order_key(dataclasses.replace(name, date=when.isoformat(), version=version).stem)

    assume(other != name.version)
    assert name.version is not None
    assert key(day, name.version) < key(day + timedelta(days=later), other)
    assert (key(day, name.version) < key(day, other)) == (name.version < other)
