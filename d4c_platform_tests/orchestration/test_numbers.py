"""The number of a version says what changed: one that says too little stops the run before anything is public."""

from __future__ import annotations

import shutil
import zipfile

import geopandas

from d4c_platform.model.records import Build, Withdrawal
from d4c_platform.sandbox.place import OWN_DATASETS
from d4c_platform_tests.orchestration.world import OUTLINES, World, world

SOURCES_AND_PORTAL = ("statcan", "files", "portal", "mirror", "zenodo", "tracker")


def add_a_column(there: World, folder) -> None:
    """The publisher puts another file under the same address: the same outlines with one more column."""
    [outlines] = (there.sandbox.place.releases / "files").rglob("*.zip")
    layer = geopandas.read_file(outlines)
    layer["SHORTNAME"] = layer["PRENAME"].str.slice(0, 4)
    folder.mkdir()
    layer.to_file(folder / "lpr_000g21a_e.shp")
    with zipfile.ZipFile(outlines, "w") as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, part.name)


def declare(there: World, datasets, version: str) -> None:
    [file] = [f for f in datasets.rglob("*.yaml") if OUTLINES in f.read_text()]
    file.write_text(file.read_text().replace("version: 1.0.0", f"version: {version}"))
    there.platform.__dict__.pop("datasets")


def test_a_number_that_says_too_little_is_refused_with_evidence_and_the_declared_one_is_published(tmp_path):
    datasets = tmp_path / "datasets"
    shutil.copytree(OWN_DATASETS, datasets)
    with world(tmp_path / "sandbox", settings={"D4C_DATASETS": str(datasets)}) as there:
        assert all(run.ok for run in there.work())
        add_a_column(there, tmp_path / "layer")
        failed = [run for run in there.work() if not run.ok]
        patch = f"{OUTLINES}_v1.0.1"
        assert {run.version_id for run in failed} == {patch}
        assert "1.1.0" in failed[0].trouble, failed[0].trouble
        assert "shortname" in failed[0].trouble
        assert there.published(OUTLINES) == [f"{OUTLINES}_v1.0.0"]

        declare(there, datasets, "1.1.0")
        assert all(run.ok for run in there.work())
        assert there.published(OUTLINES) == [f"{OUTLINES}_v1.0.0", f"{OUTLINES}_v1.1.0"]
        build = there.platform.records.read(Build, f"{OUTLINES}_v1.1.0")
        assert build.changes.least_bump == "minor"
        assert there.platform.records.read(Withdrawal, patch) is not None
        assert patch not in there.operator.partitions
        assert there.work() == []
