"""A zipped shapefile to GeoParquet: the one kind of layer whose text may need its encoding declared.

Not here: what is in the zip (shapefile_source), how features are read (gdal_layer), what becomes of them (layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from d4c_platform.model.dataset import Dataset, ShapefileTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import layer, shapefile_source
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.gdal_layer import GdalLayer


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
    opened = GdalLayer(source.path, source.name, source.recognised, encoding=source.encoding)
    return layer.build(dataset, transform.dguid, transform.geoparquet_version, version_id, opened, workdir)
