"""Release to artifacts: from the archived source files of one release to one checked, systems-ready file.

`build` reads only what it is given and writes only into its working directory; the same input gives the same bytes, in any
process, directory, time zone and locale. `checks`, `changes` and `manifest` judge and describe the result.

Not here: fetching and archiving (sources), digests and object storage (storage), when anything runs (orchestration).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from d4c_platform.model.dataset import (
    CogTransform,
    CsvTransform,
    Dataset,
    GeoJsonTransform,
    InventoryTransform,
    ShapefileTransform,
    StatCanCsvTransform,
    TilesTransform,
    VectorTransform,
)
from d4c_platform.model.errors import D4CError
from d4c_platform.transforms.built import BuiltFile, artifact_of
from d4c_platform.transforms.machine import machine_troubles

__all__ = ["BuiltFile", "artifact_of", "build", "previews"]


def build(
    dataset: Dataset,
    version_id: str,
    raw: Mapping[str, Path],
    workdir: Path,
    converters: Mapping[str, str] = MappingProxyType({}),
) -> BuiltFile:
    """Build the data artifact of a version.

    Args:
        raw: the release's files by name, as archived; they are only read.
        workdir: everything that is written goes here, the result too.
        converters: the operator's own commands by the format that they read (see converter).

    Raises:
        PermanentFailure: the source is not what it should be; names the file, the line where there is one, and a remedy.
        TransientFailure: the machine has no room or no memory for it.
    """
    try:
        with machine_troubles():
            return _built(dataset, version_id, raw, workdir, converters)
    except D4CError as error:
        raise error.about(
            dataset=dataset.id, version=version_id, where="transform", kept="Nothing was published; the previous latest stays"
        ) from error.__cause__


def previews(dataset: Dataset, version_id: str, built: BuiltFile, workdir: Path) -> tuple[BuiltFile, ...]:
    """What the declaration asks for beside the data: made from the built file, so that it can show nothing else."""
    if dataset.preview is None:
        return ()
    from d4c_platform.transforms.tile_preview import tiles

    with machine_troubles():
        made = tiles(dataset, version_id, built, workdir)
    return () if made is None else (made,)


def _built(
    dataset: Dataset, version_id: str, raw: Mapping[str, Path], workdir: Path, converters: Mapping[str, str]
) -> BuiltFile:
    workdir.mkdir(parents=True, exist_ok=True)
    # Each format's libraries are loaded when it is asked for: GDAL alone costs a second that a table does not need.
    match dataset.transform:
        case StatCanCsvTransform():
            from d4c_platform.transforms.statcan_csv import build as build_table

            return build_table(dataset, version_id, raw, workdir)
        case VectorTransform() as transform:
            from d4c_platform.transforms.vector import build as build_vector

            return build_vector(dataset, transform, version_id, raw, workdir)
        case ShapefileTransform() as transform:
            from d4c_platform.transforms.shapefile import build as build_layer

            return build_layer(dataset, transform, version_id, raw, workdir)
        case GeoJsonTransform() as transform:
            from d4c_platform.transforms.geojson import build as build_features

            return build_features(dataset, transform, version_id, raw, workdir)
        case CsvTransform(points=points) as transform if points is not None:
            from d4c_platform.transforms.csv_points import build as build_points

            return build_points(dataset, transform, points, version_id, raw, workdir)
        case CsvTransform() as transform:
            from d4c_platform.transforms.csv_table import build as build_rows

            return build_rows(dataset, transform, version_id, raw, workdir)
        case InventoryTransform():
            from d4c_platform.transforms.inventory import build as build_inventory

            return build_inventory(dataset, version_id, raw, workdir)
        case CogTransform() as transform:
            from d4c_platform.transforms.cog import build as build_image

            return build_image(transform, version_id, raw, workdir, converters)
        case TilesTransform():
            from d4c_platform.transforms.tiles import build as build_tiles

            return build_tiles(version_id, raw, workdir)
