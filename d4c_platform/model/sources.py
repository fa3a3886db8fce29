"""The kinds of source that a dataset can declare, each with what everybody may ask of it.

Who lists a dataset, checks a declaration, links a publisher or stands in for one asks `DeclaredSource` and knows no kind; so a
new kind is a class here and its place in `Source`. The alternative, a case a kind in each of those rooms, was what made a new
kind cost five files.

Not here: asking a publisher anything. A declared source is words; the class that speaks to the publisher is registered in
`d4c_platform.sources.registry`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from d4c_platform.model.declared import Declared

Disagreement = tuple[tuple[str | int, ...], str]
"""What does not fit, and where: the path of the field within the source, and a clause without a trailing period."""

STATCAN_SERVICE = "https://www150.statcan.gc.ca/t1/wds/rest"
STATCAN_TABLE_PAGE = "https://www150.statcan.gc.ca/t1/tbl1/en/tv.action?pid={product_id}01"  # 01: the default view


class DeclaredSource(Declared):
    """What every kind answers. Pure: nothing is asked of anybody.

    Attributes:
        read_by: the kinds of transform that read what it brings.
        page_title: what the page is.
        page_language: the page's language, when it has one.
    """

    kind: str
    read_by: ClassVar[frozenset[str]]
    page_title: ClassVar[str] = "The publisher's page"
    page_language: ClassVar[str | None] = None

    @property
    @abstractmethod
    def addresses(self) -> Mapping[str, str]:
        """Every address that a person wrote, by its field, the one that is asked first. Rules look at each of them."""

    @property
    def address(self) -> str:
        """What is asked for a new release."""
        return next(iter(self.addresses.values()))

    @property
    def only_file(self) -> str | None:
        """The URL of the one file that a release is; None where releases are made of something else."""
        return None

    @property
    def page(self) -> str | None:
        """The page that shows the data to people; None when there is only what `address` leads to."""
        return None

    @property
    def label(self) -> str:
        """The source in a few words, for a list."""
        return self.address.rpartition("/")[2]

    @property
    def details(self) -> str:
        """The source with where it lies, for a person who wants to look."""
        return self.address

    def disagreements(self, transform: str) -> Iterator[Disagreement]:
        """What its schema cannot say of its fields, among each other and with the kind of transform that reads it."""
        del transform
        yield from ()


class StatCanTableSource(DeclaredSource):
    """A Statistics Canada table, watched and fetched through the Web Data Service."""

    read_by = frozenset({"statcan-csv"})
    page_language = "en"

    kind: Literal["statcan-table"]
    product_id: str = Field(pattern=r"^\d{8}$", description="The 8-digit product id, without the 2-digit view suffix.")
    languages: tuple[Literal["en", "fr"], ...] = ("en", "fr")
    recheck_days: int = Field(
        default=7,
        ge=0,
        description="Days after which a release's files are looked at again for a revision that was not announced; 0: never.",
    )

    @property
    def addresses(self) -> Mapping[str, str]:
        return {}

    @property
    def address(self) -> str:
        return STATCAN_SERVICE

    @property
    def page(self) -> str:
        return STATCAN_TABLE_PAGE.format(product_id=self.product_id)

    @property
    def label(self) -> str:
        return f"StatCan {self.product_id[:2]}-{self.product_id[2:4]}-{self.product_id[4:]}"

    @property
    def details(self) -> str:
        return f"{self.label} ({', '.join(self.languages)})"


class HttpFileSource(DeclaredSource):
    """One file at a stable URL, watched by its HTTP validators and confirmed by its content."""

    read_by = frozenset({"shapefile", "vector", "geojson", "csv", "cog", "tiles"})

    kind: Literal["http-file"]
    url: str = Field(pattern=r"^https?://")

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"url": self.url}

    @property
    def only_file(self) -> str:
        return self.url


class StatCanGeographySource(DeclaredSource):
    """A zip of Statistics Canada's geography (boundaries, roads, addresses, buildings) on one of its file servers."""

    read_by = frozenset({"shapefile", "vector", "csv"})

    kind: Literal["statcan-geography"]
    url: str = Field(pattern=r"^https://www(12|150)\.statcan\.gc\.ca/[^?#]+\.[zZ][iI][pP]$")

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"url": self.url}

    @property
    def only_file(self) -> str:
        return self.url


class CkanSource(DeclaredSource):
    """Resources of one package (dataset) of a CKAN portal, each watched by its own file and not by the portal's dates."""

    read_by = frozenset({"shapefile", "vector", "geojson", "csv", "cog", "tiles"})

    kind: Literal["ckan"]
    portal: str = Field(
        pattern=r"^https?://", description="Base URL, to which /api/3/action is appended: https://open.canada.ca/data/en."
    )
    package: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="The package's id, or the name in its page's address.")
    resources: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], ...] = Field(
        min_length=1, description="The ids of the resources whose files make the dataset."
    )

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"portal": self.portal}

    @property
    def page(self) -> str:
        return f"{self.portal.rstrip('/')}/dataset/{self.package}"

    @property
    def label(self) -> str:
        return f"CKAN package {self.package}, {len(self.resources)} resource{'s' if len(self.resources) > 1 else ''}"

    @property
    def details(self) -> str:
        return f"{self.label}: {self.page}"

    def disagreements(self, transform: str) -> Iterator[Disagreement]:
        yield from _of_a_portal(self.portal)
        for index, resource in enumerate(self.resources):
            if resource in self.resources[:index]:
                yield ("resources", index), f"{resource} is listed twice"


class OpendatasoftSource(DeclaredSource):
    """One dataset of an Opendatasoft portal, exported whole through the Explore API v2.1."""

    read_by = frozenset({"geojson", "csv"})

    kind: Literal["opendatasoft"]
    portal: str = Field(pattern=r"^https://", description="The portal's address, for instance https://opendata.vancouver.ca.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9@_.-]*$", description="The dataset's id in its page's address.")
    format: Literal["geojson", "csv", "parquet"] = "geojson"

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"portal": self.portal}

    @property
    def page(self) -> str:
        return f"{self.portal.rstrip('/')}/explore/dataset/{self.dataset}/"

    @property
    def label(self) -> str:
        return f"Opendatasoft dataset {self.dataset} as {self.format}"

    @property
    def details(self) -> str:
        return f"{self.label}: {self.page}"

    def disagreements(self, transform: str) -> Iterator[Disagreement]:
        yield from _of_a_portal(self.portal)
        # One export is one file of one format, so the transform has to be the one that reads it.
        if transform in self.read_by and transform != self.format:
            yield ("format",), f"the transform {transform} does not read an export in the format {self.format}"


class ArcgisSource(DeclaredSource):
    """One layer or table of an ArcGIS server, watched by its edit date, or by its content where it has none."""

    read_by = frozenset({"geojson"})
    page_title = "The publisher's layer"

    kind: Literal["arcgis"]
    layer: str = Field(
        pattern=r"^https://[^?#\s]+/(FeatureServer|MapServer)/[0-9]+$",
        description="URL of the layer, without a query: it ends in /FeatureServer/N or /MapServer/N.",
    )
    where: str = Field(default="1=1", min_length=1, description="Which rows, as a SQL condition that the server understands.")

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"layer": self.layer}

    @property
    def page(self) -> str:
        return self.layer  # the server shows people a page there, and programs a document

    @property
    def label(self) -> str:
        return "/".join(self.layer.split("/")[-3:])

    @property
    def details(self) -> str:
        return f"{self.layer} where {self.where}"


class FileListSource(DeclaredSource):
    """Thousands of files that a list names, as one release: streamed into the portal, never whole on a disk."""

    read_by = frozenset({"inventory"})

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

    @property
    def addresses(self) -> Mapping[str, str]:
        return {"url": self.url} | ({"base": self.base} if self.base is not None else {})


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


def _of_a_portal(url: str) -> Iterator[Disagreement]:
    """A portal's address, to which the paths of its API are appended."""
    if "?" in url or "#" in url:
        yield ("portal",), "it is a base address, so it has no query and no fragment"
    if "/api/" in url or url.rstrip("/").endswith("/api"):
        yield ("portal",), "it stops before /api, which is appended"
