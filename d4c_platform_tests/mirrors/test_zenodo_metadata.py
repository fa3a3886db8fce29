"""What a record says, in both languages, and that nothing of it gets lost unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.mirrors.zenodo_metadata import differences, document_of, marker_of, metadata_of
from d4c_platform.sandbox.zenodo_rules import problems
from d4c_platform_tests.mirrors.versions import DATASET, FIRST, SOURCE_URL, published_version


@pytest.fixture
def metadata(portal: Path) -> dict[str, Any]:
    return metadata_of(published_version(portal), "2025-06-12")


def test_title_and_description_are_there_in_both_languages(metadata: dict[str, Any]) -> None:
    assert metadata["title"] == "Exchange rates <daily> (2025-06-11)"
    assert metadata["additional_titles"] == [
        {"title": "Taux de change « quotidiens » (2025-06-11)", "type": {"id": "translated-title"}, "lang": {"id": "fra"}}
    ]
    assert metadata["description"] == ("<p>Rates &amp; averages.</p><p>Second paragraph.</p><p>Source: Statistics Canada.</p>")
    assert metadata["additional_descriptions"][0]["lang"] == {"id": "fra"}
    assert "Source : Statistique Canada." in metadata["additional_descriptions"][0]["description"]
    assert [language["id"] for language in metadata["languages"]] == ["eng", "fra"]


def test_the_publisher_is_an_organisation_and_d4c_curates(metadata: dict[str, Any]) -> None:
    assert metadata["creators"] == [{"person_or_org": {"type": "organizational", "name": "Statistics Canada"}}]
    assert metadata["contributors"][0]["person_or_org"]["name"] == "Data for Canada"


def test_a_licence_outside_zenodos_vocabulary_is_a_custom_right(metadata: dict[str, Any]) -> None:
    (right,) = metadata["rights"]
    assert right["title"] == {"en": "Statistics Canada Open Licence", "fr": "Licence ouverte de Statistique Canada"}
    assert right["link"] == "https://www.statcan.gc.ca/en/licence"
    assert "id" not in right


def test_an_spdx_licence_is_named_by_its_id(portal: Path) -> None:
    licence = DATASET.licence.model_copy(update={"id": "OGL-Canada-2.0"})
    version = published_version(portal, dataset=DATASET.model_copy(update={"licence": licence}))
    assert metadata_of(version, "2025-06-12")["rights"] == [{"id": "ogl-canada-2.0"}]


def test_the_source_and_the_version_are_named(metadata: dict[str, Any]) -> None:
    (source,) = metadata["related_identifiers"]
    assert (source["identifier"], source["relation_type"]["id"]) == (SOURCE_URL, "isderivedfrom")
    assert metadata["version"] == "1.0.0"
    assert metadata["dates"][0]["date"] == "2017-01/2025-06-11"
    assert marker_of({"metadata": metadata}) == FIRST


def test_zenodos_rules_accept_it(metadata: dict[str, Any]) -> None:
    assert problems(metadata) == []


def test_what_zenodo_adds_is_no_difference_and_what_it_drops_is(portal: Path) -> None:
    wanted = document_of(published_version(portal), "2025-06-12")
    got = {**wanted, "id": "1", "metadata": dict(wanted["metadata"])}
    got["metadata"]["description"] = "<p>Rates &amp; averages.</p>\n<p>Second paragraph.</p><p>Source: Statistics Canada.</p>"
    got["metadata"]["languages"] = [{"id": "eng", "title": {"en": "English"}}, {"id": "fra"}]
    assert list(differences(wanted, got)) == []
    reset = {**got, "metadata": {**got["metadata"], "rights": [{"id": "cc-zero"}], "version": None}}
    assert [d.partition(":")[0] for d in differences(wanted, reset)] == [
        "metadata.rights[0].title",
        "metadata.rights[0].description",
        "metadata.rights[0].link",
        "metadata.version",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_a_document_never_differs_from_itself(value: Any) -> None:
    assert list(differences(value, value)) == []


@given(st.dictionaries(st.text(min_size=1, max_size=5), json_values, min_size=1, max_size=4), st.data())
def test_a_dropped_field_is_always_seen(document: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(k for k in document)))
    if document[field] in (None, []) or document[field] == {}:
        return
    got = {k: v for k, v in document.items() if k != field}
    assert list(differences(document, got))
