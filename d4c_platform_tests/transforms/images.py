"""Small images in the publishers' formats, written with rasterio for these tests."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.env import Env

NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 6_720_000.0)
CRS = "EPSG:3578"  # Yukon Albers
NORTH_UP_3578 = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 700_000.0)


def write(path: Path, values: np.ndarray, *, driver: str = "GTiff", crs: str | None = CRS, tags=None, palette=None, **profile):
    """An image of bands × rows × columns."""
    count, height, width = values.shape
    profile.setdefault("transform", NORTH_UP_3578)
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=values.dtype, crs=crs, **profile
    ) as image:
        image.write(values)
        if palette:
            image.write_colormap(1, palette)
        if tags:
            image.update_tags(**tags)
    return path


def rgb(height: int = 700, width: int = 900, seed: int = 1) -> np.ndarray:
    """Three bands with a picture in them: slopes and a little noise, so that it is neither constant nor random."""
    noise = np.random.default_rng(seed).integers(0, 8, (3, height, width))
    rows, columns = np.mgrid[0:height, 0:width]
    return (np.stack([rows // 4, columns // 4, (rows + columns) // 8]) % 240 + noise).astype(np.uint8)


def has_driver(name: str) -> bool:
    with Env() as env:
        return name in env.drivers()
