"""Which coordinate reference system a `.prj` means, recognised by its parameters.

Software writes the same system under many names (`PCS_Lambert_Conformal_Conic` is Statistics Canada's Lambert), so names
prove nothing. A candidate counts only when its projection, every parameter, its units and its datum are those of the file.
A system that is not recognised is kept as it is and has no code; nothing is guessed, and a blocking check asks a person.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from d4c_platform.model.errors import PermanentFailure

WGS84 = "EPSG:4326"
# What Canadian publishers use, for files whose names are too far off for PROJ's own search.
CANADIAN = (
    *(3347, 3348, 3978, 3979),  # Statistics Canada Lambert, Canada Atlas Lambert, each on NAD83 and NAD83(CSRS)
    *(3578, 3579, 3005, 3153, 3400, 3401, 3402, 3403, 3161, 3162, 32198, 6622),  # Yukon, BC, Alberta, Ontario, Quebec
    *range(26907, 26923),  # UTM on NAD83
    *(*range(2955, 2963), *range(3154, 3161)),  # UTM on NAD83(CSRS)
    *range(2943, 2954),  # MTM on NAD83(CSRS)
    *(4269, 4617, 4326, 3857),
)
_LEAST_CONFIDENCE = 25
_TOLERANCE = 1e-9  # relative; .prj files carry ten digits or more


@dataclass(frozen=True, slots=True)
class Recognised:
    """A coordinate reference system.

    Attributes:
        code: authority code such as ``EPSG:3347``; None when it is not recognised.
        crs: the authority's definition, or the file's own.
    """

    code: str | None
    crs: CRS

    @property
    def projjson(self) -> dict[str, Any]:
        """What GeoParquet metadata says. Coordinates are longitude first there, so WGS 84 is written as OGC:CRS84."""
        said: dict[str, Any] = (CRS("OGC:CRS84") if self.code == WGS84 else self.crs).to_json_dict()
        return said


def recognise(wkt: str, file: str) -> Recognised:
    """Recognise the text of a `.prj`.

    Raises:
        PermanentFailure: it is no coordinate reference system at all.
    """
    try:
        crs = CRS.from_wkt(wkt)
    except CRSError as error:
        raise PermanentFailure(
            f"the .prj is not a coordinate reference system ({str(error).splitlines()[0]})",
            file=file,
            remedy="Ask the publisher for the .prj of this file; nothing is guessed",
        ) from error
    found = [int(m.code) for m in crs.list_authority(auth_name="EPSG", min_confidence=_LEAST_CONFIDENCE)]
    for code in dict.fromkeys([*found, *CANADIAN]):
        candidate = CRS.from_epsg(code)
        if same_parameters(crs, candidate):
            return Recognised(f"EPSG:{code}", candidate)
    return Recognised(None, crs)


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
