"""The kind of source that the README shows is complete: it notices and archives as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from d4c_platform.model.sources import DeclaredSource
from d4c_platform.sources.archive import archive
from d4c_platform.sources.detection import detect
from d4c_platform.sources.source import SourceSettings
from d4c_platform.storage.portal import Portal
from d4c_platform.web import Web
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.sources.conftest import FILES, Publisher, http_file, zip_of
from d4c_platform_tests.sources.room import NOON


def shown() -> dict[str, Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Adding a source")[2].partition("\n## ")[0]
    names: dict[str, Any] = {"DeclaredSource": DeclaredSource, "Literal": Literal, "Field": Field}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, "README.md", "exec", dont_inherit=True), names)
    return names


def test_the_kind_of_source_that_the_readme_shows_works(
    files: Publisher, offered: dict[str, Path], web_to: Callable[[str, str], Web], portal: Portal, tmp_path: Path
) -> None:
    names, web = shown(), web_to(FILES, files.url)
    declared = names["LatestTextSource"](kind="latest-text", folder=f"{FILES}/wards")
    dataset = http_file().model_copy(update={"source": declared})
    source = names["LatestText"].open(web, SourceSettings())
    offered["wards/latest.txt"], offered["wards/wards-2025.zip"] = tmp_path / "latest.txt", tmp_path / "wards.zip"
    offered["wards/latest.txt"].write_text("wards-2025.zip\n")
    offered["wards/wards-2025.zip"].write_bytes(zip_of(("wards.shp", b"1")))
    (candidate,) = detect(dataset, source, portal.records, NOON)
    release = archive(candidate, dataset, source, web, portal, tmp_path / "work")
    assert portal.store.read(release.files[0].key) == zip_of(("wards.shp", b"1"))
    assert detect(dataset, source, portal.records, NOON) == []
