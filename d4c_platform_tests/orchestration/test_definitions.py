"""The code location as an operator meets it."""

import subprocess
import sys

import dagster as dg
import yaml

from d4c_platform.definitions import defs
from d4c_platform.stages.outstanding import Stretch
from d4c_platform_tests.places import ROOT

FLOW = [
    "raw_release",
    "artifact",
    "version_manifest",
    "portal_version",
    "catalog_item",
    "source_coop_copy",
    "zenodo_record",
    "torrent",
    "catalog",
]


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_graph_is_the_flow():
    parents = {name: {d.asset_key.to_user_string() for d in spec.deps} for name, spec in specs().items()}
    assert set(parents) == set(FLOW)
    assert parents["artifact"] == {"raw_release"}
    assert parents["portal_version"] == {"version_manifest"}
    assert parents["torrent"] == {"source_coop_copy", "zenodo_record"}
    assert parents["catalog"] == {"catalog_item", "torrent"}


def test_every_asset_has_an_owner_a_kind_a_group_and_says_what_it_is():
    for name, spec in specs().items():
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.group_name != "default", name
        assert spec.description, name


def test_all_assets_share_the_one_version_partition():
    assert {spec.partitions_def.name for spec in specs().values()} == {"dataset_version"}


def test_there_is_a_job_a_stretch_and_each_ends_in_the_catalog():
    for stretch in Stretch:
        selected = {key.to_user_string() for key in defs.resolve_job_def(stretch.value).asset_layer.selected_asset_keys}
        assert "catalog" in selected, stretch


def test_the_checks_that_guard_publication_block():
    checks = [spec for assets in defs.assets for spec in assets.check_specs]
    assert any(spec.blocking for spec in checks)
    assert {spec.asset_key.to_user_string() for spec in checks} == {"artifact"}


def test_the_instance_configuration_loads(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled


def test_the_workspace_names_this_code_location():
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "d4c_platform.definitions"


def test_reading_the_catalog_and_seeding_load_without_dagster_and_without_the_publishing_libraries():
    code = (
        "import sys; import d4c_platform.catalog.reading, d4c_platform.torrents.swarm, d4c_platform.naming, d4c_platform.cli;"
        "heavy = {'dagster', 'geopandas', 'duckdb', 'boto3', 'shapely'} & set(sys.modules);"
        "print(heavy); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
