"""What an operator sees: Dagster's own UI in a real browser, over a sandbox in which a release has been published.

Text, links and loaded images are asserted, never pixels. A screenshot of every page goes to $D4C_SCREENSHOTS, for a person.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

from d4c_platform.model.records import Build, Doi, Torrents
from d4c_platform.transforms.checks import CHECKS
from d4c_platform_tests.interop import require
from d4c_platform_tests.orchestration.world import OUTLINES, TABLE, World, settings_of, world

pytestmark = pytest.mark.interop

READY_S = 90  # the webserver loads the code location in a process of its own, on a busy machine
PATIENCE_MS = 30_000
WIDE = {"width": 1800, "height": 1400}  # the whole lineage fits
QUIET = (  # no GPU here, and nothing asked of the network that the page does not ask
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCATION = "d4c_platform.definitions"
GROUPS = ("source", "build", "publication", "mirrors", "peer_to_peer", "catalog")
FLOW = (  # what stands further left comes first; the mirrors stand side by side
    ("raw_release",),
    ("artifact",),
    ("version_manifest",),
    ("portal_version",),
    ("catalog_item",),
    ("source_coop_copy", "zenodo_record"),
    ("torrent",),
    ("catalog",),
)


@dataclass(frozen=True)
class Ui:
    """Dagster's UI over a world, in one browser profile, so that its scripts are loaded once."""

    there: World
    profile: BrowserContext
    screenshots: Path

    def version(self, dataset_id: str) -> str:
        return self.there.published(dataset_id)[-1]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[World]:
    """A world in which the first release of each dataset is published."""
    require("chromium")
    with world(tmp_path_factory.mktemp("ui") / "sandbox") as there:
        runs = there.work()
        assert runs
        assert all(run.ok for run in runs), [run.trouble for run in runs]
        yield there


@pytest.fixture(scope="module")
def webserver(published, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("webserver")
    port, log = _free_port(), folder / "webserver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster_webserver", "-m", LOCATION, "-h", "127.0.0.1", "-p", str(port)],
            env=os.environ | settings_of(published.sandbox),
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(f"http://127.0.0.1:{port}/server_info"):
            assert process.poll() is None, log.read_text()[-6000:]
            assert time.monotonic() < deadline, log.read_text()[-6000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def ui(published, webserver, tmp_path_factory) -> Iterator[Ui]:
    wanted = os.environ.get("D4C_SCREENSHOTS")
    screenshots = Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=list(QUIET))
        try:
            profile = browser.new_context(base_url=webserver, viewport=WIDE)
            profile.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            yield Ui(published, profile, screenshots)
        finally:
            browser.close()


@pytest.fixture
def page(ui, request) -> Iterator[Page]:
    """A fresh page; how it looked in the end is kept, also when the test failed."""
    page = ui.profile.new_page()
    try:
        yield page
    finally:
        page.wait_for_timeout(500)  # colours and fonts come after the text
        name = request.node.name.replace("[", "-").removesuffix("]")
        page.screenshot(path=ui.screenshots / f"{name}.png")
        page.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def open_partition(page: Page, asset: str, version: str) -> None:
    page.goto(f"/assets/{asset}?view=partitions&partition={quote(version)}")
    expect(shown(page, "Metadata")).to_be_visible()


def shown(page: Page, text: str) -> Locator:
    """The last visible element with exactly this text; the UI keeps invisible twins to measure with."""
    return page.get_by_text(text, exact=True).filter(visible=True).last


def fact(page: Page, key: str) -> Locator:
    """The value cell of a metadata entry."""
    return page.locator(f"xpath=//tr[normalize-space(td[1])='{key}']/td[2]").first


def test_the_lineage_reads_from_the_source_to_the_catalog(ui, page):
    page.goto("/asset-groups")
    for group in GROUPS:
        expect(shown(page, group)).to_be_visible()
    page.mouse.click(WIDE["width"] // 2, WIDE["height"] // 4, button="right")  # on the empty canvas
    page.get_by_text("Expand all groups").filter(visible=True).first.click()
    for stage in FLOW:
        for asset in stage:
            expect(shown(page, asset)).to_be_visible()
    assert settles(lambda: _is_in_order(page)), [(asset, _x(page, asset)) for stage in FLOW for asset in stage]


def _is_in_order(page: Page) -> bool:
    stages = [[_x(page, asset) for asset in stage] for stage in FLOW]
    return all(max(before) < min(after) for before, after in pairwise(stages))


def _x(page: Page, asset: str) -> float:
    box = shown(page, asset).bounding_box()
    return box["x"] + box["width"] / 2 if box else float("nan")


def settles(is_so) -> bool:
    """Whether something becomes true while the page still moves."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not (so := is_so()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return so


def test_the_job_page_says_what_the_job_does(ui, page):
    page.goto(f"/locations/{LOCATION}/jobs/build_and_publish")
    expect(page.get_by_text("Archive the release, build and check the artifact").last).to_be_visible()


@pytest.mark.parametrize("dataset", [TABLE, OUTLINES], ids=["table", "outlines"])
def test_an_artifact_shows_its_rows_checksum_columns_and_changelog(dataset, ui, page):
    version = ui.version(dataset)
    [data] = ui.there.platform.records.read(Build, version).artifacts
    open_partition(page, "artifact", version)
    expect(shown(page, "Materialized")).to_be_visible()
    expect(fact(page, "dagster/row_count")).to_have_text(str(data.rows))
    expect(fact(page, "sha256")).to_have_text(data.digests.sha256)
    expect(fact(page, "changelog")).to_contain_text(f"the first version, {data.rows} rows")
    expect(fact(page, "kept, never hidden")).to_contain_text("source_rows")
    fact(page, "dagster/column_schema").get_by_text("Show Table Schema").click()
    for column in data.columns:
        expect(page.get_by_role("dialog").get_by_text(column.name, exact=True).first).to_be_attached()


def test_the_zenodo_record_shows_its_doi_as_a_link(ui, page):
    version = ui.version(TABLE)
    doi = ui.there.platform.records.read(Doi, version)
    open_partition(page, "zenodo_record", version)
    expect(fact(page, "DOI").get_by_role("link").first).to_have_attribute("href", f"https://doi.org/{doi.doi}")
    expect(fact(page, "record").get_by_role("link").first).to_have_attribute("href", doi.url)


def test_the_torrent_shows_a_magnet_link_and_its_web_seeds(ui, page):
    version = ui.version(OUTLINES)
    [torrent] = ui.there.platform.records.read(Torrents, version).torrents
    open_partition(page, "torrent", version)
    expect(fact(page, "magnet").get_by_role("link").first).to_have_attribute("href", torrent.magnet)
    expect(fact(page, "info-hash")).to_have_text(torrent.info_hash)
    for url in torrent.web_seeds:
        expect(fact(page, "web seeds")).to_contain_text(url)


@pytest.mark.parametrize("dataset", [TABLE, OUTLINES], ids=["table", "outlines"])
def test_a_version_on_the_portal_shows_its_map(dataset, ui, page):
    version = ui.version(dataset)
    open_partition(page, "portal_version", version)
    image = fact(page, "map preview").get_by_role("img")
    expect(image).to_be_visible()
    assert settles(lambda: image.evaluate("image => image.complete && image.naturalWidth > 0"))
    assert version in image.get_attribute("src")


def test_every_check_of_the_artifact_is_listed_and_passed(ui, page):
    page.goto("/assets/artifact?view=checks")
    for name, *_ in CHECKS:
        expect(shown(page, name)).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(len(CHECKS))
    expect(shown(page, "Passed")).to_be_visible()


def test_the_sensors_and_the_daily_schedules_are_on_by_themselves(ui, page):
    page.goto("/automation")
    for sensor in ("releases", "outstanding"):
        expect(shown(page, sensor)).to_be_visible()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(4)
