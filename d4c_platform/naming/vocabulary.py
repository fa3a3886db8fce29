"""The closed vocabularies of a name: regions, DGUIDs, data packages, extensions, projections.

Every ISO 3166-1 country is known. Subdivisions are checked by list for Canada, where a wrong one is a mistake we can name,
and by shape elsewhere: other countries redraw theirs without telling us.

Not here: where in a name these stand (grammar.py).
"""

from __future__ import annotations

import re

COUNTRIES = frozenset(
    """
    ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc cd
    cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf
    gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn
    kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na
    nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si
    sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi
    vn vu wf ws ye yt za zm zw
    """.split()  # noqa: SIM905 – a list this long is read as words
)
PROVINCES = ("ab", "bc", "mb", "nb", "nl", "ns", "nt", "nu", "on", "pe", "qc", "sk", "yt")

DGUID = re.compile(r"([0-9]{4})([ASCBZ])([0-9]{4})([A-Za-z0-9.]{1,11})", re.ASCII)
LENIENT_DGUID = re.compile(DGUID.pattern, re.ASCII | re.IGNORECASE)

PACKAGE_PREFIX = "d4c-datapkg-"
PACKAGES = tuple(
    PACKAGE_PREFIX + family
    for family in ("statistical", "foundation", "orthoimagery", "field-imagery", "environment-climate-health")
)

# A pre-release holds dots, so extensions are told from it by list. Wrappers may follow a data extension, or stand alone.
EXTENSIONS = frozenset(
    """
    parquet geoparquet pmtiles csv tsv json jsonl ndjson geojson geojsonl geojsonseq gpkg fgb shp dbf shx prj cpg gdb fgdb kml
    kmz gml xml xlsx xls ods sqlite duckdb db arrow feather ipc tif tiff jp2 jpg jpeg png webp avif ecw sid vrt gti mbtiles
    zarr nc hdf5 h5 las laz copc e57 ply obj glb html md txt pdf yaml yml ttl rdf xhtml svg mp4 wav flac log
    """.split()  # noqa: SIM905 – a list this long is read as words
)
PART = r"part-[0-9]{4}"
"""Stands before the extension of one of several files that are a table together."""

WRAPPERS = frozenset(
    """
    zip tar tgz gz bz2 xz zst br 7z torrent sha256 sha512 md5 asc sig minisig aria2 meta4 metalink
    """.split()  # noqa: SIM905 – as above
)

_REGION = re.compile(r"([a-z]{2})(?:-([a-z0-9]{1,3}))?", re.ASCII)
_PROJECTION_CODE = re.compile(
    r"(?:epsg|esri|srid|ogc)-?[0-9]+|(?:utm|mtm)-?(?:zone-?)?[0-9]{1,2}[a-z]?|zone-?[0-9]{1,2}[ns]|"
    r"(?:wgs|nad|grs)-?[0-9]{2,4}(?:-?csrs)?(?:-?v[0-9])?|crs-?84",
    re.ASCII,
)
_PROJECTION_WORDS = frozenset(
    """
    lambert lcc laea albers aea mercator webmercator utm mtm stereographic equirectangular platecarree geographic projected
    reprojected latlon lonlat latlong longlat epsg csrs wgs nad 3857 4326 3347 3348 3978 3979 4269 4617 3578 3161
    """.split()  # noqa: SIM905 – as above
)


def why_not_region(text: str) -> str | None:
    """The reason a text is no region, as a clause; None when it is one."""
    found = _REGION.fullmatch(text)
    if found is None:
        return "a region is a lower-case ISO 3166-1 country or ISO 3166-2 subdivision, such as ca or ca-ab"
    country, subdivision = found.groups()
    if country not in COUNTRIES:
        return f"{country} is not an ISO 3166-1 country code"
    if country == "ca" and subdivision is not None and subdivision not in PROVINCES:
        return f"Canada has no province or territory {subdivision}; it has {', '.join(PROVINCES)}"
    return None


def why_not_dguid(text: str) -> str:
    """The reason a text is no DGUID, as a clause."""
    if not re.match(r"[0-9]{4}", text, re.ASCII):
        return "a DGUID begins with its four-digit vintage, as in 2021A000011124"
    if not re.match(r"[ASCBZ]", text[4:], re.IGNORECASE):
        return f"the type letter of a DGUID is A, S, C, B or Z, not {text[4:5]!r}"
    if not re.match(r"[0-9]{4}", text[5:], re.ASCII):
        return "the type letter of a DGUID is followed by a four-digit schema, as in 2021A0005"
    if len(text) == 9:
        return "the geographic unit after the schema is missing"
    if len(text) > 20:
        return "the geographic unit of a DGUID has at most 11 characters"
    return "the geographic unit of a DGUID holds letters, digits and dots only"


def tells_projection(text: str, *, words_too: bool) -> bool:
    """Whether a segment tells a projection.

    Args:
        words_too: bare words count as well as codes. In a name `lambert` may be a place, in a variant it is a projection.
    """
    pieces = text.split("-")
    if _PROJECTION_CODE.fullmatch(text) or any(_PROJECTION_CODE.fullmatch(piece) for piece in pieces):
        return True
    return words_too and not _PROJECTION_WORDS.isdisjoint(pieces)
