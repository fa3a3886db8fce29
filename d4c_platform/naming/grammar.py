"""From a text to the parts of a name, or to the one segment that is wrong.

The text is cut at its underscores and read from both ends: region, source, DGUID and package from the left; extension and
version from the right. In what remains, the last segment that is an ISO 8601 date is the date; the segments before it are the
name, those after it the variant. Without a date everything is the name.

Read as D4C published it, though it is not written so any more: an underscore between source and DGUID, a lower-case type
letter in the DGUID, a package without its `d4c-datapkg-` prefix, colons in a time. Anything else that is not canonical is an
error that says what would be: a name is a key, and two spellings would be two keys.

Not here: what the parts are for (name.py).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import NamedTuple, NoReturn

from d4c_platform.naming.bad import BadName, Segment
from d4c_platform.naming.dates import looks_like_date, read_date
from d4c_platform.naming.semver import SemVer, suggest_semver, why_not_semver
from d4c_platform.naming.vocabulary import (
    EXTENSIONS,
    LENIENT_DGUID,
    PACKAGE_PREFIX,
    PACKAGES,
    PART,
    WRAPPERS,
    tells_projection,
    why_not_dguid,
    why_not_region,
)

LONGEST_NAME = 255  # bytes of a file name that every common file system keeps

_EXTENSION = re.compile(
    rf"(?:(?:\.{PART})?\.(?:{'|'.join(EXTENSIONS)}))?(?:\.(?:{'|'.join(WRAPPERS)}))*$", re.ASCII | re.IGNORECASE
)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_VERSION_LIKE = re.compile(r"[vV]?[0-9]+\.[0-9].*|[vV][0-9]+(?:[-+].*)?", re.DOTALL)


class Token(NamedTuple):
    """A piece of the text and where it stands."""

    text: str
    start: int
    end: int


class Parts(NamedTuple):
    """The parts of a name, canonical each."""

    region: str
    source: str
    dguid: str
    package: str
    name: tuple[str, ...]
    date: str | None
    variant: tuple[str, ...]
    version: SemVer | None
    ext: str | None


def scan(text: str) -> Parts:
    """Cut a text into the parts of a name.

    Raises:
        BadName: pointing at the first segment that is wrong.
    """
    _refuse_what_is_no_file_name(text)
    stem, ext = _split_extension(text)
    tokens = _split_segments(text, stem)
    region = tokens[0]
    if why := why_not_region(region.text):
        lower = region.text.lower()
        suggestion = lower if why_not_region(lower) is None else None
        raise BadName(text, Segment.REGION, region.start, region.end, why, suggestion=suggestion)
    source, dguid, package_at = _read_source(text, tokens)
    package = _read_package(text, tokens, package_at, len(stem))
    rest, version = _split_version(text, tokens[package_at + 1 :])
    name, date, variant = _split_at_date(text, rest)
    return Parts(region.text, source, dguid, package, name, date, variant, version, ext)


def _refuse_what_is_no_file_name(text: str) -> None:
    if not text:
        raise BadName(text, Segment.TEXT, 0, 0, "it is empty")
    if (folder := max(text.rfind("/"), text.rfind("\\"))) >= 0:
        raise BadName(text, Segment.TEXT, 0, folder + 1, "a name holds no folder: leave it out")
    if len(text.encode(errors="surrogatepass")) > LONGEST_NAME:
        start = min(LONGEST_NAME, len(text) - 1)
        raise BadName(text, Segment.TEXT, start, len(text), f"file systems keep at most {LONGEST_NAME} bytes of a name")


def _split_extension(text: str) -> tuple[str, str | None]:
    found = _EXTENSION.search(text)
    if found is None or not found[0]:
        return text, None
    ext = found[0]
    if ext != ext.lower():
        raise BadName(text, Segment.EXT, found.start(), found.end(), "extensions are lower-case", suggestion=ext.lower())
    return text[: found.start()], ext[1:]


def _split_segments(text: str, stem: str) -> list[Token]:
    tokens, start = [], 0
    for index, piece in enumerate(stem.split("_")):
        end = start + len(piece)
        if not piece:
            role = {0: Segment.REGION, 1: Segment.SOURCE}.get(index, Segment.NAME)
            raise BadName(text, role, max(0, start - 1), min(len(text), end + 1), "there is nothing between two separators")
        tokens.append(Token(piece, start, end))
        start = end + 1
    return tokens


def _read_source(text: str, tokens: list[Token]) -> tuple[str, str, int]:
    """Source, DGUID, and the index of the token where the package belongs."""
    package_like = next((i for i, token in enumerate(tokens) if i and _is_package_like(token.text)), None)
    limit = min(len(tokens), 3) if package_like is None else package_like
    for i in range(1, limit):
        head, _, tail = tokens[i].text.rpartition("-")
        if found := LENIENT_DGUID.fullmatch(tail):
            dguid = found[1] + found[2].upper() + found[3] + found[4]
            break
    else:
        _refuse_dguid(text, tokens, limit)
    if i == 1 and not head:
        token = tokens[1]
        raise BadName(
            text,
            Segment.SOURCE,
            token.start,
            token.end,
            "the source before the DGUID is missing",
            suggestion=f"statcan-{dguid}",
        )
    if i > 2 or (i == 2 and head):
        span = text[tokens[1].start : tokens[i].end]
        raise BadName(
            text,
            Segment.SOURCE,
            tokens[1].start,
            tokens[i].end,
            "a source of several words is joined by hyphens",
            suggestion=span.replace("_", "-"),
        )
    source = Token(head, tokens[1].start, tokens[1].start + len(head)) if i == 1 else tokens[1]
    _require_slug(text, Segment.SOURCE, source)
    return source.text, dguid, i + 1


def _refuse_dguid(text: str, tokens: list[Token], limit: int) -> NoReturn:
    if len(tokens) == 1 or limit == 1:
        at = tokens[0].end
        raise BadName(
            text,
            Segment.SOURCE,
            at,
            at,
            "the source and the DGUID are missing",
            suggestion="_statcan-2021A000011124",
        )
    token = tokens[1]
    _, hyphen, tail = token.text.rpartition("-")
    if hyphen and re.match(r"[0-9]{2}", tail):
        token = Token(tail, token.end - len(tail), token.end)
    elif limit > 2 and re.match(r"[0-9]{2}", tokens[2].text):
        token = tokens[2]
    else:
        raise BadName(
            text,
            Segment.DGUID,
            token.start,
            token.end,
            "the DGUID of the area is missing after the source, as in statcan-2021A000011124",
        )
    raise BadName(text, Segment.DGUID, token.start, token.end, why_not_dguid(token.text))


def _is_package_like(text: str) -> bool:
    return text.lower().startswith(PACKAGE_PREFIX[:-1]) or PACKAGE_PREFIX + text in PACKAGES


def _read_package(text: str, tokens: list[Token], at: int, end: int) -> str:
    if at >= len(tokens):
        raise BadName(text, Segment.PACKAGE, end, end, "the data package is missing", suggestion=f"_{PACKAGES[0]}")
    token = tokens[at]
    for package in (token.text, PACKAGE_PREFIX + token.text):
        if package in PACKAGES:
            return package
    close = difflib.get_close_matches(token.text.lower(), PACKAGES, n=1)
    raise BadName(
        text,
        Segment.PACKAGE,
        token.start,
        token.end,
        f"it is not a data package of Data for Canada; these are {', '.join(PACKAGES)}",
        suggestion=close[0] if close else None,
    )


def _split_version(text: str, rest: list[Token]) -> tuple[list[Token], SemVer | None]:
    for token in rest[:-1]:
        if token.text[0] in "vV" and _VERSION_LIKE.fullmatch(token.text) and "." in token.text:
            raise BadName(text, Segment.VERSION, token.start, token.end, "the version is the last segment")
    if not rest:
        return rest, None
    last = rest[-1]
    if not _VERSION_LIKE.fullmatch(last.text):
        if "." in last.text:
            _refuse_extension(text, last)
        return rest, None
    number = last.text[1:] if last.text[0] == "v" else None
    try:
        version = SemVer.parse(number) if number is not None else None
    except BadName:
        version = None
    if version is None:
        core, dot, tail = last.text.rpartition(".")
        if dot and not tail.isdecimal() and re.fullmatch(r"v[0-9]+\.[0-9]+\.[0-9]+", core):
            _refuse_extension(text, last)
        meant = suggest_semver(last.text)
        reason = why_not_semver(number) if number else "a version is SemVer after a lower-case v"
        raise BadName(text, Segment.VERSION, last.start, last.end, reason, suggestion=f"v{meant}" if meant else None)
    ending = version.pre_release[-1].lower() if version.pre_release else ""
    if ending in EXTENSIONS | WRAPPERS or re.fullmatch(PART, ending):
        at = last.end - len(ending) - 1
        raise BadName(text, Segment.EXT, at, last.end, "a pre-release that ends like an extension cannot be told from one")
    return rest[:-1], version


def _refuse_extension(text: str, token: Token) -> NoReturn:
    at = token.start + token.text.rindex(".")
    raise BadName(text, Segment.EXT, at, token.end, f"{text[at : token.end]} is not a data extension we know")


def _split_at_date(text: str, rest: list[Token]) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    dates = [(i, vintage) for i, token in enumerate(rest) if (vintage := read_date(token.text))]
    at, vintage = dates[-1] if dates else (len(rest), None)
    for token in rest[at + 1 :] if dates else rest:
        if looks_like_date(token.text):
            raise BadName(
                text,
                Segment.DATE,
                token.start,
                token.end,
                "it is not an ISO 8601 date: YYYY, YYYY-MM, YYYY-MM-DD, YYYY-Www, YYYY-DDD or a UTC date-time",
            )
    for token in rest[:at]:
        _require_slug(text, Segment.NAME, token)
        _refuse_projection(text, Segment.NAME, token)
    for token in rest[at + 1 :]:
        _require_slug(text, Segment.VARIANT, token)
        _refuse_projection(text, Segment.VARIANT, token)
    name, variant = (tuple(token.text for token in part) for part in (rest[:at], rest[at + 1 :]))
    return name, vintage.text if vintage else None, variant


def _require_slug(text: str, segment: Segment, token: Token) -> None:
    if _SLUG.fullmatch(token.text):
        return
    plain = unicodedata.normalize("NFKD", token.text).encode("ascii", "ignore").decode().lower()
    suggestion = "-".join(re.findall(r"[a-z0-9]+", plain)) or None
    reason = "it holds lower-case letters, digits and single hyphens only"
    raise BadName(text, segment, token.start, token.end, reason, suggestion=suggestion)


def _refuse_projection(text: str, segment: Segment, token: Token) -> None:
    """Projections belong in the file and its catalog item. A bare word such as `lambert` may be a place in the name."""
    if tells_projection(token.text, words_too=segment is Segment.VARIANT):
        raise BadName(
            text,
            segment,
            token.start,
            token.end,
            "a name tells no projection; it stands in the file and in its catalog item",
        )
