"""An image's values, read in one fixed way: blocks of 512 × 512, row by row, band by band.

However a file is cut into strips or tiles, this order is the same. So the logical hash of an image survives another GDAL,
another compression and another layout; and the statistics, summed up in a fixed order, are the same digits on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

RECIPE = 1  # a change of recipe makes every hash incomparable: count it up
BLOCK = 512
AT_ONCE = 48 << 20  # bytes of neighbouring blocks that are read together

Values = NDArray[Any]


def has_mask(source: DatasetReader) -> bool:
    """Whether the image has a mask of its own, which is no band and follows from no nodata value."""
    flags = source.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and MaskFlags.nodata not in flags


def alpha_band(source: DatasetReader) -> int | None:
    """The number of the band that says how opaque a pixel is."""
    return next((i for i, c in enumerate(source.colorinterp, 1) if c == ColorInterp.alpha), None)


@dataclass(slots=True)
class Band:
    """What passed by of one band."""

    digest: Any = field(default_factory=hashlib.sha256)
    valid: int = 0
    least: float = math.inf
    greatest: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0  # of the distances from the mean

    def update(self, values: Values, known: NDArray[np.bool_]) -> None:
        self.digest.update(canonical(values))
        chosen = values[known]
        if not chosen.size:
            return
        as_double = chosen.astype(np.float64)
        mean, count = float(as_double.mean()), chosen.size
        squares = float(np.square(as_double - mean).sum())
        both, apart = self.valid + count, mean - self.mean
        self.squares += squares + apart * apart * self.valid * count / both
        self.mean += apart * count / both
        self.valid = both
        self.least, self.greatest = min(self.least, float(as_double.min())), max(self.greatest, float(as_double.max()))

    def statistics(self, pixels: int) -> dict[str, str]:
        """As GDAL writes them; none for a band without a value."""
        if not self.valid:
            return {"STATISTICS_VALID_PERCENT": "0"}
        return {
            "STATISTICS_MAXIMUM": _digits(self.greatest),
            "STATISTICS_MEAN": _digits(self.mean),
            "STATISTICS_MINIMUM": _digits(self.least),
            "STATISTICS_STDDEV": _digits(math.sqrt(self.squares / self.valid)),
            "STATISTICS_VALID_PERCENT": f"{100 * self.valid / pixels:.4g}",
        }


class Pixels:
    """Takes the blocks of an image in canonical order; gives its hash and its statistics."""

    def __init__(self, source: DatasetReader, nodata: float | None) -> None:
        self._nodata, self._alpha = nodata, alpha_band(source)
        self._mask = hashlib.sha256() if has_mask(source) else None
        self.bands = [Band() for _ in source.indexes]
        self.without_value = 0

    def update(self, values: Values, mask: Values | None) -> None:
        """Take a block.

        Args:
            values: bands × rows × columns.
            mask: the image's own mask: 0 where there is no value.
        """
        known = np.stack([_known(band, self._nodata) for band in values])
        if self._alpha is not None:
            known &= values[self._alpha - 1] != 0
            known[self._alpha - 1] = True
        if mask is not None:
            known &= mask != 0
            if self._mask is not None:
                self._mask.update(np.ascontiguousarray(mask != 0).tobytes())
        for band, block, valid in zip(self.bands, values, known, strict=True):
            band.update(block, valid)
        colours = [i for i in range(len(values)) if i + 1 != self._alpha]
        self.without_value += int((~known[colours].any(axis=0)).sum())

    def values(self) -> tuple[str, ...]:
        """The digests of the values alone, band by band, and of the mask: what a lossless copy shares with its source."""
        mask = () if self._mask is None else (self._mask.hexdigest(),)
        return (*(band.digest.hexdigest() for band in self.bands), *mask)

    def hexdigest(self, source: DatasetReader, crs: str | None) -> str:
        """The logical hash: the values, what they mean and where they lie.

        Args:
            source: the image whose blocks were taken.
            crs: authority code: the same numbers in another CRS are elsewhere.
        """
        said = {
            "recipe": RECIPE,
            "size": [source.width, source.height],
            "place": [float(n).hex() for n in source.transform[:6]],
            "crs": crs,
            "nodata": None if self._nodata is None else repr(float(self._nodata)),
            "mask": self._mask.hexdigest() if self._mask is not None else None,
            "bands": [
                [kind, colour.name, _palette(source, i), band.digest.hexdigest()]
                for i, kind, colour, band in zip(source.indexes, source.dtypes, source.colorinterp, self.bands, strict=True)
            ],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def blocks(source: DatasetReader) -> Iterator[tuple[Window, Values, Values | None]]:
    """The blocks in canonical order: where each lies, its values, and the image's own mask there.

    Several neighbours are read at once: of an image in strips, each would unpack the whole width anew.
    """
    row_bytes = BLOCK * source.count * max(np.dtype(kind).itemsize for kind in source.dtypes)
    wide = max(1, AT_ONCE // (BLOCK * row_bytes)) * BLOCK
    masked = has_mask(source)
    for row in range(0, source.height, BLOCK):
        height = min(BLOCK, source.height - row)
        for start in range(0, source.width, wide):
            window = Window(start, row, min(wide, source.width - start), height)
            values = source.read(window=window)
            mask = source.read_masks(1, window=window) if masked else None
            for column in range(0, window.width, BLOCK):
                some = slice(column, min(column + BLOCK, window.width))
                place = Window(start + column, row, some.stop - column, height)
                yield place, values[:, :, some], mask[:, some] if mask is not None else None


def pixels_of(source: DatasetReader, nodata: float | None) -> Pixels:
    """Everything that one pass over an image tells."""
    seen = Pixels(source, nodata)
    for _, values, mask in blocks(source):
        seen.update(values, mask)
    return seen


def canonical(values: Values) -> bytes:
    """A block's values as bytes: little-endian, with one zero and one NaN."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type("nan"), values + values.dtype.type(0))
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


def _known(values: Values, nodata: float | None) -> NDArray[np.bool_]:
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
    if nodata is not None and not math.isnan(nodata):
        known &= values != values.dtype.type(nodata)
    return known


def _palette(source: DatasetReader, band: int) -> list[list[int]] | None:
    try:
        palette = source.colormap(band)
    except ValueError:
        return None
    return [[value, *colour] for value, colour in sorted(palette.items())]


def _digits(value: float) -> str:
    # Twelve: what differs behind them is the order in which a processor adds.
    return f"{value:.12g}"
