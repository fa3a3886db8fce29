"""One job a stretch, so that a slow mirror holds up nothing but itself.

Each ends by folding the records into the catalog, so that the catalog says what is true after every stretch.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from d4c_platform.orchestration import assets
from d4c_platform.orchestration.partitions import dataset_versions
from d4c_platform.stages.outstanding import Stretch


def _job(stretch: Stretch, description: str, *selection: dg.AssetsDefinition) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        stretch.value,
        selection=dg.AssetSelection.assets(*selection, assets.catalog),
        description=description,
        tags={"d4c/stretch": stretch.value},
    )


JOBS = {
    Stretch.BUILD: _job(
        Stretch.BUILD,
        "Archive the release, build and check the artifact, publish it on the portal and in the catalog.",
        assets.raw_release,
        assets.artifact,
        assets.version_manifest,
        assets.portal_version,
        assets.catalog_item,
    ),
    Stretch.SOURCE_COOP: _job(Stretch.SOURCE_COOP, "Copy the version to Source Cooperative.", assets.source_coop_copy),
    Stretch.ZENODO: _job(Stretch.ZENODO, "Give the version its Zenodo record and DOI.", assets.zenodo_record),
    Stretch.TORRENT: _job(Stretch.TORRENT, "Issue the version's torrent over the mirrors.", assets.torrent),
}

PARTITIONS = str(dataset_versions.name)
