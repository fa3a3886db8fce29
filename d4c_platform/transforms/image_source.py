"""The one image of a release: told by its first bytes, never by its name, and opened with the one driver they ask for.

GDAL tries a hundred drivers on a file, and some of them (VRT, WMS) follow addresses that the file names. So it is asked for one
driver, and for no file beside the image: a world file or an `.aux.xml` could say something else than the image does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive
from d4c_platform.transforms.converter import ECW, MRSID, convert

GEOTIFF, JPEG2000 = "GTiff", "JP2OpenJPEG"
CACHE_MB = 256  # GDAL's block cache: rows of a striped orthophoto, far below the 1.5 GB of a step
THREADS = 2
_LOOK = 16  # bytes that tell every format
_SIGNATURES = (
    (re.compile(rb"II[*+]\0|MM\0[*+]"), GEOTIFF),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), JPEG2000),
    (re.compile(rb"e[\x02\x03]\x01"), ECW),
    (re.compile(rb"msid"), MRSID),
)


def kind_of(beginning: bytes) -> str | None:
    """The format that a file's first bytes tell; None when it is no image we know."""
    return next((kind for signature, kind in _SIGNATURES if signature.match(beginning)), None)


def image_of(raw: Mapping[str, Path], workdir: Path, converters: Mapping[str, str]) -> tuple[Path, str]:
    """The image of a release and the driver that reads it.

    Raises:
        PermanentFailure: there is none, or several; or it is ECW or MrSID and no command of the operator's converts it.
    """
    found: list[tuple[Path, str]] = []
    for _, path in sorted(raw.items()):
        beginning = _beginning(path)
        if beginning.startswith(b"PK"):
            found += _of_zip(path, workdir, one_already=bool(found))
        elif (kind := kind_of(beginning)) is not None:
            found.append((path, kind))
    if len(found) != 1:
        names = ", ".join(sorted(raw))
        raise PermanentFailure(
            "the release holds no GeoTIFF and no JPEG 2000 image" if not found else "the release holds several images",
            file=names,
            remedy="Declare one dataset for each image; a mosaic is not made" if found else "Look at what the publisher serves",
        )
    [(path, kind)] = found
    if kind in (ECW, MRSID):
        return convert(kind, path, workdir / "converted.tif", converters), GEOTIFF
    return path, kind


@contextmanager
def opened(path: Path, driver: str, workdir: Path) -> Iterator[DatasetReader]:
    """The image, with every way that it can be broken told as a failure, also when a block of it is read."""
    try:
        with settled(workdir), rasterio.open(path, driver=driver) as source:
            yield source
    except RasterioError as error:
        raise PermanentFailure(
            f"the image cannot be read ({_first_line(error)})",
            file=path.name,
            remedy="Fetch the release again; if it is the same, tell the publisher",
        ) from error


def settled(workdir: Path) -> rasterio.Env:
    """GDAL as every step uses it: bounded, its temporary files in the working folder, no file beside the image read."""
    return rasterio.Env(
        GDAL_CACHEMAX=CACHE_MB,
        GDAL_NUM_THREADS=THREADS,
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_PAM_ENABLED="NO",
        GDAL_TIFF_INTERNAL_MASK="YES",
        CPL_TMPDIR=str(workdir),
        CPL_LOG="OFF",
    )


def _of_zip(path: Path, workdir: Path, *, one_already: bool) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    with archive.opened(path) as zipped:
        for member in archive.members(zipped):
            beginning = b""
            for chunk in zipped.chunks(member):
                beginning += chunk
                if len(beginning) >= _LOOK:
                    break
            if (kind := kind_of(beginning[:_LOOK])) is None:
                continue
            if found or one_already:  # there is one too many; nothing more has to be unpacked to say so
                return [*found, (path, kind)]
            found.append((archive.unpack(zipped, member, workdir / "source.img"), kind))
    return found


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LOOK)


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
