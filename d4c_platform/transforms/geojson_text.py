"""The features of a GeoJSON text, one after the other, however it is laid out, with one feature in memory at a time.

GDAL's driver takes a large collection into memory whole, and reads another format when there is one feature a line. JSON says
by itself where a value ends, so the collection's members are walked here and each feature is decoded alone: on one line, on
many, or all on one.

Not here: what features mean (geojson).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, NoReturn

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms.wrapped import ByteStream

CHUNK_BYTES = 1 << 20
MOST_CHARACTERS = 256 << 20  # of one feature; more means a text whose end is missing
_BLANK = " \t\r\n"
_SHOWN = 60
# How near the end of what was read a value breaks off that only goes on behind it: `-Infinit`, `\ud83d\ude0`.
_NEAR = 16
_EXPONENT = len("e+")  # what is left behind a number that was cut within its exponent
_TELL = "Tell the publisher which line is wrong; fetch the release again when it is corrected"
_REFETCH = "The file is probably cut short: fetch the release again"


class CollectionReader:
    """Reads one FeatureCollection. `members` holds its other members once all features were taken."""

    def __init__(self, stream: ByteStream, file: str) -> None:
        self._text = _Text(stream, file)
        self._file = file
        self.members: dict[str, Any] = {}

    def features(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each feature with the line it begins on.

        Raises:
            PermanentFailure: this is no FeatureCollection; names the line where there is one.
        """
        text, found = self._text, False
        self._begin()
        while text.peek() != "}":
            line = text.line
            name = text.value()
            text.take(":")
            if not isinstance(name, str):
                raise text.wrong(f"a member's name is {_shown(name)}", line)
            if name in self.members or (name == "features" and found):
                raise text.wrong(f"the collection has two members {name}", line)
            if name == "features" and text.peek() == "[":
                found = True
                yield from self._features()
            else:
                self.members[name] = text.value()
            if text.peek() != "}":
                text.take(",")
        text.take("}")
        if text.peek():
            raise text.wrong("more text follows the collection", text.line)
        if self.members.get("type") != "FeatureCollection" or not found:
            self._is_something_else()

    def _begin(self) -> None:
        begins = self._text.peek()
        if begins == "<":
            raise PermanentFailure(
                "this is an HTML or XML page, not GeoJSON",
                file=self._file,
                remedy="Open the address in a browser; wait until the publisher has repaired it, or correct the declaration",
            )
        if not begins:
            raise PermanentFailure("the file is empty", file=self._file, remedy="Fetch the release again")
        self._text.take("{")

    def _features(self) -> Iterator[tuple[int, dict[str, Any]]]:
        text = self._text
        text.take("[")
        while text.peek() != "]":
            line = text.line
            feature = text.value()
            if not isinstance(feature, dict) or feature.get("type") != "Feature":
                raise text.wrong(f"{_shown(feature)} stands where a feature is expected", line)
            yield line, feature
            if text.peek() != "]":
                text.take(",")
        text.take("]")

    def _is_something_else(self) -> NoReturn:
        kind = self.members.get("type")
        what = f"a {kind}" if isinstance(kind, str) and kind != "FeatureCollection" else "an object"
        said = self.members.get("error") or ", ".join(self.members)
        raise PermanentFailure(
            f"this is {what} and no FeatureCollection ({_shown(said)})",
            file=self._file,
            remedy="Look at what the address answers; correct the declaration, or fetch the release again",
        )


class _Text:
    """The text, from where it was read to; `line` is the line of what comes next."""

    def __init__(self, stream: ByteStream, file: str) -> None:
        self._stream, self._file = stream, file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("strict").decode
        self._json = json.JSONDecoder(parse_constant=_refuse_constant)
        self._held, self._at, self._ended = "", 0, False
        self._lines_decoded = 1
        self.line = 1

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._held):
                character = self._held[self._at]
                if character not in _BLANK:
                    return character
                self.line += character == "\n"
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        found = self.peek()
        if not found:
            raise PermanentFailure(
                f"the text ends on line {self.line}, where {wanted} is due", file=self._file, remedy=_REFETCH
            )
        if found != wanted:
            raise self.wrong(f"{found} stands where {wanted} is due", self.line)
        self._at += 1

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                cut_short = error.msg.startswith("Unterminated string") or error.pos >= len(self._held) - _NEAR
                if cut_short and self._more():
                    continue
                line = self.line + self._held.count("\n", self._at, error.pos)
                if self._ended and cut_short:
                    raise PermanentFailure(
                        f"the text ends within what begins on line {self.line}", file=self._file, remedy=_REFETCH
                    ) from error
                raise self.wrong(f"this is not JSON: {error.msg.lower()}", line) from error
            except RecursionError as error:
                raise self.wrong("the brackets are nested too deep", self.line) from error
            except _NoNumber as error:
                raise self.wrong(f"{error} is not a JSON number", self.line) from error
            # A number that ends where the text was cut may go on (12 of 12e+3); a bracket or a quote closes.
            if end >= len(self._held) - _EXPONENT and self._held[end - 1] not in '}]"' and self._more():
                continue
            self.line += self._held.count("\n", self._at, end)
            self._at = end
            return value

    def wrong(self, what: str, line: int) -> PermanentFailure:
        return PermanentFailure(f"line {line}: {what}", file=self._file, remedy=_TELL)

    def _more(self) -> bool:
        """Read on; whether there was more. What is not yet taken is kept, and as much is read again: a large value is fast."""
        if self._ended:
            return False
        kept = self._held[self._at :]
        if len(kept) > MOST_CHARACTERS:
            raise self.wrong(f"what begins here has more than {MOST_CHARACTERS:,} characters", self.line)
        read = self._stream.read(max(CHUNK_BYTES, len(kept)))
        try:
            added = self._decode(read, not read)
        except UnicodeDecodeError as error:
            line = self._lines_decoded + error.object.count(b"\n", 0, error.start)
            raise self.wrong(f"byte {error.object[error.start]:#04x} is not UTF-8", line) from error
        self._lines_decoded += added.count("\n")
        self._held, self._at, self._ended = kept + added, 0, not read
        return bool(read)


class _NoNumber(Exception):
    """NaN or Infinity, which Python reads and JSON does not have."""


def _refuse_constant(word: str) -> NoReturn:
    raise _NoNumber(word)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
