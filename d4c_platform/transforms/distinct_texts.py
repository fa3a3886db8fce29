"""Distinct texts, numbered as they first appear: a file of them and a number for each row, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from d4c_platform.transforms.csv_blocks import Irregular

KNOWN_BYTES = 64 << 20  # of distinct texts that are remembered; beyond, a text may be written, and numbered, again


@dataclass(slots=True)
class DistinctTexts:
    """Distinct texts of some columns, numbered as they first appear and written to a file in that order."""

    path: Path
    count: int = 0
    _known: pa.Array = field(default_factory=lambda: pa.array([], pa.binary()))
    _first: int = 0  # the number of the first known text
    _file: BinaryIO | None = None

    def begin(self, header: str) -> None:
        self._file = self.path.open("wb")
        self._file.write(header.encode() + b"\n")

    def numbers(self, texts: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The number of each text.

        Raises:
            Irregular: a text is not UTF-8, or is empty, which a reader would take for no line.
        """
        encoded = texts.dictionary_encode().unify_dictionaries()
        distinct = encoded.chunk(0).dictionary
        found = pc.fill_null(pc.index_in(distinct, value_set=self._known), -1).to_numpy().astype(np.int64)
        unknown = found < 0
        new = distinct.filter(pa.array(unknown))
        at = np.where(unknown, self.count + np.cumsum(unknown) - 1, self._first + found)
        self._write(new)
        if self._known.nbytes + new.nbytes > KNOWN_BYTES:
            self._known, self._first = new, self.count - len(new)
        else:
            self._known = pa.concat_arrays([self._known, new])
        return np.concatenate([at[chunk.indices.to_numpy()] for chunk in encoded.chunks])

    def _write(self, new: pa.Array) -> None:
        if self._file is None:
            raise AssertionError("the file was not begun")
        try:
            pc.cast(new, pa.string())
        except pa.ArrowInvalid as error:
            raise Irregular from error
        lines = new.to_pylist()
        if not all(lines):
            raise Irregular
        self._file.writelines(line + b"\n" for line in lines)
        self.count += len(lines)

    def end(self) -> None:
        if self._file is not None:
            self._file.close()

    def close(self) -> None:
        """Remove what is left of the file."""
        self.end()
        self.path.unlink(missing_ok=True)
