"""Small source releases in the publishers' own formats, written for these tests."""

import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyogrio.raw
import shapely

from d4c_platform.model.dataset import Dataset

TABLE_ID = "ca_statcan-2021A000011124_d4c-datapkg-statistical_98100001"
TABLE_VERSION = f"{TABLE_ID}_2022-02-09_v1.0.0"
LAYER_ID = "ca-yt_yukon-2021A000260_d4c-datapkg-foundation_districts_2015"
LAYER_VERSION = f"{LAYER_ID}_v1.0.0"
IMAGE_ID = "ca-yt_yukon-2021A000260_d4c-datapkg-orthoimagery_whitehorse_2024"
IMAGE_VERSION = f"{IMAGE_ID}_v1.0.0"

HEADER_EN = (
    *("REF_DATE", "GEO", "DGUID", "Type of dwelling", "UOM", "UOM_ID", "SCALAR_FACTOR", "SCALAR_ID"),
    *("VECTOR", "COORDINATE", "VALUE", "STATUS", "SYMBOL", "TERMINATED", "DECIMALS"),
)
HEADER_FR = (
    *("PÉRIODE DE RÉFÉRENCE", "GÉO", "DGUID", "Genre de logement", "UNITÉ DE MESURE", "IDENTIFICATEUR D'UNITÉ DE MESURE"),
    *("FACTEUR SCALAIRE", "IDENTIFICATEUR SCALAIRE", "VECTEUR", "COORDONNÉES", "VALEUR", "STATUT", "SYMBOLE", "TERMINÉ"),
    "DÉCIMALES",
)
LABELS = {
    ("GEO", "1"): ("Canada", "Canada"),
    ("GEO", "2"): ("Quebec", "Québec"),
    ("DIM", "1"): ("Total", "Total"),
    ("DIM", "10"): ("Single-detached house", "Maison individuelle non attenante"),
}
DGUIDS = {"1": "2021A000011124", "2": "2021A000224"}


def row(
    date: str = "2021",
    coordinate: str = "1.1",
    value: str = "10.5",
    *,
    french: bool = False,
    vector: str | None = None,
    **other: str,
) -> list[str]:
    geo, dim = coordinate.split(".")[:2]
    lang = int(french)
    said = {
        "date": date,
        "geo": LABELS["GEO", geo][lang],
        "dguid": DGUIDS[geo],
        "dim": LABELS["DIM", dim][lang],
        "uom": ("Number", "Nombre")[lang],
        "uom_id": "223",
        "scalar": ("units ", "unités ")[lang],
        "scalar_id": "0",
        "vector": vector or f"v{geo}{dim}",
        "coordinate": coordinate,
        "value": value.replace(".", ",") if french else value,
        "status": "",
        "symbol": "",
        "terminated": "",
        "decimals": "1",
    }
    return list((said | other).values())


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[str]], separator: str = ",", newline: str = "\n") -> bytes:
    lines = [separator.join('"' + field.replace('"', '""') + '"' for field in fields) for fields in (header, *rows)]
    return b"\xef\xbb\xbf" + "".join(line + newline for line in lines).encode()


def table_zip(path: Path, csv: bytes, product: str = "98100001") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{product}.csv", csv)
        archive.writestr(f"{product}_MetaData.csv", "Cube Title\n")
    return path


def english_zip(folder: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER_EN) -> Path:
    return table_zip(folder / "98100001-eng.zip", csv_bytes(header, rows))


def french_zip(folder: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER_FR) -> Path:
    return table_zip(folder / "98100001-fra.zip", csv_bytes(header, rows, separator=";", newline="\r\n"))


def metadata_json(folder: Path, *, data_points: int, frequency: int = 12, **changes: object) -> Path:
    def members(kind: str) -> list[dict[str, object]]:
        return [
            {"memberId": int(i), "memberNameEn": en, "memberNameFr": fr} for (k, i), (en, fr) in LABELS.items() if k == kind
        ]

    cube = {
        "responseStatusCode": 0,
        "productId": "98100001",
        "frequencyCode": frequency,
        "nbDatapointsCube": data_points,
        "dimension": [
            {
                "dimensionPositionId": 1,
                "dimensionNameEn": "Geography",
                "dimensionNameFr": "Géographie",
                "member": members("GEO"),
            },
            {
                "dimensionPositionId": 2,
                "dimensionNameEn": "Type of dwelling",
                "dimensionNameFr": "Genre de logement",
                "member": members("DIM"),
            },
        ],
    } | changes
    path = folder / "98100001.json"
    path.write_text(json.dumps([{"status": "SUCCESS", "object": cube}], ensure_ascii=False), encoding="utf-8")
    return path


def by_name(*paths: Path) -> dict[str, Path]:
    return {path.name: path for path in paths}


def _dataset(identity: str, package: str, transform: dict[str, object], vintage: dict[str, object], **more: object) -> Dataset:
    text = {"en": "A dataset", "fr": "Un jeu de données"}
    source = (
        {"kind": "statcan-table", "product_id": "98100001"}
        if transform["kind"] == "statcan-csv"
        else {"kind": "http-file", "url": "https://example.org/districts.zip"}
    )
    return Dataset.model_validate(
        {
            "id": identity,
            "version": "1.0.0",
            "package": package,
            "title": text,
            "description": text,
            "publisher": text,
            "source": source,
            "transform": transform,
            "vintage": vintage,
            "licence": {"id": "other", "title": text, "url": text, "attribution": text},
            "area": {"dguid": "2021A000011124", "name": text, "geometry": {"type": "Polygon", "coordinates": []}},
            **more,
        }
    )


def table_dataset(**more: object) -> Dataset:
    more.setdefault("key", ("vector_id", "ref_date"))
    return _dataset(TABLE_ID, "d4c-datapkg-statistical", {"kind": "statcan-csv"}, {"rule": "release"}, **more)


def layer_dataset(**more: object) -> Dataset:
    transform = {"kind": "shapefile", **{k: more.pop(k) for k in ("encoding", "dguid", "geoparquet_version") if k in more}}
    return _dataset(LAYER_ID, "d4c-datapkg-foundation", transform, {"rule": "fixed", "date": "2015"}, **more)


def csv_dataset(**more: object) -> Dataset:
    transform = {"kind": "csv", **{k: more.pop(k) for k in ("members", "encoding", "delimiter", "points") if k in more}}
    return _dataset(TABLE_ID, "d4c-datapkg-statistical", transform, {"rule": "release"}, **more)


def geojson_dataset(**more: object) -> Dataset:
    transform = {"kind": "geojson", **{k: more.pop(k) for k in ("dguid", "geoparquet_version") if k in more}}
    return _dataset(LAYER_ID, "d4c-datapkg-foundation", transform, {"rule": "fixed", "date": "2015"}, **more)


def image_dataset(**more: object) -> Dataset:
    options = ("compression", "quality", "nodata", "overviews")
    transform = {"kind": "cog", **{k: more.pop(k) for k in options if k in more}}
    return _dataset(IMAGE_ID, "d4c-datapkg-orthoimagery", transform, {"rule": "fixed", "date": "2024"}, **more)


def tiles_dataset(**more: object) -> Dataset:
    return _dataset(IMAGE_ID, "d4c-datapkg-orthoimagery", {"kind": "tiles"}, {"rule": "fixed", "date": "2024"}, **more)


def vector_dataset(**more: object) -> Dataset:
    options = ("layer", "encoding", "dguid", "geoparquet_version")
    transform = {"kind": "vector", **{k: more.pop(k) for k in options if k in more}}
    return _dataset(LAYER_ID, "d4c-datapkg-foundation", transform, {"rule": "fixed", "date": "2015"}, **more)


def vector_file(
    path: Path,
    geometries: Sequence[shapely.Geometry | bytes | None],
    fields: dict[str, Sequence[object]],
    *,
    crs: str | None = "EPSG:3578",
    geometry_type: str = "Polygon",
    **options: object,
) -> Path:
    """A file in the format that its ending says, written by GDAL; or one more layer of it, with `append`."""
    drivers = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".gdb": "OpenFileGDB", ".shp": "ESRI Shapefile"}
    wkb = [g if g is None or isinstance(g, bytes) else shapely.to_wkb(g, flavor="iso") for g in geometries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no CRS is told, and that old geodatabases have no 64-bit integers
        pyogrio.raw.write(
            path,
            np.array([*wkb, None], dtype=object)[:-1],
            [np.array([*v, None], dtype=object)[:-1] if isinstance(v[0], str) else np.array(v) for v in fields.values()],
            list(fields),
            geometry_type=geometry_type,
            crs=crs,
            driver=drivers[path.suffix],
            **options,
        )
    return path


def zipped(path: Path, *parts: Path) -> Path:
    """Files and folders in one zip, under their own names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                archive.write(file, file.relative_to(part.parent))
    return path


def column(name: str, kind: str | None = None, *, nullable: bool = True) -> dict[str, object]:
    return {"name": name, "title": {"en": name, "fr": name}, "type": kind, "nullable": nullable}


def shapefile_zip(
    path: Path,
    geometries: Sequence[shapely.Geometry | None],
    fields: dict[str, Sequence[object]],
    *,
    crs: str | None = "EPSG:3578",
    prj: str | None = None,
    without: Sequence[str] = (),
    encoding: str = "UTF-8",
    level: int | None = None,
) -> Path:
    folder = path.parent / f"{path.stem}-parts"
    folder.mkdir()
    shp = folder / "Districts.shp"
    pyogrio.raw.write(
        shp,
        np.array([None if g is None else shapely.to_wkb(g) for g in geometries], dtype=object),
        [np.array(values, dtype=object if isinstance(values[0], str) else None) for values in fields.values()],
        list(fields),
        geometry_type="Polygon",
        crs=crs,
        encoding=encoding,
    )
    if prj is not None:
        shp.with_suffix(".prj").write_text(prj)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for part in sorted(folder.iterdir()):
            if part.suffix not in without:
                archive.write(part, f"data/{part.name}")
    return path


def square(x: float, y: float, size: float = 1000.0) -> shapely.Polygon:
    return shapely.box(x, y, x + size, y + size)
