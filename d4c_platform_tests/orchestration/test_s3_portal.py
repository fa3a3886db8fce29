"""The same flow with the portal in a bucket of a real S3 server instead of a directory."""

from __future__ import annotations

import hashlib

import httpx

from d4c_platform.model.records import Build
from d4c_platform.sandbox.seaweed import Seaweed
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, world

PUBLIC = ("versions/", "processed/", "records/", "raw/", "catalog/")


def test_the_portal_can_be_a_bucket_of_any_s3_server(tmp_path):
    with Seaweed(tmp_path / "s3", access_key="portal", secret_key="portal-secret") as s3:
        s3.create_public_bucket("d4c", prefixes=PUBLIC)
        url = f"{s3.endpoint_url}/d4c"
        settings = {
            "D4C_PORTAL_ENDPOINT": s3.endpoint_url,
            "D4C_PORTAL_BUCKET": "d4c",
            "D4C_PORTAL_ACCESS_KEY": "portal",
            "D4C_PORTAL_SECRET_KEY": "portal-secret",
            "D4C_PORTAL_URL": url,
        }
        with world(tmp_path / "sandbox", settings=settings) as there:
            runs = there.work()
            assert all(run.ok for run in runs), [run.trouble for run in runs]
            assert there.sandbox.advance() is not None
            runs = there.work()
            assert all(run.ok for run in runs), [run.trouble for run in runs]
            for dataset_id, versions in ((TABLE, 2), (OUTLINES, 1)):
                published = there.published(dataset_id)
                assert len(published) == versions
                build = there.platform.records.read(Build, published[-1])
                latest = httpx.get(f"{url}/processed/{dataset_id}.parquet")
                assert hashlib.sha256(latest.content).hexdigest() == build.artifacts[0].digests.sha256
                assert latest.headers["cache-control"] == "no-cache"
            staged = list(there.platform.portal.store.list("staging/"))
            assert staged == []
            assert httpx.get(f"{url}/catalog/catalog.parquet").status_code == 200
            assert there.work() == []
