"""Build a version again from the archive, and say how the result compares with what was published.

Everything comes from the version's manifest: the declaration as it was (not today's), and the source files with their sha-256.
So the answer is about the method: what this code, with these tools, makes of those bytes. Nothing is published or recorded.

Three answers are possible, and the difference matters: identical bytes; the same values in other bytes (a library writes
Parquet differently today, nobody's result changes); other values. For the last two it is said what differs between then
and now, as far as the manifest tells.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import D4CError, PermanentFailure
from d4c_platform.model.records import Artifact, Build, MadeWith, Manifest
from d4c_platform.stages.platform import Platform
from d4c_platform.storage import proof
from d4c_platform.storage.digests import digest
from d4c_platform.storage.store import NoObject
from d4c_platform.transforms import BuiltFile, parquet_parts, previews
from d4c_platform.transforms import build as transform
from d4c_platform.transforms import manifest as manifests

WHERE = "rebuild"
KEPT = "Nothing was changed"


class Outcome(StrEnum):
    """How what was built again compares with what is recorded."""

    IDENTICAL = "identical"
    SAME_VALUES = "same-values"
    OTHER_VALUES = "other-values"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the manifest says it was."""

    what: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Beside:
    """A further file of the version, made again: a preview, or a part of a large table."""

    recorded: Artifact
    sha256: str
    logical_hash: str

    @property
    def outcome(self) -> Outcome:
        return _outcome(self.sha256, self.logical_hash, self.recorded)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One artifact, built again.

    Attributes:
        beside: the version's further files.
        path: where the file was left; None when nobody asked for it.
        recorded: the artifact as it is recorded.
        differs: what made it, where that is not what made the recorded one.
    """

    version_id: str
    rows: int
    bytes: int
    sha256: str
    logical_hash: str
    recorded: Artifact
    differs: tuple[Difference, ...]
    path: Path | None = None
    beside: tuple[Beside, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of all files."""
        return max((self._of_artifact, *(b.outcome for b in self.beside)), key=list(Outcome).index)

    @property
    def _of_artifact(self) -> Outcome:
        return _outcome(self.sha256, self.logical_hash, self.recorded)

    def sentence(self) -> str:
        """The outcome for a person, with what differs when the bytes do."""
        others = [f"{b.recorded.file}: {b.outcome.value}." for b in self.beside]
        return " ".join([self._of_the_artifact(), *others])

    def _of_the_artifact(self) -> str:
        match self._of_artifact:
            case Outcome.IDENTICAL:
                because = "" if self.outcome is Outcome.IDENTICAL else f" {self._because()}"
                return f"Identical: {self.bytes:,} bytes with sha-256 {self.sha256}.{because}"
            case Outcome.SAME_VALUES:
                return f"The same values (logical hash {self.logical_hash}) in other bytes. {self._because()}"
            case Outcome.OTHER_VALUES:
                told = f"Other values: {self.rows:,} rows with logical hash {self.logical_hash}, recorded are "
                return f"{told}{self.recorded.rows:,} rows with {self.recorded.logical_hash}. {self._because()}"

    def _because(self) -> str:
        if not self.differs:
            return "Code, tools and environment are those of the manifest: the build does not repeat itself. Report this."
        return f"Not as in the manifest: {'; '.join(f'{d.what} was {d.then} and is {d.now}' for d in self.differs)}."


def _outcome(sha256: str, logical_hash: str, recorded: Artifact) -> Outcome:
    if sha256 == recorded.digests.sha256:
        return Outcome.IDENTICAL
    return Outcome.SAME_VALUES if logical_hash == recorded.logical_hash else Outcome.OTHER_VALUES


def rebuild(platform: Platform, version_id: str, keep: Path | None = None) -> Rebuilt:
    """Build a version's artifact again from `raw/`, in a working folder, and every further file of it.

    Args:
        keep: a folder to leave the artifact in; it is thrown away when there is none.

    Raises:
        PermanentFailure: the version was never built, or its sources are not the bytes that the manifest names.
    """
    manifest, build = _recorded(platform, version_id)
    recorded = build.main
    dataset = _declaration(manifest)
    with platform.workspace(WHERE) as folder:
        raw = _sources(platform, manifest, folder / "raw")
        built = transform(dataset, version_id, raw, folder, platform.converters)
        digests, _ = digest(built.path)
        beside = tuple(_beside(dataset, build, built, folder))
        path = None
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            path = Path(shutil.move(built.path, keep / recorded.file))
        return Rebuilt(
            version_id=version_id,
            rows=built.rows,
            bytes=digests.bytes,
            sha256=digests.sha256,
            logical_hash=built.logical_hash,
            recorded=recorded,
            differs=tuple(_differences(manifest, manifests.made_with())),
            path=path,
            beside=beside,
        )


def _beside(dataset: Dataset, build: Build, built: BuiltFile, folder: Path) -> Iterator[Beside]:
    recorded = build.main
    if recorded.parts:
        paths = parquet_parts.cut(built.path, folder / "parts")
        for part, path in zip_longest(recorded.files, paths):
            if part is not None:
                yield Beside(part, digest(path)[0].sha256 if path else "", built.logical_hash)
    previous = {a.role: a for a in build.artifacts if a is not recorded}
    made = {m.role: m for m in previews(dataset, build.version_id, built, folder)}
    for role, artifact in previous.items():
        again = made.get(role)
        yield Beside(artifact, digest(again.path)[0].sha256 if again else "", again.logical_hash if again else "")


def _recorded(platform: Platform, version_id: str) -> tuple[Manifest, Build]:
    manifest = platform.records.read(Manifest, version_id)
    build = platform.records.read(Build, version_id)
    if manifest is None or build is None:
        raise PermanentFailure(
            f"it has no {Manifest.DOCUMENT if manifest is None else Build.DOCUMENT}, so nothing says how it was built",
            where=WHERE,
            version=version_id,
            remedy="Name a version that was built; `d4c catalog list` shows those that are public",
        )
    data = build.main
    if manifest.logical_hash.get(data.role) != data.logical_hash:
        raise PermanentFailure(
            f"its {Manifest.DOCUMENT} and its {Build.DOCUMENT} give different logical hashes",
            where=WHERE,
            version=version_id,
            kept=KEPT,
            remedy="One of the two records was tampered with or damaged: restore it from a backup",
        )
    return manifest, build


def _declaration(manifest: Manifest) -> Dataset:
    """The dataset as it was declared when the version was built."""
    try:
        return Dataset.model_validate(manifest.dataset)
    except ValidationError as error:
        first = error.errors()[0]
        raise PermanentFailure(
            f"this platform cannot read the declaration in its manifest ({_place(first['loc'])}: {first['msg']})",
            where=WHERE,
            version=manifest.version_id,
            kept=KEPT,
            remedy=f"Rebuild it with the code that built it: {_method(manifest)}",
        ) from error


def _sources(platform: Platform, manifest: Manifest, folder: Path) -> Mapping[str, Path]:
    """The source files on local disk, each with the sha-256 that the manifest gives it."""
    files: dict[str, Path] = {}
    for key, sha256 in manifest.sources.items():
        name = PurePosixPath(key).name
        try:
            proof.download(platform.portal.store, key, folder / name, sha256)
        except NoObject as error:
            raise PermanentFailure(
                "the archived source file is gone",
                where=WHERE,
                version=manifest.version_id,
                file=key,
                kept=KEPT,
                remedy=f"Restore it from a copy with sha-256 {sha256}",
            ) from error
        except D4CError as error:
            raise error.about(version=manifest.version_id, kept=KEPT) from error.__cause__
        files[name] = folder / name
    return files


def _differences(then: Manifest, now: MadeWith) -> Iterator[Difference]:
    """What made the recorded artifact and what made it again, where they differ and both are known."""
    for name in sorted(then.tools.keys() | now.tools.keys()):
        before, after = then.tools.get(name, "not recorded"), now.tools.get(name, "not recorded")
        if before != after:
            yield Difference(name, before, after)
    for name, value in sorted(now.parameters.items()):
        if then.parameters.get(name, value) != value:
            yield Difference(name, then.parameters[name], value)
    if then.lock_sha256 != now.lock_sha256:
        yield Difference("the locked environment", then.lock_sha256[:12], now.lock_sha256[:12])
    if then.method_sha256 and then.method_sha256 != now.method_sha256:
        yield Difference("the code", _method(then), f"{now.code_commit} ({now.method_sha256[:12]})")
    elif not then.method_sha256 and then.code_commit != now.code_commit:
        yield Difference("the code", then.code_commit, now.code_commit)


def _method(manifest: Manifest) -> str:
    if not manifest.method_sha256:
        return manifest.code_commit
    return f"{manifest.code_commit} (methods/{manifest.method_sha256}.tar.gz)"


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path)) or "dataset"
