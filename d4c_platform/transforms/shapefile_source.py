"""A zipped shapefile, unpacked and opened: which members belong together, how text is encoded, which CRS it declares.

A shapefile is several files. One that is missing its `.prj` says nothing of where it is, and is refused: no CRS is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import archive
from d4c_platform.transforms.crs import Recognised, recognise

REQUIRED = (".shp", ".shx", ".dbf")
_SIDECARS = (*REQUIRED, ".prj", ".cpg")
FALLBACK_ENCODING = "CP1252"  # what ArcGIS for Windows wrote when it wrote no .cpg
_MAX_TEXT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class ShapefileSource:
    """An unpacked shapefile. `name` is its path inside the zip, for messages."""

    path: Path
    name: str
    recognised: Recognised
    encoding: str


def unpack(zip_path: Path, declared_encoding: str | None, workdir: Path) -> ShapefileSource:
    """Unpack the one shapefile of a zip.

    Raises:
        PermanentFailure: there is not exactly one, or a part of it is missing.
    """
    with archive.opened(zip_path) as opened:
        found = {m.filename: m for m in archive.members(opened)}
        shapefiles = [name for name in found if name.lower().endswith(".shp")]
        if len(shapefiles) != 1:
            raise PermanentFailure(
                f"the archive holds {len(shapefiles)} shapefiles ({', '.join(shapefiles) or 'none'}) where one is expected",
                file=zip_path.name,
                remedy="Declare the URL of an archive with one layer",
            )
        stem = str(PurePosixPath(shapefiles[0]).with_suffix(""))
        parts = {ext: next((m for n, m in found.items() if n.lower() == (stem + ext).lower()), None) for ext in _SIDECARS}
        name = f"{zip_path.name}/{shapefiles[0]}"
        for ext in (*REQUIRED, ".prj"):
            if parts[ext] is None:
                raise _missing(ext, stem, zip_path)
        folder = workdir / "layer"
        folder.mkdir(exist_ok=True)
        for ext, member in parts.items():
            if member is not None:
                archive.unpack(opened, member, folder / f"layer{ext}")
    projection = _text(folder / "layer.prj", zip_path)
    encoding = declared_encoding or (_cpg(_text(folder / "layer.cpg", zip_path)) if parts[".cpg"] else None)
    # GDAL would follow a .cpg over what the declaration says of it.
    (folder / "layer.cpg").unlink(missing_ok=True)
    return ShapefileSource(
        folder / "layer.shp", name, recognise(projection, f"{zip_path.name}/{stem}.prj"), encoding or FALLBACK_ENCODING
    )


def _missing(ext: str, stem: str, zip_path: Path) -> PermanentFailure:
    if ext == ".prj":
        return PermanentFailure(
            f"the shapefile has no {stem}.prj, so nothing says which coordinate reference system it is in",
            file=zip_path.name,
            remedy="Ask the publisher for the .prj, or declare an archive that has one; no CRS is guessed",
        )
    return PermanentFailure(
        f"the shapefile has no {stem}{ext}",
        file=zip_path.name,
        remedy="The archive is not whole: fetch the release again; if it is the same, tell the publisher",
    )


def _text(path: Path, zip_path: Path) -> str:
    if path.stat().st_size > _MAX_TEXT_BYTES:
        raise PermanentFailure(f"the {path.suffix} has {path.stat().st_size} bytes", file=zip_path.name)
    return path.read_text(encoding="utf-8-sig", errors="replace").strip()


def _cpg(text: str) -> str | None:
    """A code page file's content as an encoding name; None when it says nothing we know."""
    said = text.upper().replace("_", "-")
    if re.fullmatch(r"UTF-?8|65001", said):
        return "UTF-8"
    if m := re.fullmatch(r"(?:ANSI |CP|WINDOWS-)?(\d{3,4})", said):
        return f"CP{m[1]}"
    if m := re.fullmatch(r"(?:ISO[ -]?)?8859-?(\d{1,2})", said):
        return f"ISO-8859-{m[1]}"
    return None
