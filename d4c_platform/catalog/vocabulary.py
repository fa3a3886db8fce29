"""The fixed words of the catalog: asset roles, places, extensions, collections.

Roles and places are keys of Parquet structs. They are a closed list on purpose: a key that is a file name, or a mirror that
appears one day, would widen every row's schema (measured elsewhere: 831 columns for 100 items keyed by file name).
"""

from __future__ import annotations

from types import MappingProxyType

from d4c_platform.model.dataset import DataPackage, MirrorName

STAC_VERSION = "1.1.0"
PARQUET = "application/vnd.apache.parquet"
CATALOG_KEY = "catalog/catalog.parquet"
MIRRORS_KEY = "catalog/mirrors.parquet"

DATA_ROLES = ("data", "pmtiles", "cog")
"""Roles of artifacts that have copies and torrents."""

OTHER_ROLES = ("thumbnail", "torrent", "metadata")

PORTAL = "portal"
PLACES = MappingProxyType(
    {MirrorName.SOURCE_COOP.value: "source_coop", MirrorName.ZENODO.value: "zenodo", "internet-archive": "internet_archive"}
)
"""A mirror's name in the records to its key among the alternates. The portal is the primary `href`, not an alternate."""

PLACE_TITLES = MappingProxyType(
    {
        PORTAL: "Data for Canada portal",
        "source_coop": "Source Cooperative",
        "zenodo": "Zenodo",
        "internet_archive": "Internet Archive",
    }
)

STORAGE_TYPES = MappingProxyType({PORTAL: "http", "source_coop": "custom-s3", "zenodo": "http", "internet_archive": "http"})
"""`type` of a storage scheme: Source Cooperative answers the S3 API at its public origin, the others plain HTTP."""

_EXTENSIONS = "https://stac-extensions.github.io"
EXTENSIONS = MappingProxyType(
    {
        "alternate": f"{_EXTENSIONS}/alternate-assets/v1.2.0/schema.json",
        "attribution": f"{_EXTENSIONS}/attribution/v0.1.0/schema.json",
        "file": f"{_EXTENSIONS}/file/v2.1.0/schema.json",
        "proj": f"{_EXTENSIONS}/projection/v2.0.0/schema.json",
        "processing": f"{_EXTENSIONS}/processing/v1.2.0/schema.json",
        "sci": f"{_EXTENSIONS}/scientific/v1.0.0/schema.json",
        "storage": f"{_EXTENSIONS}/storage/v2.0.0/schema.json",
        "table": f"{_EXTENSIONS}/table/v1.2.0/schema.json",
        "version": f"{_EXTENSIONS}/version/v1.2.0/schema.json",
    }
)

SOFTWARE = (
    *("d4c-platform", "python", "pyarrow", "duckdb", "geopandas", "pyogrio", "gdal"),
    *("shapely", "geos", "pyproj", "proj", "numpy"),
)
"""Tools named in `processing:software`; the manifest lists every tool there was."""

COLLECTIONS = MappingProxyType(
    {
        DataPackage.STATISTICAL.value: ("Statistical", "Statistiques"),
        DataPackage.FOUNDATION.value: ("Foundation", "Base"),
        DataPackage.ORTHOIMAGERY.value: ("Orthoimagery", "Ortho-imagerie"),
        DataPackage.FIELD_IMAGERY.value: ("Field imagery", "Imagerie de terrain"),
        DataPackage.ENVIRONMENT_CLIMATE_HEALTH.value: (
            "Environment, climate and health",
            "Environnement, climat et santé",
        ),
    }
)
"""A STAC collection is a data package: five collections fit in a file's footer, one a dataset (thousands) would not."""


def within_catalog(name: str) -> str:
    """A link to an item or collection that lies in the catalog: relative, so that it holds on every mirror of the file."""
    return f"catalog.parquet#{name}"


def multihash(sha256: str) -> str:
    """A SHA-256 as the multihash that `file:checksum` asks for: code 0x12, length 0x20, digest."""
    return f"1220{sha256}"
