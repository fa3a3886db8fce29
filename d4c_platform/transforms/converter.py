"""An operator's own command for formats that free software cannot read: ECW and MrSID.

Their decoders are under licences that a platform cannot pass on, so no wheel has them. Who has a licence declares a command
in the settings; it makes a GeoTIFF, and from there on the image is treated as any other. The command is a list of words, never
a line for a shell; it sees none of our secrets, has a limit of time, and what it leaves is looked at before it is believed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from d4c_platform.model.errors import PermanentFailure, TransientFailure

ECW, MRSID = "ECW", "MrSID"
SETTINGS = MappingProxyType({ECW: "D4C_CONVERT_ECW", MRSID: "D4C_CONVERT_MRSID"})
"""The format to the setting that names its command."""

TIMEOUT_S = 4 * 3600  # a province's mosaic takes an hour or two; a command that waits for a licence server waits forever
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SECRET_PREFIXES = ("D4C_", "AWS_", "DAGSTER_")
_SAID = 500  # characters of what a failing command says last


def command_of(template: str) -> list[str]:
    """The words of a command template.

    Raises:
        ValueError: it cannot be read, or does not say where the two files stand; says how it should look.
    """
    words = shlex.split(template)
    if not words or not all(any(place in word for word in words[1:]) for place in ("{input}", "{output}")):
        raise ValueError("a command names its program, then {input} and {output}: gdal_translate {input} {output}")
    return words


def convert(kind: str, source: Path, target: Path, converters: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Path:
    """Make a GeoTIFF of a file with the operator's command.

    Args:
        kind: `ECW` or `MrSID`.
        converters: the command templates by format.

    Raises:
        PermanentFailure: no command is declared, or it cannot be run, fails, or leaves something else than a GeoTIFF.
        TransientFailure: it took too long.
    """
    setting = SETTINGS[kind]
    if kind not in converters:
        raise PermanentFailure(
            f"the file is {kind}, a format that only licensed software reads",
            file=source.name,
            remedy=f"Ask the publisher for a GeoTIFF or JPEG 2000; or, with a licence of your own, set {setting} to a command "
            f"that makes a GeoTIFF, for instance {setting}='gdal_translate -of GTiff {{input}} {{output}}'",
        )
    try:
        words = command_of(converters[kind])
    except ValueError as error:
        raise PermanentFailure(f"cannot be read: {error}", where=setting, remedy="Correct the environment") from error
    # In one go: a file may itself be called {output}.
    places = {"{input}": str(source.absolute()), "{output}": str(target.absolute())}
    words = [_filled(word, places) for word in words]
    try:
        done = subprocess.run(
            words,
            cwd=target.parent,
            env={k: v for k, v in os.environ.items() if not k.startswith(_SECRET_PREFIXES)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise PermanentFailure(
            f"{words[0]} cannot be run ({error.strerror})",
            where=setting,
            file=source.name,
            remedy="Install it, or correct the path",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TransientFailure(
            f"{words[0]} did not end within {timeout_s:,.0f} s",
            where=setting,
            file=source.name,
            remedy="Look at its licence server",
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-_SAID:] or "it said nothing"
        raise PermanentFailure(
            f"{words[0]} ended with {done.returncode}: {said}", where=setting, file=source.name, remedy="Run it by hand"
        )
    if not _is_tiff(target):
        raise PermanentFailure(
            f"{words[0]} left no GeoTIFF at {{output}}", where=setting, file=source.name, remedy="Correct the command"
        )
    return target


def _filled(word: str, places: Mapping[str, str]) -> str:
    pieces = [word]
    for place, path in places.items():
        pieces = [p for piece in pieces for p in (_split(piece, place, path) if piece not in places.values() else [piece])]
    return "".join(pieces)


def _split(piece: str, place: str, path: str) -> list[str]:
    first, *others = piece.split(place)
    return [first, *(p for other in others for p in (path, other))]


def _is_tiff(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _TIFFS
