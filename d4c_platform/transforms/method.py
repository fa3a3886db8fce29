"""The method: this package's own source and the environment it was locked to, as one file that keeps them with the result.

A commit in a manifest is a promise that somebody still hosts the repository. So the code goes along: `methods/<sha-256>.tar.gz`
holds the package as it is installed, `requirements.lock` and `pyproject.toml`. It is named by its bytes, so thousands of
versions that were made by the same code share one, and it needs neither git nor a checkout: a wheel carries both files in its
metadata (`extra-metadata` in pyproject.toml).

The bytes are those of the sources alone: names in order, no times, no owners, no modes, no compiled files.

Not here: where the file is kept (storage.portal).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = "d4c-platform"
LOCK = "requirements.lock"
PROJECT_FILE = "pyproject.toml"
INSTALLED = "installed.txt"
"""Stands in for the lock where there is none: names and versions of what is installed."""

SOURCE = Path(__file__).resolve().parents[1]
PROJECT = SOURCE.parent
COMPILED = "__pycache__"
FOLDER = PACKAGE  # everything in the archive lies in one folder, so that unpacking it litters nothing


@dataclass(frozen=True, slots=True)
class Method:
    """The packed code and environment."""

    body: bytes
    sha256: str


@cache
def method() -> Method:
    """The code of this process and its environment. Packed once a process: what was imported does not change any more."""
    body = pack(SOURCE, environment())
    return Method(body, hashlib.sha256(body).hexdigest())


@cache
def environment() -> dict[str, bytes]:
    """The files that define the environment, by name: of the checkout, else of the installed package."""
    found = {name: body for name in (LOCK, PROJECT_FILE) if (body := _definition(name)) is not None}
    return found if LOCK in found else {**found, INSTALLED: _installed().encode()}


def lock_sha256() -> str:
    """SHA-256 of the lock file; without one, of the installed distributions' names and versions."""
    files = environment()
    return hashlib.sha256(files.get(LOCK) or files[INSTALLED]).hexdigest()


def pack(source: Path, environment: dict[str, bytes]) -> bytes:
    """A folder of sources and the files beside it as a .tar.gz whose bytes depend on nothing else."""
    files = {
        f"{source.name}/{path.relative_to(source).as_posix()}": path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and COMPILED not in path.parts and path.suffix != ".pyc"
    }
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in sorted((files | environment).items()):
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(plain.getvalue())
    return packed.getvalue()


def _definition(name: str) -> bytes | None:
    beside = PROJECT / name
    if beside.is_file():
        return beside.read_bytes()
    try:
        text = metadata.distribution(PACKAGE).read_text(f"extra_metadata/{name}")
    except metadata.PackageNotFoundError:
        return None
    return text.encode() if text is not None else None


def _installed() -> str:
    return "\n".join(sorted({f"{d.name.lower()}=={d.version}" for d in metadata.distributions()}))
