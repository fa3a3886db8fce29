"""Provincial and territorial boundaries as the sandbox ships them: outlines drawn by hand, for a map the size of a stamp.

They have the shape of Statistics Canada's boundary file (EPSG:3347, its attribute names, its `.prj` wording), not its
geometry: a few vertices each, from general knowledge. Neighbours share the vertices of their border, so they touch and do not
overlap, before and after projection.
"""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyogrio
from shapely.geometry import MultiPolygon, Polygon

from d4c_platform.sandbox.census import PROVINCES

STEM = "lpr_000g21a_e"  # l: Lambert, pr: provinces, 000: Canada, g: generalised, 21: the census, a: shapefile, e: English
CENSUS = 2021
DATED = "2022-02-09"  # the day of the release; a shapefile's table says when it was written

# Our own writing of EPSG:3347 in the wording that the publisher ships: no authority codes, its own name.
PRJ = (
    'PROJCS["NAD83_Statistics_Canada_Lambert",'
    'GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Lambert_Conformal_Conic"],'
    'PARAMETER["False_Easting",6200000.0],PARAMETER["False_Northing",3000000.0],'
    'PARAMETER["Central_Meridian",-91.86666666666666],'
    'PARAMETER["Standard_Parallel_1",49.0],PARAMETER["Standard_Parallel_2",77.0],'
    'PARAMETER["Latitude_Of_Origin",63.390675],UNIT["Meter",1.0]]'
)

Line = list[tuple[float, float]]  # longitude, latitude

# Borders between two neighbours, named after them.
YT_BC: Line = [(-139.05, 60.0), (-123.8, 60.0)]
YT_NT: Line = [(-123.8, 60.0), (-129.3, 62.1), (-132.5, 64.8), (-136.45, 67.0), (-136.45, 68.9)]
BC_NT: Line = [(-123.8, 60.0), (-120.0, 60.0)]
BC_AB: Line = [(-120.0, 60.0), (-120.0, 53.8), (-118.3, 52.4), (-116.3, 51.3), (-114.7, 50.6), (-114.07, 49.0)]
AB_NT: Line = [(-120.0, 60.0), (-110.0, 60.0)]
AB_SK: Line = [(-110.0, 60.0), (-110.0, 49.0)]
SK_NT: Line = [(-110.0, 60.0), (-102.0, 60.0)]
SK_MB: Line = [(-102.0, 60.0), (-101.9, 55.8), (-101.37, 49.0)]
MB_NU: Line = [(-102.0, 60.0), (-94.8, 60.0)]
MB_ON: Line = [(-88.99, 56.85), (-95.15, 52.84), (-95.15, 49.38)]
NT_NU: Line = [(-102.0, 60.0), (-102.0, 64.2), (-112.5, 65.5), (-120.68, 68.0), (-120.68, 69.6)]
NT_NU_VICTORIA: Line = [(-110.0, 68.6), (-110.0, 72.9)]
ON_QC: Line = [(-79.52, 51.47), (-79.52, 47.3), (-78.7, 46.3), (-75.7, 45.42), (-74.4, 45.57), (-74.66, 45.0)]
QC_NB: Line = [(-69.05, 47.43), (-68.0, 47.95), (-66.5, 48.05)]
QC_NL: Line = [(-64.5, 60.3), (-63.8, 57.2), (-67.8, 54.5), (-66.9, 52.9), (-63.7, 52.05), (-57.1, 52.0), (-57.1, 51.42)]
NB_NS: Line = [(-64.05, 45.97), (-64.3, 45.85)]

LABRADOR: Line = [*QC_NL, (-55.7, 52.3), (-56.2, 53.6), (-57.4, 54.6), (-60.2, 55.3), (-62.0, 57.5)]
NEWFOUNDLAND: Line = [
    (-59.4, 47.9), (-58.4, 49.1), (-57.3, 50.9), (-55.6, 51.6), (-55.9, 50.0), (-53.5, 49.2), (-52.7, 47.5), (-53.6, 46.65),
    (-55.9, 46.9),
]  # fmt: skip
PRINCE_EDWARD_ISLAND: Line = [(-64.4, 46.6), (-64.0, 47.05), (-62.0, 46.45), (-62.5, 45.97), (-63.8, 46.2)]
NOVA_SCOTIA: Line = [
    *NB_NS, (-64.6, 45.3), (-65.9, 44.6), (-66.2, 43.9), (-65.5, 43.5), (-63.5, 44.5), (-61.2, 45.25), (-59.85, 46.0),
    (-60.5, 47.0), (-61.9, 45.65), (-63.2, 45.75),
]  # fmt: skip
NEW_BRUNSWICK: Line = [
    *QC_NB, (-64.6, 47.9), (-64.8, 47.0), (-64.5, 46.2), *NB_NS, (-66.0, 45.2), (-67.0, 45.05), (-67.45, 45.2), (-67.79, 45.7),
    (-67.79, 47.07), (-68.3, 47.36),
]  # fmt: skip
QUEBEC: Line = [
    *ON_QC[::-1], (-78.9, 53.0), (-79.0, 54.8), (-76.6, 56.2), (-78.5, 58.7), (-77.4, 62.5), (-73.7, 62.4), (-70.0, 61.0),
    (-69.5, 58.9), (-66.0, 58.8), *QC_NL, (-61.5, 49.1), (-64.2, 48.8), *QC_NB[::-1], (-70.0, 46.7), (-70.3, 45.9),
    (-71.5, 45.0),
]  # fmt: skip
ONTARIO: Line = [
    *MB_ON[::-1], (-85.0, 55.3), (-82.3, 55.1), (-82.2, 52.9), *ON_QC, (-76.3, 44.2), (-79.0, 43.27), (-78.9, 42.87),
    (-82.4, 41.7), (-83.1, 42.25), (-82.45, 43.0), (-81.7, 44.8), (-83.5, 45.9), (-84.6, 46.5), (-88.4, 48.3), (-89.6, 48.0),
    (-92.0, 48.3), (-94.6, 48.75),
]  # fmt: skip
MANITOBA: Line = [*SK_MB[::-1], *MB_NU[1:], (-94.7, 58.8), (-92.8, 57.0), (-92.4, 57.3), *MB_ON, (-95.15, 49.0)]
SASKATCHEWAN: Line = [*AB_SK[::-1], *SK_NT[1:], *SK_MB[1:]]
ALBERTA: Line = [*AB_NT, *AB_SK[1:], *BC_AB[::-1][:-1]]
BRITISH_COLUMBIA: Line = [
    *YT_BC, *BC_NT[1:], *BC_AB[1:], (-123.3, 49.0), (-123.3, 48.3), (-125.7, 48.8), (-128.4, 50.8), (-133.0, 53.0),
    (-133.1, 54.2), (-130.1, 55.0), (-130.0, 56.0), (-132.0, 57.0), (-133.8, 58.7), (-135.5, 59.7), (-137.5, 58.9),
]  # fmt: skip
YUKON: Line = [*YT_BC, *YT_NT[1:], (-141.0, 69.65), (-141.0, 60.3)]
NORTHWEST_TERRITORIES: Line = [
    *YT_NT[::-1], *BC_NT[1:], *AB_NT[1:], *SK_NT[1:], *NT_NU[1:], (-124.5, 70.1), (-128.5, 70.5), (-133.5, 69.6),
]  # fmt: skip
BANKS_ISLAND: Line = [(-123.0, 71.1), (-125.8, 72.2), (-124.0, 74.3), (-118.0, 73.5), (-119.0, 72.4)]
WEST_VICTORIA_ISLAND: Line = [*NT_NU_VICTORIA, (-117.5, 72.0), (-117.0, 70.0), (-113.5, 68.8)]
EAST_VICTORIA_ISLAND: Line = [*NT_NU_VICTORIA[::-1], (-101.5, 69.0), (-105.0, 72.5)]
NUNAVUT_MAINLAND: Line = [
    *NT_NU, (-116.0, 68.9), (-115.0, 67.9), (-109.0, 67.9), (-101.0, 67.8), (-95.5, 68.3), (-94.0, 71.9), (-91.5, 69.5),
    (-88.0, 68.3), (-85.5, 69.8), (-81.5, 69.2), (-81.5, 67.2), (-86.5, 66.4), (-87.0, 65.3), (-90.8, 63.0), (-94.0, 61.2),
    MB_NU[1],
]  # fmt: skip
BAFFIN_ISLAND: Line = [
    (-66.5, 61.9), (-71.7, 62.9), (-77.8, 64.5), (-73.5, 66.0), (-73.0, 68.2), (-78.5, 69.9), (-88.5, 70.6), (-89.8, 71.3),
    (-85.0, 73.7), (-80.8, 73.7), (-74.0, 71.7), (-68.0, 69.8), (-61.5, 66.7), (-65.0, 65.0), (-64.7, 63.0),
]  # fmt: skip
ELLESMERE_ISLAND: Line = [
    (-90.0, 76.3), (-78.5, 76.4), (-76.5, 78.5), (-61.5, 82.3), (-70.0, 83.1), (-91.5, 81.6), (-96.0, 79.5), (-89.5, 77.3),
]  # fmt: skip

OUTLINES: dict[str, tuple[Line, ...]] = {
    "10": (LABRADOR, NEWFOUNDLAND),
    "11": (PRINCE_EDWARD_ISLAND,),
    "12": (NOVA_SCOTIA,),
    "13": (NEW_BRUNSWICK,),
    "24": (QUEBEC,),
    "35": (ONTARIO,),
    "46": (MANITOBA,),
    "47": (SASKATCHEWAN,),
    "48": (ALBERTA,),
    "59": (BRITISH_COLUMBIA,),
    "60": (YUKON,),
    "61": (NORTHWEST_TERRITORIES, BANKS_ISLAND, WEST_VICTORIA_ISLAND),
    "62": (NUNAVUT_MAINLAND, BAFFIN_ISLAND, EAST_VICTORIA_ISLAND, ELLESMERE_ISLAND),
}
ABBREVIATIONS = {
    "10": "N.L.", "11": "P.E.I.", "12": "N.S.", "13": "N.B.", "24": "Que.", "35": "Ont.", "46": "Man.", "47": "Sask.",
    "48": "Alta.", "59": "B.C.", "60": "Y.T.", "61": "N.W.T.", "62": "Nvt.",
}  # fmt: skip


def boundaries() -> geopandas.GeoDataFrame:
    """The thirteen outlines with the publisher's attributes, in EPSG:3347."""
    columns = {
        "PRUID": [p.code for p in PROVINCES],
        "DGUID": [p.dguid(CENSUS) for p in PROVINCES],
        "PRNAME": [p.en if p.en == p.fr else f"{p.en} / {p.fr}" for p in PROVINCES],
        "PRENAME": [p.en for p in PROVINCES],
        "PRFNAME": [p.fr for p in PROVINCES],
        "PREABBR": [ABBREVIATIONS[p.code] for p in PROVINCES],
    }
    shapes = [MultiPolygon([Polygon(ring) for ring in OUTLINES[p.code]]) for p in PROVINCES]
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326").to_crs("EPSG:3347")


def write_shapefile(folder: Path) -> list[Path]:
    """Write the boundaries as a shapefile and give its parts back, in the order they are packed. The same bytes every time."""
    shape = folder / f"{STEM}.shp"
    pyogrio.write_dataframe(
        boundaries(), shape, driver="ESRI Shapefile", encoding="UTF-8", layer_options={"DBF_DATE_LAST_UPDATE": DATED}
    )
    shape.with_suffix(".prj").write_text(PRJ, encoding="ascii")
    return [shape.with_suffix(suffix) for suffix in (".cpg", ".dbf", ".prj", ".shp", ".shx")]
