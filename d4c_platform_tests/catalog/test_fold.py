import copy
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.catalog.fold import Facts, Lineage, fold, lineages
from d4c_platform.catalog.table import to_batch, to_items
from d4c_platform.model.records import Copies, CopyState, Doi, Item, Torrents
from d4c_platform.naming import order_key
from d4c_platform_tests.catalog.published import TABLE, TABULAR, Archive, filled, table_version

VERSION = table_version("2025-06-11")
ALONE = Lineage(VERSION)

semvers = st.builds("{}.{}.{}{}".format, *[st.integers(0, 12)] * 3, st.sampled_from(["", "-beta", "-rc.1"]))
vintages = st.dates().filter(lambda day: 1500 <= day.year < 2200).map(str)
datasets = st.sampled_from(
    [f"ca_statcan-2021A000011124_d4c-datapkg-statistical_{n}" for n in ("33100036", "18100204", "census-divisions")]
)
versions = st.builds(lambda dataset, vintage, semver: (dataset, f"{dataset}_{vintage}_v{semver}"), datasets, vintages, semvers)


@pytest.fixture
def facts(tmp_path):
    archive = Archive(tmp_path)
    archive.version(TABLE, VERSION, **TABULAR, mirrors=("source-coop", "zenodo"), doi=True, torrent=True)
    return Facts(
        item=archive.records.read(Item, VERSION),
        portal=archive.records.read(Copies, VERSION, place="portal"),
        mirrors=tuple(archive.records.read(Copies, VERSION, place=place) for place in ("source-coop", "zenodo")),
        doi=archive.records.read(Doi, VERSION),
        torrents=archive.records.read(Torrents, VERSION),
    )


@given(st.lists(versions, unique_by=lambda pair: pair[1]))
def test_every_dataset_has_one_latest_version_and_one_unbroken_chain(pairs):
    found = lineages(pairs)
    assert set(found) == {version for _, version in pairs}
    for dataset in {dataset for dataset, _ in pairs}:
        chain = [version for version in found if (dataset, version) in pairs]
        assert chain == sorted(chain, key=order_key)
        assert {found[version].latest for version in chain} == {chain[-1]}
        assert [v for v in chain if found[v].successor is None] == [chain[-1]]
        assert [v for v in chain if found[v].predecessor is None] == [chain[0]]
        for before, after in pairwise(chain):
            assert found[before].successor == after
            assert found[after].predecessor == before


@given(st.lists(versions, unique_by=lambda pair: pair[1]), st.randoms(use_true_random=False))
def test_the_order_of_discovery_does_not_matter(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert list(lineages(shuffled).items()) == list(lineages(pairs).items())


def test_versions_order_by_number_not_by_text():
    ids = [table_version("2025-06-11", semver) for semver in ("1.10.0", "1.9.0", "1.10.0-beta")]
    assert [v.rsplit("_v", 1)[1] for v in lineages((TABLE.id, v) for v in ids)] == ["1.9.0", "1.10.0-beta", "1.10.0"]


def test_folding_leaves_the_record_as_it_was(facts):
    before = copy.deepcopy(facts.item.item)
    assert fold(facts, ALONE) == fold(facts, ALONE)
    assert facts.item.item == before


def test_a_superseded_version_is_deprecated_and_points_at_its_successor_and_the_latest(facts):
    item = fold(facts, Lineage("the-latest", "the-one-before", "the-next"))
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert (item["properties"]["deprecated"], item["properties"]["d4c:latest"]) == (True, False)
    assert links["predecessor-version"] == "catalog.parquet#the-one-before"
    assert links["successor-version"] == "catalog.parquet#the-next"
    assert links["latest-version"] == "catalog.parquet#the-latest"


def test_every_mirror_is_an_alternate_under_a_fixed_key_with_its_storage(facts):
    item = fold(facts, ALONE)
    alternates = item["assets"]["data"]["alternate"]
    assert list(alternates) == ["source_coop", "zenodo"]
    assert alternates["source_coop"]["storage:refs"] == ["source_coop"]
    assert set(item["properties"]["storage:schemes"]) == {"portal", "source_coop", "zenodo"}


@pytest.mark.parametrize("fault", [{"sha256": "f" * 64}, {"state": CopyState.BAD}])
def test_a_copy_that_does_not_have_these_bytes_is_no_alternate(tmp_path, facts, fault):
    archive = Archive(tmp_path)
    wrong = archive.copies(VERSION, archive.artifact(VERSION), "zenodo", **fault)
    item = fold(Facts(item=facts.item, portal=facts.portal, mirrors=(facts.mirrors[0], wrong)), ALONE)
    assert list(item["assets"]["data"]["alternate"]) == ["source_coop"]
    assert "zenodo" not in item["properties"]["storage:schemes"]


def test_a_version_that_is_on_the_portal_only_claims_nothing_more(facts):
    item = fold(Facts(item=facts.item, portal=facts.portal), ALONE)
    claimed = " ".join(item["stac_extensions"])
    assert "alternate" not in item["assets"]["data"]
    assert "alternate-assets" not in claimed
    assert "scientific" not in claimed
    assert not {"sci:doi", "sci:citation", "d4c:magnet", "d4c:info_hash"} & item["properties"].keys()
    assert set(item["assets"]) == {"data"}


def test_the_doi_comes_with_its_citation_and_link(facts):
    item = fold(facts, ALONE)
    assert item["properties"]["sci:doi"] == "10.5281/zenodo.283548"
    assert item["properties"]["sci:citation"].startswith("Statistics Canada (2025). Daily average")
    assert [link["href"] for link in item["links"] if link["rel"] == "cite-as"] == ["https://doi.org/10.5281/zenodo.283548"]


def test_the_torrent_of_the_data_stands_at_the_top_of_the_item(facts):
    item, torrent = fold(facts, ALONE), facts.torrents.torrents[0]
    assert item["properties"]["d4c:info_hash"] == torrent.info_hash
    assert item["properties"]["d4c:magnet"] == torrent.magnet
    assert item["assets"]["torrent"]["href"] == torrent.url


def test_a_portal_that_moved_is_where_its_record_says(tmp_path, facts):
    archive = filled(tmp_path / "elsewhere")
    moved = archive.copies(VERSION, archive.artifact(VERSION), "portal", url="https://new.example.org/x.parquet")
    item = fold(Facts(item=facts.item, portal=moved), ALONE)
    assert item["assets"]["data"]["href"] == "https://new.example.org/x.parquet"
    assert item["properties"]["storage:schemes"]["portal"]["platform"] == "https://new.example.org"


def test_the_torrent_of_another_asset_stands_at_that_asset(facts):
    tiles = facts.item.item["assets"]["data"] | {"roles": ["pmtiles"], "file:local_path": "x.pmtiles"}
    for of_the_table in ("table:columns", "table:row_count"):
        del tiles[of_the_table]
    item = facts.item.item | {"assets": facts.item.item["assets"] | {"pmtiles": tiles}}
    torrent = facts.torrents.torrents[0].model_copy(update={"role": "pmtiles", "info_hash": "a" * 40})
    both = facts.torrents.model_copy(update={"torrents": (*facts.torrents.torrents, torrent)})
    folded = fold(replace(facts, item=facts.item.model_copy(update={"item": item}), torrents=both), ALONE)
    assert folded["assets"]["pmtiles"]["d4c:info_hash"] == "a" * 40
    assert folded["properties"]["d4c:info_hash"] == facts.torrents.torrents[0].info_hash
    assert list(to_items(to_batch([folded]))) == [folded]


def test_the_torrent_of_a_folder_of_source_files_is_an_asset_of_its_own(facts):
    torrent = facts.torrents.torrents[0].model_copy(
        update={"role": "source", "info_hash": "b" * 40, "url": "https://x.example.org/t"}
    )
    both = facts.torrents.model_copy(update={"torrents": (*facts.torrents.torrents, torrent)})
    folded = fold(replace(facts, torrents=both), ALONE)
    source = folded["assets"]["source"]
    assert (source["href"], source["d4c:info_hash"], source["roles"]) == (torrent.url, "b" * 40, ["source", "torrent"])
    assert folded["properties"]["d4c:info_hash"] == facts.torrents.torrents[0].info_hash
    assert list(to_items(to_batch([folded]))) == [folded]
