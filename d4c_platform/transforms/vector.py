"""A layer of a GeoPackage, a File Geodatabase, a FlatGeobuf or a shapefile to GeoParquet.

Not here: what is in the file (vector_file), how its features are read (gdal_layer), what becomes of them (layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from d4c_platform.model.dataset import Dataset, VectorTransform
from d4c_platform.transforms import layer, vector_file
from d4c_platform.transforms.built import BuiltFile
from d4c_platform.transforms.wrapped import the_file

ENDINGS = (".gpkg", ".gpkg.gz", ".fgb", ".fgb.gz", ".zip")


def build(dataset: Dataset, transform: VectorTransform, version_id: str, raw: Mapping[str, Path], workdir: Path) -> BuiltFile:
    """Build the layer.

    Raises:
        PermanentFailure: the file or the layer is not what was declared, or its text or shapes cannot be read.
    """
    source = vector_file.opened(the_file(raw, ENDINGS), dataset, transform, workdir)
    return layer.build(dataset, transform.dguid, transform.geoparquet_version, version_id, source, workdir)
