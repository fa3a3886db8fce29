from datetime import UTC, datetime

import httpx
import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.model.records import Artifact, Build, Copies, Copy, CopyState, Torrents
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.portal import Portal
from d4c_platform.torrents.metainfo import parse
from d4c_platform.torrents.publish import publish_torrents
from d4c_platform_tests.torrents.conftest import NAME, VERSION

TRACKERS = ("https://tracker.example.org/announce", "udp://open.example.org:1337/announce")
KEY = f"versions/{VERSION}/{NAME}.torrent"


@pytest.fixture
def build(sample) -> Build:
    artifact = Artifact(
        role="data",
        file=NAME,
        media_type="application/vnd.apache.parquet",
        digests=sample.digests,
        logical_hash="0" * 64,
        rows=1,
        columns=(),
    )
    return Build(version_id=VERSION, artifacts=(artifact,))


@pytest.fixture
def portal(tmp_path, build, sample):
    """A portal that holds the version and serves it over HTTP."""
    root = tmp_path / "portal"
    with serve(portal_app(root)) as served:
        portal = Portal(LocalStore(root, served.url))
        portal.store.put(portal.version_key(VERSION, NAME), sample.path)
        yield portal


def copies(place: str, *urls: str, build: Build, **changes) -> Copies:
    digests = build.artifacts[0].digests
    facts = {"role": "data", "bytes": digests.bytes, "sha256": digests.sha256, "verified": "sha256", **changes}
    return Copies(
        version_id=VERSION, place=place, copies=tuple(Copy(url=u, checked_at=datetime.now(UTC), **facts) for u in urls)
    )


def portal_copies(portal: Portal, build: Build) -> Copies:
    return copies("portal", portal.store.url(portal.version_key(VERSION, NAME)), build=build)


def test_a_torrent_is_born_with_every_mirror_as_web_seed_and_the_portal_last(build, portal, mirror, web):
    coop = copies("source-coop", mirror.seed("good", NAME), build=build)
    zenodo = copies("zenodo", mirror.seed("other", NAME) + "?download=1", build=build)
    at_home = portal_copies(portal, build)
    record = publish_torrents(build, [at_home, coop, zenodo], portal, web, TRACKERS, comment="https://doi.org/10.5281/zenodo.1")
    (torrent,) = record.torrents
    assert torrent.web_seeds == (coop.copies[0].url, zenodo.copies[0].url, at_home.copies[0].url)
    assert torrent.trackers == TRACKERS
    assert torrent.left_out == {}
    assert torrent.magnet.startswith(f"magnet:?xt=urn:btih:{torrent.info_hash}&")
    published = parse(httpx.get(torrent.url).content)
    assert published.info_hash == torrent.info_hash
    assert published.comment == "https://doi.org/10.5281/zenodo.1"
    assert portal.records.read(Torrents, VERSION) == record


def test_publishing_again_changes_nothing(build, portal, mirror, web):
    places = [copies("source-coop", mirror.seed("good", NAME), build=build), portal_copies(portal, build)]
    first = publish_torrents(build, places, portal, web, TRACKERS)
    etag = portal.store.head(KEY).etag
    assert publish_torrents(build, places, portal, web, TRACKERS) == first
    assert portal.store.head(KEY).etag == etag


def test_a_reissue_follows_the_mirrors_and_keeps_the_info_hash(build, portal, mirror, web):
    coop = copies("source-coop", mirror.seed("good", NAME), build=build)
    before = publish_torrents(build, [coop], portal, web, TRACKERS).torrents[0]
    zenodo = copies("zenodo", mirror.seed("other", NAME), build=build)
    mirror.fault(path="/good", kind="status", status=404, times=-1)
    after = publish_torrents(build, [coop, zenodo], portal, web, ()).torrents[0]
    assert after.info_hash == before.info_hash
    assert after.web_seeds == (zenodo.copies[0].url,)
    assert after.sha256 != before.sha256
    assert parse(portal.store.read(KEY)).web_seeds == after.web_seeds


def test_bad_seeds_are_left_out_and_told(build, portal, mirror, web):
    places = [
        copies("source-coop", mirror.seed("corrupt", NAME), build=build),
        copies("zenodo", mirror.seed("good", NAME), build=build),
        copies("shelf", mirror.seed("other", NAME), build=build, sha256="f" * 64),
        copies("attic", mirror.seed("third", NAME), build=build, state=CopyState.BAD),
    ]
    (torrent,) = publish_torrents(build, places, portal, web, TRACKERS).torrents
    assert torrent.web_seeds == (mirror.seed("good", NAME),)
    assert "does not match its hash" in torrent.left_out[mirror.seed("corrupt", NAME)]
    assert "another sha-256" in torrent.left_out[mirror.seed("other", NAME)]
    assert "bad" in torrent.left_out[mirror.seed("third", NAME)]


def test_without_a_good_mirror_there_is_no_torrent_though_the_portal_has_the_file(build, portal, mirror, web):
    """A torrent seeded by the portal alone dies with it."""
    places = [copies("source-coop", mirror.seed("corrupt", NAME), build=build), portal_copies(portal, build)]
    with pytest.raises(PermanentFailure, match="no mirror can be a web seed") as caught:
        publish_torrents(build, places, portal, web, TRACKERS)
    told = str(caught.value)
    assert all(fact in told for fact in (VERSION, NAME, mirror.seed("corrupt", NAME), "does not match its hash"))
    assert portal.store.head(KEY) is None
    assert portal.records.read(Torrents, VERSION) is None


def test_a_mirror_that_is_only_down_makes_the_failure_transient_and_the_old_torrent_stays(build, portal, mirror, web):
    places = [copies("source-coop", mirror.seed("good", NAME), build=build)]
    publish_torrents(build, places, portal, web, TRACKERS)
    before = portal.store.read(KEY)
    mirror.fault(path="/good", kind="status", status=503, times=-1)
    with pytest.raises(TransientFailure, match="answered 503"):
        publish_torrents(build, places, portal, web, TRACKERS)
    assert portal.store.read(KEY) == before


def test_no_copy_anywhere_is_said_plainly(build, portal, web):
    with pytest.raises(PermanentFailure, match="no mirror has a copy"):
        publish_torrents(build, [portal_copies(portal, build)], portal, web, TRACKERS)


def test_a_torrent_half_published_by_a_killed_run_is_finished_by_the_next(build, portal, mirror, web):
    """The object was written, the record was not."""
    places = [copies("source-coop", mirror.seed("good", NAME), build=build)]
    record = publish_torrents(build, places, portal, web, TRACKERS)
    portal.store.delete(portal.records.key(Torrents, VERSION))
    assert publish_torrents(build, places, portal, web, TRACKERS) == record
