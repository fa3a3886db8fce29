"""The graph an operator sees: one version on its way from source release to catalog.

Nine shared stages, partitioned by the version. Every asset can be materialised again at any time: it finds what is already
true and does only what is missing.
"""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from d4c_platform.catalog.vocabulary import CATALOG_KEY
from d4c_platform.model.dataset import MirrorName
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import Doi, Withdrawal
from d4c_platform.orchestration import describe
from d4c_platform.orchestration.failures import failures_for_people
from d4c_platform.orchestration.partitions import dataset_versions
from d4c_platform.stages import build, publication
from d4c_platform.stages.companions import PREVIEW
from d4c_platform.stages.platform import Platform
from d4c_platform.transforms import checks

OWNERS = ["team:data-for-canada"]
Result = dg.MaterializeResult[None]


def _asset(group: str, kinds: set[str], **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        partitions_def=dataset_versions, group_name=group, kinds=kinds, owners=OWNERS, **options
    )
    return decorator


@_asset("source", {"http"}, output_required=False, pool="source")
def raw_release(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Result]:
    """The publisher's files of this release, archived as received, with their provenance."""
    version = context.partition_key
    with failures_for_people(context):
        release = build.archive_release(platform, version)
    if isinstance(release, Withdrawal):
        _withdraw(context, release)
        return
    yield dg.MaterializeResult(metadata=describe.release(release))


@_asset(
    "build",
    {"parquet", "duckdb"},
    deps=[raw_release],
    output_required=False,
    pool="build",
    check_specs=[
        dg.AssetCheckSpec(name, asset="artifact", blocking=blocking, description=description)
        for name, blocking, description in checks.CHECKS
    ],
)
def artifact(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Result | dg.AssetCheckResult]:
    """The systems-ready file: typed, sorted, checked, compared with the version before. Not public yet."""
    version = context.partition_key
    with failures_for_people(context):
        result = build.build_artifact(platform, version)
        if isinstance(result, build.Unchanged):
            _withdraw(context, result.withdrawal)
            yield from (describe.verdict(v, version) for v in result.checks)
            return
        if isinstance(result, build.Refused):
            yield from (describe.verdict(v, version) for v in result.checks)
            failed = next(v for v in result.checks if not v.passed and v.severity == "blocking")
            raise PermanentFailure(
                f"the check {failed.check} failed: {failed.evidence}",
                where="artifact",
                version=version,
                kept="Nothing was published; the previous latest stays",
                remedy="Fix the declaration or tell the publisher, then materialize again",
            )
    yield dg.MaterializeResult(
        metadata=describe.build(result), check_results=[describe.verdict(v, version) for v in result.checks]
    )


@_asset("build", {"json"}, deps=[artifact])
def version_manifest(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """What the version was built from: source hashes, code commit, parameters, locked environment, tool versions."""
    with failures_for_people(context):
        manifest = build.write_manifest(platform, context.partition_key)
    return dg.MaterializeResult(metadata=describe.manifest(manifest))


@_asset("publication", {"s3"}, deps=[version_manifest], pool="portal")
def portal_version(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """The version under its immutable key, and `processed/` on strictly the newest version."""
    with failures_for_people(context):
        copies = publication.publish_on_portal(platform, context.partition_key)
    preview = platform.portal.store.url(platform.portal.version_key(context.partition_key, PREVIEW))
    return dg.MaterializeResult(metadata={**describe.copies(copies), **describe.preview(preview)})


@_asset("publication", {"stac"}, deps=[portal_version])
def catalog_item(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """What the version is, as a STAC item: the part that never changes."""
    with failures_for_people(context):
        item = publication.describe_version(platform, context.partition_key)
    return dg.MaterializeResult(metadata=describe.item(item))


@_asset("mirrors", {"s3"}, deps=[catalog_item], pool="source_coop")
def source_coop_copy(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """The version on Source Cooperative, read back and compared."""
    with failures_for_people(context):
        copies = publication.copy_to(platform, MirrorName.SOURCE_COOP, context.partition_key)
    return dg.MaterializeResult(metadata=describe.copies(copies))


@_asset("mirrors", {"zenodo"}, deps=[catalog_item], pool="zenodo")
def zenodo_record(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """The version's Zenodo record and its DOI."""
    version = context.partition_key
    with failures_for_people(context):
        copies = publication.copy_to(platform, MirrorName.ZENODO, version)
        doi = platform.records.read(Doi, version)
    return dg.MaterializeResult(metadata={**(describe.doi(doi) if doi else {}), **describe.copies(copies)})


@_asset("peer_to_peer", {"bittorrent"}, deps=[source_coop_copy, zenodo_record], pool="torrent")
def torrent(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """A single-file v1 torrent whose web seeds are the mirrors that serve the right bytes today."""
    with failures_for_people(context):
        torrents = publication.publish_torrent(platform, context.partition_key)
    return dg.MaterializeResult(metadata=describe.torrents(torrents))


@_asset("catalog", {"parquet", "stac"}, deps=[catalog_item, torrent], pool="catalog")
def catalog(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
    """The one STAC GeoParquet catalog with this version's row: checksums, DOI, copies, torrent."""
    with failures_for_people(context):
        published = publication.publish_catalog(platform)
    return dg.MaterializeResult(metadata=describe.published(published, platform.portal.store.url(CATALOG_KEY)))


ASSETS = [
    raw_release,
    artifact,
    version_manifest,
    portal_version,
    catalog_item,
    source_coop_copy,
    zenodo_record,
    torrent,
    catalog,
]


def _withdraw(context: dg.AssetExecutionContext, withdrawal: Withdrawal) -> None:
    """Say why there is no new version, and take its partition away."""
    same = f" ({withdrawal.same_as})" if withdrawal.same_as else ""
    context.log.info(f"{withdrawal.reason}{same}: no new version. The partition is withdrawn.")
    context.instance.delete_dynamic_partition(str(dataset_versions.name), withdrawal.version_id)
