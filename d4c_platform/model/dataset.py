"""A declared dataset: what D4C publishes, from where, as what, and under which licence.

One YAML file is one `Dataset`. The published JSON Schema (`d4c dataset schema`) is generated from these models, so the
schema and the checks cannot disagree. Loading and cross-checks live in `d4c_platform.datasets`.

Not here: the kinds of source (`sources`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from d4c_platform.model.checks import CheckChoice
from d4c_platform.model.declared import Declared
from d4c_platform.model.declared import Text as Text
from d4c_platform.model.sources import Source


class DataPackage(StrEnum):
    """The families of datasets; the values are the name segment."""

    STATISTICAL = "d4c-datapkg-statistical"
    FOUNDATION = "d4c-datapkg-foundation"
    ORTHOIMAGERY = "d4c-datapkg-orthoimagery"
    FIELD_IMAGERY = "d4c-datapkg-field-imagery"
    ENVIRONMENT_CLIMATE_HEALTH = "d4c-datapkg-environment-climate-health"


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


class CogTransform(Declared):
    """One GeoTIFF or JPEG 2000 image – as it is, or the only one of a zip – to a Cloud-Optimized GeoTIFF in its own CRS."""

    kind: Literal["cog"]
    compression: Literal["deflate", "zstd", "webp", "jpeg"] = Field(
        default="deflate", description="deflate and zstd lose nothing; webp does not either, unless a quality is given."
    )
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Of jpeg (needed) and webp (makes it lossy): for images to look at, not data."
    )
    nodata: float | Literal["nan"] | None = Field(
        default=None, description="The value that means no value, when the file does not say it or says it wrongly."
    )
    overviews: Literal["nearest", "average", "bilinear", "cubic", "mode"] = Field(
        default="nearest", description="How smaller copies are made; nearest and mode invent no value, average looks best."
    )


class TilesTransform(Declared):
    """One PMTiles v3 archive as it is, or one MBTiles as PMTiles – or the only file of a zip."""

    kind: Literal["tiles"]


Transform = Annotated[
    StatCanCsvTransform
    | VectorTransform
    | ShapefileTransform
    | GeoJsonTransform
    | CsvTransform
    | InventoryTransform
    | CogTransform
    | TilesTransform,
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
    checks: tuple[CheckChoice, ...] = Field(
        default=(), description="Checks that are tuned or waived for this dataset; all others stay as they are."
    )
    keywords: tuple[Text, ...] = ()
    preview: Literal["pmtiles"] | None = Field(
        default=None, description="Small tiles of a layer to look at, as a second file beside the data."
    )
