"""The kinds of source: from the `kind` of a declaration to the class that speaks it.

A new kind is one module with a class of the `Source` protocol, its declaration in `model.sources`, and one line in `KINDS`.
"""

from __future__ import annotations

from types import MappingProxyType

from d4c_platform.model.dataset import Dataset
from d4c_platform.sources.arcgis import ArcgisLayer
from d4c_platform.sources.ckan import Ckan
from d4c_platform.sources.file_list import FileList
from d4c_platform.sources.http_file import HttpFile
from d4c_platform.sources.opendatasoft import Opendatasoft
from d4c_platform.sources.source import Source, SourceSettings
from d4c_platform.sources.statcan import StatCanTables
from d4c_platform.sources.statcan_geography import StatCanGeography
from d4c_platform.web import Web

KINDS: MappingProxyType[str, type[Source]] = MappingProxyType(
    {kind.kind: kind for kind in (StatCanTables, HttpFile, StatCanGeography, Ckan, Opendatasoft, ArcgisLayer, FileList)}
)


class Sweep:
    """The sources of one look at many datasets: one client a kind, so that what it read once is not asked for again."""

    def __init__(self, web: Web, settings: SourceSettings | None = None) -> None:
        self._web, self._settings = web, settings or SourceSettings()
        self._open: dict[str, Source] = {}

    def source(self, dataset: Dataset) -> Source:
        """The opened source of the dataset's kind."""
        return self.of_kind(dataset.source.kind)

    def of_kind(self, kind: str) -> Source:
        """The opened source of a kind."""
        if kind not in self._open:
            self._open[kind] = KINDS[kind].open(self._web, self._settings)
        return self._open[kind]


def open_source(dataset: Dataset, web: Web, settings: SourceSettings | None = None) -> Source:
    """The source of one dataset, for one look or one archive."""
    return Sweep(web, settings).source(dataset)
