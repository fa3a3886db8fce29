"""A list of files goes the way of every dataset: noticed, archived, built, compared, described, published."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
import yaml

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Build, Copies, Release, Withdrawal
from d4c_platform.sandbox.generated import Generated
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app
from d4c_platform.settings import Settings
from d4c_platform.stages.build import archive_release, build_artifact, write_manifest
from d4c_platform.stages.notice import notice
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.publication import publish_torrent
from d4c_platform.torrents.metainfo import parse
from d4c_platform.transforms.inventory import CONTENT
from d4c_platform.transforms.logical_hash import facts_of
from d4c_platform_tests.stages.folders import NAME, folder_dataset, publisher, sha256_of

ORIGIN = "https://tiles.example.ca"


class Stamped(Generated):
    """Files of a later day."""

    last_modified = "Thu, 12 Jun 2025 12:00:00 GMT"


FILES = {f"{i % 3}/{i:02}.tif": Generated(5000 + i) for i in range(12)} | {"empty.txt": Generated(0)}


@pytest.fixture
def there():
    with publisher({}) as served:
        served.declared = ORIGIN  # the list names public addresses, for which this server stands in
        served.publish(FILES)
        yield served


@pytest.fixture
def home(tmp_path):
    """The address that the portal's files are served at."""
    with serve(portal_app(tmp_path / "portal")) as served:
        yield served.url


@pytest.fixture
def platform(there, home, tmp_path):
    dataset = folder_dataset(ORIGIN, probes=20).model_dump(mode="json", exclude_none=True)
    square = [[-80, 44], [-79, 44], [-79, 45], [-80, 45], [-80, 44]]
    dataset["area"]["geometry"] = {"type": "Polygon", "coordinates": [square]}
    dataset["licence"]["url"] = {"en": "https://example.ca/en", "fr": "https://example.ca/fr"}
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "tiles.yaml").write_text(yaml.safe_dump(dataset))
    settings = Settings(
        datasets=folder,
        origins={ORIGIN: there.url},
        portal_dir=tmp_path / "portal",
        portal_url=home,
        work_dir=tmp_path / "work",
        requests_per_s=1000,
        attempts=2,
    )
    with Platform(settings) as opened:
        yield opened


def next_version(platform: Platform, day: int) -> str:
    found = notice(platform, datetime(2026, 1, day, tzinfo=UTC), budget_s=30)
    assert found.failures == ()
    (candidate,) = found.candidates
    return candidate.version_id


def published(platform: Platform, version_id: str) -> Build:
    assert isinstance(archive_release(platform, version_id), Release)
    build = build_artifact(platform, version_id)
    assert isinstance(build, Build), build
    assert write_manifest(platform, version_id).parameters["transform"] == "inventory"
    platform.portal.publish(build)
    return build


def test_the_inventory_of_a_folder_is_the_artifact_of_its_version(there, platform, tmp_path):
    version_id = next_version(platform, 1)
    build = published(platform, version_id)
    (artifact,) = build.artifacts
    assert artifact.counts == {"source_rows": 13, "empty_files": 1, "total_bytes": sum(f.size for f in FILES.values())}
    platform.portal.download(version_id, artifact, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == [c.name for c in CONTENT]
    assert {r["path"]: r["sha256"] for r in table.to_pylist()} == {p: sha256_of(p, f) for p, f in FILES.items()}
    facts = facts_of(tmp_path / "a.parquet")
    assert facts["folder"].startswith(f"raw/{NAME}/")
    assert platform.portal.store.head(f"{facts['folder']}0/00.tif") is not None
    assert notice(platform, datetime(2026, 1, 2, tzinfo=UTC), budget_s=30).candidates == ()


def test_files_stamped_anew_with_the_same_bytes_are_no_version(there, platform):
    published(platform, next_version(platform, 1))
    there.publish({path: Stamped(file.size) for path, file in FILES.items()})
    withdrawn = archive_release(platform, next_version(platform, 2))
    assert isinstance(withdrawn, Withdrawal)
    assert "same content" in withdrawn.reason


def test_the_changelog_counts_the_files_that_changed(there, platform):
    published(platform, next_version(platform, 1))
    there.publish({**FILES, "0/00.tif": Stamped(6000, edition=2), "new.tif": Stamped(9)})
    build = published(platform, next_version(platform, 2))
    assert (build.changes.rows_added, build.changes.rows_changed, build.changes.rows_removed) == (1, 1, 0)


def test_the_folders_torrent_is_published_with_a_web_seed_that_was_asked(there, home, platform):
    version_id = next_version(platform, 1)
    build = published(platform, version_id)
    at_home = platform.records.read(Copies, version_id, place="portal")
    # The mirror's copy is not what this is about: the portal's own stands for it.
    platform.records.write(at_home.model_copy(update={"place": "source-coop"}))
    torrents = publish_torrent(platform, version_id)
    data, source = torrents.torrents
    assert (data.role, source.role) == (build.artifacts[0].role, "source")
    release = platform.records.read(Release, version_id)
    (archived,) = [f for f in release.files if f.name.endswith(".torrent")]
    assert source.info_hash == parse(platform.portal.store.read(archived.key)).info_hash
    assert source.web_seeds == (f"{home}/raw/{NAME}/{release.key}/files/",)
    meta = parse(platform.portal.store.read(f"versions/{version_id}/{source.file}.torrent"))
    assert (meta.info_hash, meta.web_seeds) == (source.info_hash, source.web_seeds)


def test_a_folder_whose_files_are_gone_gets_no_torrent(there, platform):
    version_id = next_version(platform, 1)
    published(platform, version_id)
    at_home = platform.records.read(Copies, version_id, place="portal")
    platform.records.write(at_home.model_copy(update={"place": "source-coop"}))
    release = platform.records.read(Release, version_id)
    for info in platform.portal.store.list(f"raw/{NAME}/{release.key}/files/"):
        platform.portal.store.delete(info.key)
    with pytest.raises(PermanentFailure, match="the portal cannot be the folder's web seed"):
        publish_torrent(platform, version_id)
