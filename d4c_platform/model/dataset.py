"""A declared dataset: what D4C publishes, from where, as what, and under which licence.

One YAML file is one `Dataset`. The published JSON Schema (`d4c dataset schema`) is generated from these models, so the
schema and the checks cannot disagree. Loading and cross-checks live in `d4c_platform.datasets`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Declared(BaseModel):
    """Base of everything a person writes in a declaration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Declared):
    """The same words in both official languages."""

    en: str = Field(min_length=1)
    fr: str = Field(min_length=1)


class DataPackage(StrEnum):
    """The families of datasets; the values are the name segment."""

    STATISTICAL = "d4c-datapkg-statistical"
    FOUNDATION = "d4c-datapkg-foundation"
    ORTHOIMAGERY = "d4c-datapkg-orthoimagery"
    FIELD_IMAGERY = "d4c-datapkg-field-imagery"
    ENVIRONMENT_CLIMATE_HEALTH = "d4c-datapkg-environment-climate-health"


class StatCanTableSource(Declared):
    """A Statistics Canada table, watched and fetched through the Web Data Service."""

    kind: Literal["statcan-table"]
    product_id: str = Field(pattern=r"^\d{8}$", description="The 8-digit product id, without the 2-digit view suffix.")
    languages: tuple[Literal["en", "fr"], ...] = ("en", "fr")
    recheck_days: int = Field(
        default=7,
        ge=0,
        description="Days after which a release's files are looked at again for a revision that was not announced; 0: never.",
    )


class HttpFileSource(Declared):
    """One file at a stable URL, watched by its HTTP validators and confirmed by its content."""

    kind: Literal["http-file"]
    url: str = Field(pattern=r"^https?://")


class StatCanGeographySource(Declared):
    """A zip of Statistics Canada's geography (boundaries, road network, attributes) on one of its file servers."""

    kind: Literal["statcan-geography"]
    url: str = Field(pattern=r"^https://www(12|150)\.statcan\.gc\.ca/[^?#]+\.[zZ][iI][pP]$")


class CkanSource(Declared):
    """Resources of one package (dataset) of a CKAN portal, each watched by its own file and not by the portal's dates."""

    kind: Literal["ckan"]
    portal: str = Field(
        pattern=r"^https?://", description="Base URL, to which /api/3/action is appended: https://open.canada.ca/data/en."
    )
    package: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="The package's id, or the name in its page's address.")
    resources: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], ...] = Field(
        min_length=1, description="The ids of the resources whose files make the dataset."
    )

    @property
    def page(self) -> str:
        """The package's page for people."""
        return f"{self.portal.rstrip('/')}/dataset/{self.package}"


class OpendatasoftSource(Declared):
    """One dataset of an Opendatasoft portal, exported whole through the Explore API v2.1."""

    kind: Literal["opendatasoft"]
    portal: str = Field(pattern=r"^https://", description="The portal's address, for instance https://opendata.vancouver.ca.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9@_.-]*$", description="The dataset's id in its page's address.")
    format: Literal["geojson", "csv", "parquet"] = "geojson"

    @property
    def page(self) -> str:
        """The dataset's page for people."""
        return f"{self.portal.rstrip('/')}/explore/dataset/{self.dataset}/"


class ArcgisSource(Declared):
    """One layer or table of an ArcGIS server, watched by its edit date, or by its content where it has none."""

    kind: Literal["arcgis"]
    layer: str = Field(
        pattern=r"^https://[^?#\s]+/(FeatureServer|MapServer)/[0-9]+$",
        description="URL of the layer, without a query: it ends in /FeatureServer/N or /MapServer/N.",
    )
    where: str = Field(default="1=1", min_length=1, description="Which rows, as a SQL condition that the server understands.")


class FileListSource(Declared):
    """Thousands of files that a list names, as one release: streamed into the portal, never whole on a disk."""

    kind: Literal["file-list"]
    url: str = Field(
        pattern=r"^https?://",
        description="The list: a URL a line, then, if wanted, a tab and the file's path. `#` begins a comment.",
    )
    base: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="What every URL begins with; the rest is the path. Without it, and without a second column, the file name.",
    )
    concurrency: int = Field(default=4, ge=1, le=16, description="Files fetched at once; each takes two parts of memory.")
    probes: int = Field(
        default=20, ge=0, le=200, description="Files that are asked for their date and size at each look for a new release."
    )


Source = Annotated[
    StatCanTableSource
    | HttpFileSource
    | StatCanGeographySource
    | CkanSource
    | OpendatasoftSource
    | ArcgisSource
    | FileListSource,
    Field(discriminator="kind"),
]


class StatCanCsvTransform(Declared):
    """Full-table CSV zip (English, and French when both are there) to one typed Parquet table."""

    kind: Literal["statcan-csv"]


class GeoParquetChoice(Declared):
    """What every layer can ask for."""

    geoparquet_version: Literal["1.1", "2.0"] = Field(
        default="1.1",
        description="2.0 has Parquet's own geometry type, which older readers refuse. It shows with the next release.",
    )


class VectorTransform(GeoParquetChoice):
    """A layer of a GeoPackage, a File Geodatabase (zipped), a FlatGeobuf or a zipped shapefile to GeoParquet.

    The file may be zipped or gzipped; its first bytes say what it is.
    """

    kind: Literal["vector"]
    layer: str | None = Field(default=None, min_length=1, description="The layer's name, when the file has several.")
    encoding: str | None = Field(
        default=None, description="Text encoding of a shapefile whose .cpg is missing or wrong; the other formats say theirs."
    )
    dguid: str | None = Field(
        default=None,
        description="How to build the DGUID column: a template over the source columns, for instance 2021A0002{PRUID}.",
    )


class ShapefileTransform(GeoParquetChoice):
    """Zipped shapefile to GeoParquet."""

    kind: Literal["shapefile"]
    encoding: str | None = Field(default=None, description="Text encoding when the .cpg is missing or wrong.")
    dguid: str | None = Field(
        default=None,
        description="How to build the DGUID column: a template over the source columns, for instance 2021A0002{PRUID}.",
    )


class GeoJsonTransform(GeoParquetChoice):
    """GeoJSON FeatureCollection – plain, gzipped, or the only one of a zip – to GeoParquet."""

    kind: Literal["geojson"]
    dguid: str | None = Field(
        default=None,
        description="How to build the DGUID column: a template over the properties, for instance 2021A0002{PRUID}.",
    )


CSV_TYPES = ("string", "bool", "int32", "int64", "double", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]")
"""What a column of a CSV can be declared to be; it is text unless it is declared."""


class CsvPoints(GeoParquetChoice):
    """Which columns of a CSV are coordinates: the table becomes a layer of points, and keeps the columns.

    Where a coordinate is empty or no number, the row is kept without a point, and counted.
    """

    x: str = Field(min_length=1, description="The column of the longitude or easting, as the artifact calls it.")
    y: str = Field(min_length=1, description="The column of the latitude or northing, as the artifact calls it.")
    crs: str = Field(
        pattern=r"^[A-Z]+:[0-9A-Z]+$", description="The system they are in, for instance EPSG:4326; none is guessed."
    )


class CsvTransform(Declared):
    """CSV – plain, gzipped, or one or several of one shape in a zip – to one Parquet table, typed as `columns` declares."""

    kind: Literal["csv"]
    members: str | None = Field(
        default=None, min_length=1, description="Which files of a zip are the table, for instance Addresses/Address_*.csv."
    )
    encoding: str = Field(default="utf-8", description="Text encoding; nothing is guessed.")
    delimiter: Literal[",", ";", "|", "\t"] = ","
    points: CsvPoints | None = Field(default=None, description="Makes it a layer of points, from two columns.")


class InventoryTransform(Declared):
    """The inventory of a release that is a folder of files: a row a file, with its digests."""

    kind: Literal["inventory"]


Transform = Annotated[
    StatCanCsvTransform | VectorTransform | ShapefileTransform | GeoJsonTransform | CsvTransform | InventoryTransform,
    Field(discriminator="kind"),
]


class FixedVintage(Declared):
    """The date segment is the declaration's: a census, a fixed edition. It is part of the dataset id."""

    rule: Literal["fixed"]
    date: str = Field(description="ISO 8601 date of any precision, as it stands in the name.")


class ReleaseVintage(Declared):
    """The date segment is taken from the release time, in the publisher's time zone."""

    rule: Literal["release"]
    precision: Literal["year", "month", "day"] = "day"


Vintage = Annotated[FixedVintage | ReleaseVintage, Field(discriminator="rule")]


class Licence(Declared):
    """The publisher's terms and the attribution they ask for."""

    id: str = Field(description="SPDX id, or `other` with a URL.")
    title: Text
    url: Text
    attribution: Text


class Area(Declared):
    """The area a dataset covers, so that no catalog row has a null geometry."""

    dguid: str
    name: Text
    geometry: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon in WGS 84 longitude, latitude.")


class Column(Declared):
    """A promise about one column of the artifact; a broken promise blocks publication."""

    name: str
    title: Text
    type: str | None = Field(default=None, description="Arrow type as text, for instance int64 or timestamp[us].")
    nullable: bool = True


class MirrorName(StrEnum):
    """The mirrors a dataset can ask for. The portal is not a mirror: every version is there."""

    SOURCE_COOP = "source-coop"
    ZENODO = "zenodo"


class Dataset(Declared):
    """One declared dataset. `id` is the version id without its version (and without a vintage taken from the release)."""

    id: str
    version: str = Field(description="The declared SemVer; a PATCH is added when this vintage already has other content.")
    package: DataPackage
    title: Text
    description: Text
    publisher: Text
    source: Source
    transform: Transform
    vintage: Vintage
    licence: Licence
    area: Area
    mirrors: tuple[MirrorName, ...] = (MirrorName.SOURCE_COOP, MirrorName.ZENODO)
    key: tuple[str, ...] = Field(default=(), description="Columns that identify a row; checked to be unique.")
    columns: tuple[Column, ...] = ()
    keywords: tuple[Text, ...] = ()
