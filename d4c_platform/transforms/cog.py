"""One image to a Cloud-Optimized GeoTIFF: the publisher's pixels in their own CRS, with statistics and overviews.

In two steps. First every block is read once, measured, and laid into a plain tiled TIFF: whatever the source is – strips, one
JPEG 2000 tile, a broken end – shows here. Then GDAL's COG driver makes the final file from the tiled one, in bounded memory. It
is read again at the end: unless a lossy compression was asked for, every pixel has to be what the publisher published.

A warped copy would be simpler, but warping turns a rotated image upright and invents pixels. Nothing is resampled here but
the overviews.

Not here: finding the image (image_source), its values (pixels), whether it may be published (checks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyproj
import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rio_cogeo.cogeo import cog_validate

from d4c_platform.model.dataset import CogTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import ColumnInfo
from d4c_platform.transforms import crs, pixels
from d4c_platform.transforms.built import COG, BuiltFile
from d4c_platform.transforms.image_source import GEOTIFF, THREADS, image_of, opened

MOST_EXPANSION = 2_000  # of bytes when unpacked; beyond it (deflate reaches 1,032) a file is made to fill a disk
ALWAYS_ALLOWED = 1 << 30  # an empty image of a gigabyte harms nobody
OUTLINE_POINTS = 64  # along each side: a projection bends a straight side
_DISPLAYED = {"jpeg": (1, 3), "webp": (3, 4)}  # bands


@dataclass(frozen=True, slots=True)
class _Read:
    """What the first step found out."""

    recognised: crs.Recognised
    values: tuple[str, ...]


def build(
    transform: CogTransform, version_id: str, raw: Mapping[str, Path], workdir: Path, converters: Mapping[str, str]
) -> BuiltFile:
    """Build the image.

    Raises:
        PermanentFailure: the release is not one image with a CRS and a place, or not what the declared compression can hold.
    """
    source, driver = image_of(raw, workdir, converters)
    staged, path = workdir / "staged.tif", workdir / f"{version_id}.tif"
    read = _stage(source, driver, transform, staged, workdir)
    with opened(staged, GEOTIFF, workdir):
        rasterio.shutil.copy(str(staged), str(path), driver="COG", **_options(transform, staged))
    staged.unlink()
    with opened(path, GEOTIFF, workdir) as image:
        seen = pixels.pixels_of(image, image.nodata)
        if not lossy(transform) and seen.values() != read.values:
            raise PermanentFailure("the written image has other pixels than the source", file=source.name, remedy="Tell us")
        return BuiltFile(
            path=path,
            role="cog",
            media_type=COG,
            rows=image.width * image.height,
            columns=_columns(image, seen),
            logical_hash=seen.hexdigest(image, read.recognised.code),
            bbox=wgs84_bounds(image, read.recognised),
            crs=read.recognised.code,
            counts=MappingProxyType(
                {
                    "bands": image.count,
                    "height": image.height,
                    "nodata_pixels": seen.without_value,
                    "overviews": len(image.overviews(1)),
                    "source_rows": image.width * image.height,
                    "width": image.width,
                }
            ),
            facts=MappingProxyType(_facts(transform, image, driver)),
        )


def lossy(transform: CogTransform) -> bool:
    """Whether the declared compression may change a pixel."""
    return transform.quality is not None


def problems(path: Path) -> list[str]:
    """What rio-cogeo's validator, at its strictest, has against a file; empty when it is a good COG."""
    sound, errors, warnings = cog_validate(path, strict=True, quiet=True)
    return [] if sound else [*errors, *warnings] or ["it is no COG"]


def wgs84_bounds(image: DatasetReader, recognised: crs.Recognised) -> tuple[float, float, float, float] | None:
    """The box of the image's outline in longitude and latitude; the outline, because a rotated image has no box of its own."""
    along = np.linspace(0, 1, OUTLINE_POINTS)
    columns = np.concatenate([along, np.ones_like(along), along, np.zeros_like(along)]) * image.width
    rows = np.concatenate([np.zeros_like(along), along, np.ones_like(along), along]) * image.height
    place = image.transform
    x, y = place.a * columns + place.b * rows + place.c, place.d * columns + place.e * rows + place.f
    longitude, latitude = pyproj.Transformer.from_crs(recognised.crs, "OGC:CRS84", always_xy=True).transform(x, y)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    if not known.all():
        return None
    return (float(longitude.min()), float(latitude.min()), float(longitude.max()), float(latitude.max()))


def _stage(source: Path, driver: str, transform: CogTransform, staged: Path, workdir: Path) -> _Read:
    """The source as a plain tiled TIFF, with its statistics."""
    with opened(source, driver, workdir) as image:
        recognised = _recognised(image, source.name)
        _require_possible(image, source, transform)
        nodata = _nodata(image, transform, source.name)
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "width": image.width,
            "height": image.height,
            "count": image.count,
            "dtype": image.dtypes[0],
            "crs": CRS.from_user_input(recognised.code) if recognised.code else image.crs,
            "transform": image.transform,
            "nodata": nodata,
            "tiled": True,
            "blockxsize": pixels.BLOCK,
            "blockysize": pixels.BLOCK,
            "BIGTIFF": "YES",
            "compress": "zstd",
            "zstd_level": 1,
            "interleave": "pixel",
        }
        seen = pixels.Pixels(image, nodata)
        with rasterio.open(staged, "w", **profile) as tiled:
            _describe(image, tiled)
            for window, values, mask in pixels.blocks(image):
                tiled.write(values, window=window)
                if mask is not None:
                    tiled.write_mask(mask, window=window)
                seen.update(values, mask)
            for number, band in enumerate(seen.bands, 1):
                tiled.update_tags(number, **band.statistics(image.width * image.height))
        return _Read(recognised, seen.values())


def _describe(image: DatasetReader, tiled: Any) -> None:
    """What the publisher says of the bands; sentences of the software that made the file are left out, statistics made anew."""
    if "AREA_OR_POINT" in image.tags():
        tiled.update_tags(AREA_OR_POINT=image.tags()["AREA_OR_POINT"])
    tiled.colorinterp = image.colorinterp
    tiled.scales, tiled.offsets = image.scales, image.offsets
    for number, (description, unit) in enumerate(zip(image.descriptions, image.units, strict=True), 1):
        if description:
            tiled.set_band_description(number, description)
        if unit:
            tiled.set_band_unit(number, unit)
        if image.colorinterp[number - 1] == ColorInterp.palette:
            tiled.write_colormap(number, image.colormap(number))


def _recognised(image: DatasetReader, file: str) -> crs.Recognised:
    if image.crs is None or not image.crs.to_wkt():
        raise PermanentFailure(
            "the image has no coordinate reference system",
            file=file,
            remedy="Ask the publisher for an image that says it; a file beside it is not read, nothing is guessed",
        )
    if image.transform.is_identity:
        raise PermanentFailure(
            "the image does not say where it lies" + (" (it has control points only)" if image.gcps[0] else ""),
            file=file,
            remedy="Ask the publisher for a georeferenced image; a world file beside it is not read",
        )
    return crs.recognise(image.crs.to_wkt(), file)


def _require_possible(image: DatasetReader, source: Path, transform: CogTransform) -> None:
    kinds = sorted(set(image.dtypes))
    unpacked = image.width * image.height * image.count * max(np.dtype(kind).itemsize for kind in kinds)
    if unpacked > max(source.stat().st_size * MOST_EXPANSION, ALWAYS_ALLOWED):
        raise PermanentFailure(
            f"the image says it has {image.width:,} × {image.height:,} pixels in {image.count} bands, which its "
            f"{source.stat().st_size:,} bytes cannot hold",
            file=source.name,
            remedy="Tell the publisher; nothing was unpacked",
        )
    if len(kinds) > 1 or kinds[0].startswith("complex"):
        raise PermanentFailure(
            f"the bands are {', '.join(kinds)}; a GeoTIFF has one type of real numbers for all", file=source.name
        )
    wanted = _DISPLAYED.get(transform.compression)
    has_alpha = transform.compression == "jpeg" and pixels.alpha_band(image) is not None
    if wanted and (image.count not in wanted or kinds != ["uint8"] or has_alpha):
        raise PermanentFailure(
            f"{transform.compression} cannot hold {image.count} bands of {kinds[0]}"
            + (" with transparency" if has_alpha else ""),
            file=source.name,
            remedy="Declare `compression: deflate`",
        )
    if ColorInterp.palette in image.colorinterp and transform.overviews not in ("nearest", "mode"):
        raise PermanentFailure(
            f"the image has a palette, and {transform.overviews} of two entries is a third colour",
            file=source.name,
            remedy="Declare `overviews: mode`, or leave it out",
        )


def _nodata(image: DatasetReader, transform: CogTransform, file: str) -> float | None:
    """The one value that means no value: the declared one, else the file's."""
    if transform.nodata is None:
        if len({repr(n) for n in image.nodatavals}) > 1:
            raise PermanentFailure(
                f"the bands have different nodata values ({', '.join(map(str, image.nodatavals))}); a GeoTIFF has one for all",
                file=file,
                remedy="Declare the right one as `nodata`",
            )
        return None if image.nodata is None else float(image.nodata)
    value = float(transform.nodata)
    kind = np.dtype(image.dtypes[0])
    fits = kind.kind == "f" or (value.is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max)
    if not fits:
        raise PermanentFailure(f"no pixel of type {kind} can be the declared nodata {transform.nodata}", file=file)
    return value


def _options(transform: CogTransform, staged: Path) -> dict[str, str]:
    with rasterio.open(staged, driver=GEOTIFF) as tiled:
        kind = tiled.dtypes[0]
    options = {
        "COMPRESS": transform.compression.upper(),
        "BLOCKSIZE": str(pixels.BLOCK),
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": transform.overviews.upper(),
        "BIGTIFF": "IF_SAFER",
        "STATISTICS": "AUTO",  # those of the staged file: GDAL's own would be of every n-th pixel
        "NUM_THREADS": str(THREADS),
    }
    match transform.compression:
        case "deflate" | "zstd":
            level = {"deflate": "6", "zstd": "15"}[transform.compression]
            return options | {"LEVEL": level, "PREDICTOR": "FLOATING_POINT" if kind in ("float32", "float64") else "STANDARD"}
        case "webp":
            return options | {"QUALITY": str(transform.quality or 100)}
        case "jpeg":
            return options | {"QUALITY": str(transform.quality)}


def _columns(image: DatasetReader, seen: pixels.Pixels) -> tuple[ColumnInfo, ...]:
    total = image.width * image.height
    return tuple(
        ColumnInfo(name=f"band_{number}", type=kind, nulls=total - band.valid, title_en=description or colour.name)
        for number, kind, description, colour, band in zip(
            image.indexes, image.dtypes, image.descriptions, image.colorinterp, seen.bands, strict=True
        )
    )


def _facts(transform: CogTransform, image: DatasetReader, driver: str) -> dict[str, str]:
    return {
        "blocks": f"{image.block_shapes[0][1]} x {image.block_shapes[0][0]}",
        "compression": transform.compression if transform.quality is None else f"{transform.compression} {transform.quality}",
        "dtype": image.dtypes[0],
        "lossless": "no" if lossy(transform) else "yes",
        "nodata": "none" if image.nodata is None else str(image.nodata),
        "overview_resampling": transform.overviews,
        "source_format": driver,
    }
