"""Which coordinate reference system a file means – its `.prj`, its WKT, its table of systems – recognised by its parameters.

Software writes the same system under many names (`PCS_Lambert_Conformal_Conic` is Statistics Canada's Lambert), so names
prove nothing. A candidate counts only when its projection, every parameter, its units and its datum are those of the file.
A system that is not recognised is kept as it is and has no code; nothing is guessed, and a blocking check asks a person.

Heights are looked at apart: the horizontal part is recognised, the vertical one is kept beside it, whether it has a code or
only a name. A note how to get to WGS 84 (`TOWGS84`) is no part of a system and does not count.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from pyproj import CRS
from pyproj.crs import CompoundCRS
from pyproj.exceptions import CRSError

from d4c_platform.model.errors import PermanentFailure

WGS84 = "EPSG:4326"
ELLIPSOIDAL = "ellipsoidal height"  # the third axis of a system that is not made of two
# What Canadian publishers use, for files whose names are too far off for PROJ's own search.
_EPSG = (
    *(3347, 3348, 3978, 3979),  # Statistics Canada Lambert, Canada Atlas Lambert, each on NAD83 and NAD83(CSRS)
    *(3578, 3579, 3005, 3153, 3400, 3401, 3402, 3403, 3161, 3162),  # Yukon, BC, Alberta, Ontario
    *(32198, 6622, 3798, 3799, 2953, 2954),  # Quebec and MTQ Lambert, New Brunswick, Prince Edward Island
    *range(26907, 26923),  # UTM on NAD83
    *(*range(2955, 2963), *range(3154, 3161)),  # UTM on NAD83(CSRS)
    *range(26707, 26723),  # UTM on NAD27
    *range(32181, 32198),  # MTM on NAD83
    *(*range(2943, 2953), *range(26891, 26900)),  # MTM on NAD83(CSRS)
    *range(32081, 32087),  # MTM on NAD27
    *(4269, 4617, 4326, 3857, 4267),
)
CANADIAN = (*(f"EPSG:{code}" for code in _EPSG), "ESRI:102001", "ESRI:102002")  # Canada's Albers and Lambert have no EPSG code
_LEAST_CONFIDENCE = 25
_TOLERANCE = 1e-9  # relative; .prj files carry ten digits or more


@dataclass(frozen=True, slots=True)
class Recognised:
    """A coordinate reference system.

    Attributes:
        code: authority code of its horizontal part, such as ``EPSG:3347``; None when that is not recognised.
        crs: the authority's definition, or the file's own; the vertical part in it.
        vertical: EPSG code (only the number) or name of the vertical part, when there is one.
    """

    code: str | None
    crs: CRS
    vertical: str | None = None

    @property
    def identity(self) -> str | None:
        """What tells it from others, as PROJ writes two codes: ``EPSG:2957+5713``. None when it is not recognised."""
        return self.code if self.code is None or self.vertical is None else f"{self.code}+{self.vertical}"

    @property
    def horizontal(self) -> CRS:
        """The system without heights."""
        return _flat(self.crs)[0]

    @property
    def projjson(self) -> dict[str, Any]:
        """What GeoParquet metadata says. Coordinates are longitude first there, so WGS 84 is written as OGC:CRS84."""
        said: dict[str, Any] = (CRS("OGC:CRS84") if self.identity == WGS84 else self.crs).to_json_dict()
        return said


def recognise(said: str, file: str) -> Recognised:
    """Recognise what a file says: WKT of any kind, or an authority's code where software has found one.

    Raises:
        PermanentFailure: it is no coordinate reference system at all, or none of places on the earth.
    """
    try:
        crs = CRS.from_user_input(said) if re.fullmatch(r"[A-Z]+:[A-Z0-9]+", said) else CRS.from_wkt(said)
    except CRSError as error:
        raise PermanentFailure(
            f"what it says is not a coordinate reference system ({str(error).splitlines()[0]})",
            file=file,
            remedy="Ask the publisher in which system this file is (its .prj); nothing is guessed",
        ) from error
    flat, vertical = _flat(crs)
    if not (flat.is_projected or flat.is_geographic):
        raise PermanentFailure(
            f"the coordinates are of {flat.name}, which is no place on the earth",
            file=file,
            remedy="Ask the publisher in which system this file is; nothing is guessed",
        )
    found = [f"EPSG:{m.code}" for m in flat.list_authority(auth_name="EPSG", min_confidence=_LEAST_CONFIDENCE)]
    for code in dict.fromkeys([*found, *CANADIAN]):
        candidate = CRS(code)
        if len(candidate.axis_info) == len(flat.axis_info) and same_parameters(flat, candidate):
            return _with_heights(code, candidate, vertical)
    return Recognised(None, crs, _name(vertical) if vertical else None)


def _flat(crs: CRS) -> tuple[CRS, CRS | str | None]:
    """A system without heights and without a way to WGS 84, and its heights."""
    if crs.is_bound and crs.source_crs is not None:
        return _flat(crs.source_crs)
    if crs.is_compound:
        horizontal, *vertical = crs.sub_crs_list
        return _flat(horizontal)[0], vertical[0] if vertical else None
    if len(crs.axis_info) > 2 and not crs.is_geocentric:
        return crs.to_2d(), ELLIPSOIDAL
    return crs, None


def _with_heights(code: str, horizontal: CRS, vertical: CRS | str | None) -> Recognised:
    if vertical is None:
        return Recognised(code, horizontal)
    longitude_first = CRS("OGC:CRS84") if code == WGS84 else horizontal
    if isinstance(vertical, str):
        return Recognised(code, longitude_first.to_3d(), vertical)
    whole = CompoundCRS(f"{horizontal.name} + {vertical.name}", [longitude_first, vertical])
    return Recognised(code, whole, _name(vertical))


def _name(vertical: CRS | str) -> str:
    if isinstance(vertical, str):
        return vertical
    if vertical.is_bound and vertical.source_crs is not None:
        return _name(vertical.source_crs)
    epsg = vertical.to_epsg()
    return str(epsg) if epsg else vertical.name


def same_parameters(one: CRS, other: CRS) -> bool:
    """Whether two systems have the same datum, projection, parameters and units, whatever they are called."""
    return _datum(one) == _datum(other) and _same(_parameters(one), _parameters(other))


def _parameters(crs: CRS) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a PROJ string says less than WKT: the datum is compared apart
        return {str(k): v for k, v in crs.to_dict().items()}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_close(value, other[name]) for name, value in one.items())


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= _TOLERANCE * max(1.0, abs(a), abs(b))
    return bool(a == b)


def _datum(crs: CRS) -> str:
    geodetic = crs.geodetic_crs
    name = geodetic.datum.name if geodetic is not None and geodetic.datum is not None else ""
    words = re.sub(r"[^a-z0-9]+", " ", name.casefold()).split()
    return " ".join(w for w in words if w not in ("d", "ensemble"))
