"""An image, and a layer with preview tiles, go the way of every dataset – up to the row in the catalog."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import yaml

from d4c_platform.model.records import Build, Copies, Release, Withdrawal
from d4c_platform.sandbox.serving import serve
from d4c_platform.sandbox.web import portal_app
from d4c_platform.settings import Settings
from d4c_platform.stages.build import archive_release, build_artifact, write_manifest
from d4c_platform.stages.notice import notice
from d4c_platform.stages.platform import Platform
from d4c_platform.stages.publication import describe_version, publish_catalog, publish_on_portal
from d4c_platform.stages.rebuild import Outcome, rebuild
from d4c_platform.transforms import tile_preview
from d4c_platform_tests.torrents.sites import site
from d4c_platform_tests.transforms import images
from d4c_platform_tests.transforms import releases as r

ORIGIN = "https://imagery.example.ca"
ID = "ca-yt_yukon-2021A000260_d4c-datapkg-orthoimagery_whitehorse"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "publisher"
    folder.mkdir()
    return folder


@pytest.fixture
def platform(tmp_path, files):
    datasets = tmp_path / "datasets"
    datasets.mkdir()
    with serve(portal_app(tmp_path / "portal")) as home, site(files) as there:
        settings = Settings(
            datasets=datasets,
            origins={ORIGIN: there.url},
            portal_dir=tmp_path / "portal",
            portal_url=home.url,
            work_dir=tmp_path / "work",
            requests_per_s=1000,
            attempts=2,
        )
        with Platform(settings) as opened:
            yield opened


def declare(platform, dataset, identity, file, **more):
    document = dataset.model_dump(mode="json", exclude_none=True) | {"id": identity, "vintage": {"rule": "release"}, **more}
    document["source"] = {"kind": "http-file", "url": f"{ORIGIN}/good/{file}"}
    document["area"]["dguid"] = "2021A000260"
    document["area"]["geometry"]["coordinates"] = [[[-141, 60], [-123, 60], [-123, 70], [-141, 70], [-141, 60]]]
    document["licence"]["url"] = {"en": "https://example.ca/en", "fr": "https://example.ca/fr"}
    (platform.settings.datasets / "a.yaml").write_text(yaml.safe_dump(document))


def next_version(platform, day):
    found = notice(platform, datetime(2026, 1, day, tzinfo=UTC), budget_s=30)
    assert found.failures == ()
    (candidate,) = found.candidates
    assert isinstance(archive_release(platform, candidate.version_id), Release)
    return candidate.version_id


def published(platform, version_id):
    build = build_artifact(platform, version_id)
    assert isinstance(build, Build), build
    write_manifest(platform, version_id)
    publish_on_portal(platform, version_id)
    return build, describe_version(platform, version_id).item


def test_an_image_becomes_a_version_and_its_next_one_is_judged_by_the_record(platform, files):
    values = images.rgb()
    images.write(files / "ortho.tif", values)
    declare(platform, r.image_dataset(), ID, "ortho.tif")
    first = next_version(platform, 1)
    build, item = published(platform, first)
    asset = item["assets"]["cog"]
    assert asset["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert (asset["proj:code"], asset["file:local_path"]) == ("EPSG:3578", f"{first}.tif")
    assert item["bbox"] == pytest.approx(build.artifacts[0].bbox)
    assert platform.portal.store.head(f"versions/{first}/{first}.tif").bytes == build.artifacts[0].digests.bytes
    # The same pixels in another packing are no version; others are.
    images.write(files / "ortho.tif", values, compress="lzw")
    withdrawn = build_artifact(platform, next_version(platform, 2)).withdrawal
    assert isinstance(withdrawn, Withdrawal)
    images.write(files / "ortho.tif", values + np.uint8(1))
    second, _ = published(platform, next_version(platform, 3))
    assert (second.changes.predecessor, second.changes.least_bump) == (first, "patch")
    assert publish_catalog(platform).rows == 2


def test_a_layers_preview_is_a_second_file_of_its_version(platform, files, monkeypatch):
    squares = [r.square(400_000 + 2_000 * x, 600_000) for x in range(10)]
    r.shapefile_zip(files / "districts.zip", squares, {"NAME": [f"d{x}" for x in range(10)]})
    declare(
        platform,
        r.layer_dataset(preview="pmtiles"),
        ID.replace("orthoimagery_whitehorse", "foundation_districts"),
        "districts.zip",
    )
    version = next_version(platform, 1)
    build, item = published(platform, version)
    assert [a.role for a in build.artifacts] == ["data", "pmtiles"]
    assert sorted(item["assets"]) == ["data", "pmtiles"]
    assert item["assets"]["pmtiles"]["type"] == "application/vnd.pmtiles"
    copies = platform.records.read(Copies, version, place="portal").copies
    assert {c.role: c.sha256 for c in copies} == {a.role: a.digests.sha256 for a in build.artifacts}
    assert build_artifact(platform, version) == build
    assert publish_catalog(platform).rows == 1
    again = rebuild(platform, version)
    assert (again.outcome, [b.recorded.role for b in again.beside]) == (Outcome.IDENTICAL, ["pmtiles"])
    monkeypatch.setattr(tile_preview, "LARGEST_SCALE", 1)
    other = rebuild(platform, version)
    assert other.outcome is Outcome.OTHER_VALUES
    assert other.sentence().startswith("Identical: ")
    assert f"{version}.pmtiles: other-values." in other.sentence()
