"""A file of vector layers, unpacked: what it is, by its first bytes, and which of its layers is meant.

A GeoPackage and a FlatGeobuf are one file, plain, gzipped or in a zip; a File Geodatabase is a folder, so it comes in a zip; a
shapefile is several files and has its own rules (shapefile_source). Whatever it is called, it is copied under a name of ours:
GDAL goes by endings, and SQLite would write beside the archived file.

Which coordinate reference system a layer is in has to stand in the file. One without is refused: none is guessed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from d4c_platform.model.dataset import Dataset, VectorTransform
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import shapefile_source
from d4c_platform.transforms.crs import recognise
from d4c_platform.transforms.gdal_layer import GdalLayer
from d4c_platform.transforms.wrapped import Member, unwrapped

FORMATS = "a GeoPackage, a File Geodatabase in a zip, a FlatGeobuf or a zipped shapefile"
_MAGIC = {b"SQLite format 3\0": ".gpkg", b"fgb\x03fgb": ".fgb"}
_ENDINGS = (".gpkg", ".fgb", ".shp")
_GDB_FILE = re.compile(r"(?:a[0-9a-f]{8}\.[a-z_]+|gdb|timestamps)", re.IGNORECASE)  # what a File Geodatabase is made of
_COPY_BYTES = 1 << 20
_SPATIALLESS = ("None", "", None)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a release holds that could be the file: one member, or the members of a geodatabase's folder."""

    path: str
    members: tuple[Member, ...]


def opened(path: Path, dataset: Dataset, transform: VectorTransform, workdir: Path) -> GdalLayer:
    """Unpack the file and find the layer.

    Raises:
        PermanentFailure: it is no file of layers, holds several where one is needed, or does not say where its layer is.
    """
    with unwrapped(path) as members:
        parts = tuple(_parts(members))
        if len(parts) != 1:
            names = ", ".join(p.path for p in parts) or ", ".join(m.path for m in members[:10]) or "nothing"
            raise PermanentFailure(
                f"the release holds {len(parts)} files of layers ({names}) where one is expected",
                file=path.name,
                remedy=f"Declare the URL of {FORMATS}, alone in its archive",
            )
        part = parts[0]
        if part.path.lower().endswith(".shp"):
            return _shapefile(path, transform, workdir)
        target = _copied(part, workdir, path.name)
    name = path.name if len(members) == 1 and part.path == path.name else f"{path.name}/{part.path}"
    return _layer(target, name, dataset, transform)


def _shapefile(path: Path, transform: VectorTransform, workdir: Path) -> GdalLayer:
    source = shapefile_source.unpack(path, transform.encoding, workdir)
    stem = PurePosixPath(source.name).stem
    if transform.layer not in (None, stem):
        raise _no_such(transform.layer or "", (stem,), source.name)
    return GdalLayer(source.path, source.name, source.recognised, encoding=source.encoding)


def _parts(members: tuple[Member, ...]) -> Iterator[_Part]:
    """The files of layers among the members: by their endings when there are several members, else the only one."""
    folders: dict[str, list[Member]] = {}
    for member in members:
        parents = [str(p) for p in PurePosixPath(member.path).parents if p.suffix.lower() == ".gdb"]
        if parents:
            folders.setdefault(parents[0], []).append(member)
        elif len(members) == 1 or member.path.lower().endswith(_ENDINGS):
            yield _Part(member.path, (member,))
    for folder, inside in sorted(folders.items()):
        yield _Part(folder, tuple(inside))


def _copied(part: _Part, workdir: Path, file: str) -> Path:
    folder = workdir / "layer"
    folder.mkdir(exist_ok=True)
    if len(part.members) > 1 or PurePosixPath(part.path).suffix.lower() == ".gdb":
        target = folder / "layer.gdb"
        target.mkdir()
        for member in part.members:
            name = PurePosixPath(member.path).name
            if _GDB_FILE.fullmatch(name):
                _copy(member, target / name.lower())
        return target
    copied = folder / "layer"
    _copy(part.members[0], copied)
    with copied.open("rb") as begun:
        begins = begun.read(16)
    ending = next((e for magic, e in _MAGIC.items() if begins.startswith(magic)), None)
    if ending is None:
        raise PermanentFailure(
            f"{part.path} is none of the formats that are read (it begins with {begins[:8]!r})",
            file=file,
            remedy=f"Declare the URL of {FORMATS}",
        )
    return copied.rename(folder / f"layer{ending}")


def _copy(member: Member, target: Path) -> None:
    with member.open() as stream, target.open("wb") as out:
        while piece := stream.read(_COPY_BYTES):
            out.write(piece)


def _layer(target: Path, name: str, dataset: Dataset, transform: VectorTransform) -> GdalLayer:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that pyogrio would read a layer without its measures
            listed = pyogrio.list_layers(target)
            spatial = tuple(str(layer) for layer, kind in listed if kind not in _SPATIALLESS)
            chosen = _chosen(spatial, transform.layer, name)
            told = pyogrio.read_info(target, layer=chosen)
    except (DataSourceError, DataLayerError) as error:
        raise PermanentFailure(
            f"the file cannot be opened ({str(error).strip().splitlines()[0].replace(str(target), name)})",
            file=name,
            remedy="Fetch the release again; if it is the same, tell the publisher",
        ) from error
    where = f"{name}, layer {chosen}"
    if not told["crs"]:
        raise PermanentFailure(
            "nothing says which coordinate reference system the layer is in",
            file=where,
            remedy="Ask the publisher for a file that says it; no CRS is guessed",
        )
    identifier = str(told["fid_column"] or "")
    kept = identifier if identifier.lower() in {c.name for c in dataset.columns} else None
    return GdalLayer(target, where, recognise(told["crs"], where), layer=chosen, identifier=kept)


def _chosen(spatial: tuple[str, ...], declared: str | None, name: str) -> str:
    if declared is not None:
        if declared not in spatial:
            raise _no_such(declared, spatial, name)
        return declared
    if len(spatial) != 1:
        raise PermanentFailure(
            f"the file has {len(spatial)} layers with geometry ({', '.join(spatial) or 'none'}) where one is expected",
            file=name,
            remedy="Declare which one is the dataset in the transform's `layer`",
        )
    return spatial[0]


def _no_such(layer: str, spatial: tuple[str, ...], name: str) -> PermanentFailure:
    return PermanentFailure(
        f"there is no layer {layer} with geometry (there are {', '.join(spatial) or 'none'})",
        file=name,
        remedy="Correct `layer` in the declaration",
    )
