"""A small map of a version, as SVG: enough to see at a glance that it is the right place and not upside down.

Drawn from the built file in its own projection, in batches and simplified to what a thumbnail can show, so that the preview of
a large layer costs little memory and few bytes. A table, an image and tiles are drawn as the area they cover.

Not here: maps to explore data with; those are tiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.records import Artifact
from d4c_platform.transforms.machine import machine_troubles

WIDTH = 640  # SVG units; the height follows from the extent
HEIGHT_LIMITS = (160, 640)
BATCH_ROWS = 5_000
MOST_SHAPES = 3_000  # beyond it a thumbnail is a blot: every n-th shape is drawn
POINT_RADIUS = 2.0
STYLE = 'fill="#9fc5d8" stroke="#1f4e5f" stroke-width="0.8" fill-rule="evenodd"'


def preview(dataset: Dataset, artifact: Artifact, path: Path) -> str:
    """The version's map as an SVG document; the same file gives the same text.

    Args:
        path: the built Parquet file; read only when the artifact has geometry.
    """
    with machine_troubles():
        if artifact.crs is None or artifact.role != "data":
            shapes: list[BaseGeometry] = [shapely.geometry.shape(dataset.area.geometry)]
        else:
            with pq.ParquetFile(path) as file:
                shapes = list(_shapes(file, every=-(-artifact.rows // MOST_SHAPES) or 1, tolerance=_extent(file) / WIDTH))
        return _draw([s for s in shapes if not s.is_empty], dataset.title.en)


def _shapes(file: pq.ParquetFile, every: int, tolerance: float) -> Iterator[BaseGeometry]:
    row = 0
    for wkb in _batches(file):
        chosen = shapely.from_wkb(wkb[np.arange(row, row + len(wkb)) % every == 0])
        row += len(wkb)
        for shape in shapely.simplify(chosen, tolerance, preserve_topology=False):
            if shape is not None and not shape.is_empty:
                yield shape


def _extent(file: pq.ParquetFile) -> float:
    """The longer side of all shapes' box, as the file's footer tells it; 0 when there is none."""
    geo: dict[str, Any] = json.loads((file.metadata.metadata or {}).get(b"geo", b"{}"))
    box = geo.get("columns", {}).get("geometry", {}).get("bbox")
    return max(box[2] - box[0], box[3] - box[1]) if box else 0.0


def _batches(file: pq.ParquetFile) -> Iterator[Any]:
    # Never beyond a row group, whose bytes the writer bounds.
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(BATCH_ROWS, columns=["geometry"], row_groups=[group]):
            yield batch.column(0).to_numpy(zero_copy_only=False)


def _draw(shapes: list[BaseGeometry], title: str) -> str:
    bounds = shapely.total_bounds(np.array(shapes, dtype=object)) if shapes else np.array([0.0, 0.0, 1.0, 1.0])
    west, south, east, north = (float(b) for b in bounds)
    scale = WIDTH / max(east - west, (north - south) / HEIGHT_LIMITS[1] * WIDTH, 1e-9)
    height = min(max(round((north - south) * scale), HEIGHT_LIMITS[0]), HEIGHT_LIMITS[1])
    left, top = (WIDTH - (east - west) * scale) / 2, (height - (north - south) * scale) / 2

    def place(points: Iterable[Any]) -> list[str]:
        return [f"{left + (p[0] - west) * scale:.1f} {top + (north - p[1]) * scale:.1f}" for p in points]

    body = "".join(_path(part, place) for shape in shapes for part in getattr(shape, "geoms", [shape]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {WIDTH + 8} {height + 8}" width="{WIDTH}" role="img">'
        f"<title>{_escape(title)}</title>{body}</svg>\n"
    )


def _path(part: BaseGeometry, place: Any) -> str:
    match part.geom_type:
        case "Polygon":
            rings = [part.exterior, *part.interiors]  # type: ignore[attr-defined]
            outline = "".join(f"M{'L'.join(place(ring.coords))}Z" for ring in rings)
            return f'<path d="{outline}" {STYLE}/>'
        case "LineString" | "LinearRing":
            return f'<path d="M{"L".join(place(part.coords))}" fill="none" stroke="#1f4e5f"/>'
        case "Point":
            x, y = place(part.coords)[0].split()
            return f'<circle cx="{x}" cy="{y}" r="{POINT_RADIUS}" fill="#1f4e5f"/>'
        case _:
            return "".join(_path(inner, place) for inner in getattr(part, "geoms", ()))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
