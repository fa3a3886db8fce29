"""A publisher in a process of its own, so that a test can kill it. Imported by the fork server: keep it importable alone."""

from __future__ import annotations

from pathlib import Path

from d4c_platform.mirrors.zenodo import Zenodo
from d4c_platform.storage.local import LocalStore
from d4c_platform.storage.records import Records
from d4c_platform.web import Web
from d4c_platform_tests.mirrors.versions import published_version


def publish(site: str, token: str, folder: str, version_id: str, previous_record_id: str | None) -> None:
    """Publish one version with its portal and records under `folder`."""
    root = Path(folder)
    web = Web(per_host_per_s=10_000, first_wait_s=0.01, attempts=1, timeout_s=10)
    records = Records(LocalStore(root / "records", "http://portal.example"))
    zenodo = Zenodo(web, records, site, token, publish_allowed=True, first_wait_s=0.01, upload_attempts=1)
    zenodo.publish(
        published_version(root / "portal", version_id, version_id.encode() * 9000, previous_record_id=previous_record_id)
    )
