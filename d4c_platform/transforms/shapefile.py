"""A zipped shapefile, read as a layer: GDAL streams it in Arrow batches that are bounded by bytes.

Not here: what is in the zip (shapefile_source), what becomes of the features (layer).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from d4c_platform.model.dataset import Dataset, ShapefileTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import layer, shapefile_source
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.crs import Recognised
from d4c_platform.transforms.geometry_file import BATCH_BYTES
from d4c_platform.transforms.machine import PUBLISHERS
from d4c_platform.transforms.shapefile_source import ShapefileSource


def build(
    dataset: Dataset, transform: ShapefileTransform, version_id: str, raw: Mapping[str, Path], workdir: Path
) -> BuiltFile:
    """Build the layer.

    Raises:
        PermanentFailure: the archive is not one whole shapefile, or its text or shapes cannot be read.
    """
    zips = [path for name, path in sorted(raw.items()) if name.lower().endswith(".zip")]
    if len(zips) != 1:
        raise PermanentFailure(
            f"a layer's release is one zip, not {sorted(raw)}", file=", ".join(sorted(raw)) or None, remedy="Archive it again"
        )
    source = shapefile_source.unpack(zips[0], transform.encoding, workdir)
    return layer.build(dataset, transform.dguid, version_id, _Shapefile(source), workdir)


@dataclass(frozen=True, slots=True)
class _Shapefile:
    """An unpacked shapefile as a source of features."""

    source: ShapefileSource

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def recognised(self) -> Recognised:
        return self.source.recognised

    @property
    def counts(self) -> Mapping[str, int]:
        return {}

    @contextmanager
    def opened(self) -> Iterator[layer.Opened]:
        source = self.source
        rows = source.rows_within(BATCH_BYTES, most=layer.READ_ROWS)
        try:
            with pyogrio.open_arrow(source.path, encoding=source.encoding, batch_size=rows, use_pyarrow=True) as (meta, reader):
                yield layer.Opened(reader.schema, meta["geometry_name"] or "wkb_geometry", reader)
        except (
            DataSourceError,
            DataLayerError,
            pa.ArrowInvalid,
            pa.ArrowTypeError,
            *PUBLISHERS,
            UnicodeError,
            shapely.errors.ShapelyError,
        ) as error:
            raise PermanentFailure(
                f"the shapefile cannot be read as {source.encoding} ({str(error).strip().splitlines()[0]})",
                file=source.name,
                remedy="If its text is damaged, declare the right `encoding`; else fetch the release again",
            ) from error
        shutil.rmtree(source.path.parent)  # it is read; the disk is wanted for sorting
