"""From a noticed release to a checked artifact: archive, build, compare, describe.

Nothing here is public yet: the artifact waits under `staging/` until every blocking check has passed. A release that changes
nothing is withdrawn here, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from d4c_platform.model.dataset import Dataset
from d4c_platform.model.errors import PermanentFailure
from d4c_platform.model.records import (
    Artifact,
    Build,
    Candidate,
    Changes,
    Copies,
    Manifest,
    Release,
    Severity,
    Verdict,
    Withdrawal,
)
from d4c_platform.sources.archive import archive, changed_nothing, fetch_raw
from d4c_platform.sources.detection import AGAIN_KEY, replaced_by
from d4c_platform.sources.source import Superseded
from d4c_platform.stages.companions import PREVIEW
from d4c_platform.stages.ingest import offer_of
from d4c_platform.stages.override import override_of
from d4c_platform.stages.platform import Platform
from d4c_platform.storage.digests import digest
from d4c_platform.transforms import artifact_of, changes, checks, manifest, parquet_parts, picture_changes, previews
from d4c_platform.transforms import build as transform
from d4c_platform.transforms.method import method
from d4c_platform.transforms.preview import preview


@dataclass(frozen=True, slots=True)
class Refused:
    """A build whose blocking checks failed: nothing was kept but the verdicts."""

    checks: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A build whose values are already published: it was checked, and became no version."""

    withdrawal: Withdrawal
    checks: tuple[Verdict, ...]


def candidate_of(platform: Platform, version_id: str) -> Candidate:
    """The release that was noticed under this version id.

    Raises:
        PermanentFailure: no release was noticed under it.
    """
    dataset = platform.dataset_of(version_id)
    for candidate in platform.records.candidates(dataset.id):
        if candidate.version_id == version_id:
            return candidate
    raise PermanentFailure(
        "no release was noticed under this version id",
        where="releases",
        version=version_id,
        remedy="Versions come from the release sensor; remove this partition if it was added by hand",
    )


def archive_release(platform: Platform, version_id: str) -> Release | Withdrawal:
    """Fetch the release once and archive it whole under `raw/`; or withdraw it when its content is already published."""
    withdrawn = platform.records.read(Withdrawal, version_id)
    if withdrawn is not None:
        return withdrawn
    dataset = platform.dataset_of(version_id)
    candidate = candidate_of(platform, version_id)
    _set_aside(platform, candidate)
    with platform.workspace("raw") as folder:
        try:
            with offer_of(platform, dataset, candidate, folder) as source:
                release = archive(candidate, dataset, source, platform.web, platform.portal, folder)
        except Superseded as error:
            return _withdraw(platform, version_id, f"The publisher replaced it before it was archived: {error.what}", None)
    before = platform.predecessor(dataset, version_id)
    previous = platform.records.read(Release, before) if before else None
    if previous is not None and changed_nothing(release, previous) and override_of(platform, version_id) is None:
        return _withdraw(platform, version_id, "The publisher's files have the same content as the version before", before)
    return release


def build_artifact(platform: Platform, version_id: str) -> Build | Refused | Unchanged:
    """Build the artifact from the archived release, check it, and put it under `staging/`.

    Returns the recorded build when there is one and its bytes are still there: the same input gives the same bytes.
    """
    portal, records = platform.portal, platform.records
    refuse_withdrawn(platform, version_id)
    recorded = records.read(Build, version_id)
    if recorded is not None and all(portal.holds(version_id, a) for a in recorded.files):
        return recorded
    dataset = platform.dataset_of(version_id)
    release = _release(platform, version_id)
    with platform.workspace("build") as folder:
        raw = fetch_raw(release, portal, folder / "raw")
        built = transform(dataset, version_id, raw, folder, platform.converters)
        digests, leaves = digest(built.path)
        artifact = artifact_of(built, version_id, digests)
        before = platform.predecessor(dataset, version_id)
        earlier = records.read(Build, before) if before else None
        for name, path in built.beside.items():  # also when a check blocks it: a person will want to see the rejects
            portal.stage_companion(version_id, name, path.read_bytes())
        verdicts = checks.check(dataset, artifact, built.path, earlier.artifacts[0] if earlier else None)
        if not all(v.passed for v in verdicts if v.severity is Severity.BLOCKING):
            return Refused(verdicts)
        difference = _compare(platform, dataset, artifact, version_id, built.path, before, folder)
        if difference.bump == "none" and AGAIN_KEY not in release.hint:
            reason = "The artifact's values are those of the version before"
            return Unchanged(_withdraw(platform, version_id, reason, before), verdicts)
        # The same bytes made again, because what was staged is lost, were made by what the record says already.
        made_with = manifest.made_with() if recorded is None else recorded.made_with
        files = [(path, *digest(path)) for path in parquet_parts.cut(built.path, folder / "parts")] if built.is_table else []
        artifact = artifact_of(built, version_id, digests, [(p, parquet_parts.rows_of(p), d) for p, d, _ in files])
        files = files or [(built.path, digests, leaves)]
        others = []
        for made in previews(dataset, version_id, built, folder):
            files.append((made.path, *digest(made.path)))
            others.append(artifact_of(made, version_id, files[-1][1]))
        build = Build(
            version_id=version_id, artifacts=(artifact, *others), checks=verdicts, changes=difference, made_with=made_with
        )
        portal.keep_method(method().body)
        portal.stage_companion(version_id, PREVIEW, preview(dataset, artifact, built.path).encode())
        for published, (path, _, its_leaves) in zip(build.files, files, strict=True):
            portal.stage(version_id, path, published, its_leaves)
        records.write(build)
    return build


def write_manifest(platform: Platform, version_id: str) -> Manifest:
    """Record what the version was built from."""
    recorded = platform.records.read(Manifest, version_id)
    if recorded is not None:
        return recorded
    build = platform.records.read(Build, version_id)
    if build is None:
        raise PermanentFailure("it has no artifact", where="manifest", version=version_id, remedy="Materialize artifact first")
    document = manifest.manifest(
        platform.dataset_of(version_id), version_id, _release(platform, version_id), build, build.checks, build.changes
    )
    platform.records.write(document)
    return document


def _compare(
    platform: Platform, dataset: Dataset, artifact: Artifact, version_id: str, path: Path, before: str | None, folder: Path
) -> Changes:
    """What changed since the version before; refuses a version number that says less than what changed."""
    if before is None:
        return Changes(least_bump="first")
    earlier = platform.records.read(Build, before)
    if earlier is None:
        raise PermanentFailure("the version before has no artifact record", where="records", version=before)
    if {artifact.role, earlier.artifacts[0].role} != {"data"}:
        derived = picture_changes.compare(version_id, artifact, before, earlier.artifacts[0])
    else:
        previous = _published(platform, before, earlier.artifacts[0], folder / "previous")
        derived = changes.compare(dataset, version_id, path, before, previous)
    difference = derived.model_copy(update={"override": override_of(platform, version_id)})
    if difference.bump != "none":
        changes.require_honest_number(dataset, version_id, before, difference)
    return difference


def _published(platform: Platform, version_id: str, artifact: Artifact, folder: Path) -> Path:
    """A published table on local disk, in one piece also when it was published in parts."""
    folder.mkdir()
    paths = []
    for file in artifact.files:
        paths.append(folder / file.file)
        platform.portal.download(version_id, file, paths[-1])
    if not artifact.parts:
        return paths[0]
    parquet_parts.join(paths, folder / artifact.file)
    return folder / artifact.file


def refuse_withdrawn(platform: Platform, version_id: str) -> None:
    """Raise PermanentFailure when the version was withdrawn: nothing more is done for it."""
    withdrawn = platform.records.read(Withdrawal, version_id)
    if withdrawn is not None:
        raise PermanentFailure(
            f"it was withdrawn: {withdrawn.reason}", where="records", version=version_id, remedy="Remove its partition"
        )


def _set_aside(platform: Platform, candidate: Candidate) -> None:
    """When an operator declared another number for a release, the versions it replaces are withdrawn, if not public."""
    for replaced in replaced_by(candidate, platform.records.candidates(candidate.dataset_id)):
        public = platform.records.read(Copies, replaced, place="portal") is not None
        if not public and platform.records.read(Withdrawal, replaced) is None:
            _withdraw(platform, replaced, f"The same release was declared as {candidate.version_id}", None)


def _release(platform: Platform, version_id: str) -> Release:
    release = platform.records.read(Release, version_id)
    if release is None:
        raise PermanentFailure(
            "its release is not archived yet", where="raw", version=version_id, remedy="Materialize raw_release first"
        )
    return release


def _withdraw(platform: Platform, version_id: str, reason: str, same_as: str | None) -> Withdrawal:
    withdrawal = Withdrawal(version_id=version_id, reason=reason, same_as=same_as)
    platform.records.write(withdrawal)
    return withdrawal
