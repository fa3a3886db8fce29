"""`d4c catalog`: look into the published catalog, with base dependencies (`sql` with DuckDB); rebuild it from the records."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from d4c_platform.catalog.reading import Catalog
from d4c_platform.model.errors import PermanentFailure

app = App(name="catalog", help="The one catalog of all versions: list, show, and query it with SQL.")

Where = Annotated[
    str, Parameter(name="--catalog", env_var="D4C_CATALOG", help="URL or path of catalog.parquet, or of the folder it lies in.")
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Answer as JSON.")]


@app.command(name="list")
def list_(dataset: str | None = None, *, catalog: Where, latest: bool = False, as_json: AsJson = False) -> None:
    """List versions: all, or those of one dataset.

    Args:
        dataset: only the versions of this dataset id.
        latest: only each dataset's latest version.
    """
    found = [
        _summary(item)
        for item in Catalog.open(catalog)
        if (dataset is None or item["properties"]["d4c:dataset"] == dataset)
        and (not latest or item["properties"]["d4c:latest"])
    ]
    if as_json:
        _print_json(found)
    else:
        _print_summaries(found)


@app.command
def show(version: str, *, catalog: Where, as_json: AsJson = False) -> None:
    """Show one version: what it is, where its copies are, how to check them.

    Args:
        version: a version id, or a dataset id for its latest version.
    """
    opened = Catalog.open(catalog)
    item = opened.latest(version) if version in opened.datasets() else opened.get(version)
    if as_json:
        _print_json(item)
        return
    console = _plain()
    lines = _lines(item)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        console.print(f"{name:<{width}}  {value}")


@app.command
def sql(query: str, *, catalog: Where, as_json: AsJson = False) -> None:
    """Answer a SQL query over the tables `catalog` and `mirrors` with DuckDB.

    Args:
        query: for instance SELECT id, assets.data.href FROM catalog WHERE "d4c:latest".
    """
    answer = Catalog.open(catalog).sql(query)
    if as_json:
        _print_json(answer.to_pylist())
    else:
        _print_table(answer.column_names, answer.to_pylist())


@app.command
def rebuild(*, as_json: AsJson = False) -> None:
    """Fold the portal's records into the catalog again: from object storage alone, into the same bytes.

    The portal is the one that the D4C_… settings point at.
    """
    try:
        from d4c_platform.settings import Settings
        from d4c_platform.stages import publication
        from d4c_platform.stages.platform import Platform
    except ModuleNotFoundError as error:
        raise PermanentFailure(
            f"needs {error.name}", where="catalog rebuild", remedy="pip install 'd4c-platform[publish]'"
        ) from error
    with Platform(Settings.read()) as platform:
        published = publication.publish_catalog(platform)
    if as_json:
        _print_json({"rows": published.rows, "sha256": published.sha256, "versions": published.versions})
    else:
        _plain().print(f"{published.rows} versions, sha256 {published.sha256}")


def _summary(item: dict[str, Any]) -> dict[str, Any]:
    properties, data = item["properties"], item["assets"].get("data", {})
    return {
        "id": item["id"],
        "dataset": properties["d4c:dataset"],
        "title": properties["title"],
        "title_fr": properties["d4c:title_fr"],
        "rows": data.get("table:row_count"),
        "bytes": data.get("file:size"),
        "href": data.get("href"),
        "doi": properties.get("sci:doi"),
        "latest": properties["d4c:latest"],
    }


def _lines(item: dict[str, Any]) -> list[tuple[str, str]]:
    properties = item["properties"]
    lines = [("title", properties["title"]), ("titre", properties["d4c:title_fr"]), ("version", item["id"])]
    lines += [("released", properties["d4c:released_at"]), ("licence", properties["license"])]
    lines += [("latest", "yes" if properties["d4c:latest"] else "no, there is a newer version")]
    lines += [("DOI", properties["sci:doi"]), ("cite", properties["sci:citation"])] if "sci:doi" in properties else []
    lines += [("magnet", properties["d4c:magnet"])] if "d4c:magnet" in properties else []
    for role, asset in item["assets"].items():
        lines.append((role, asset["href"]))
        lines += [(f"{role} at {a['alternate:name']}", a["href"]) for a in asset.get("alternate", {}).values()]
        if "file:size" in asset:
            lines.append((f"{role} check", f"{asset['file:size']} bytes, sha256 {asset['file:checksum'][4:]}"))
    return lines


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=_jsonable)
    sys.stdout.write("\n")


def _jsonable(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _plain() -> Console:
    """Lines, not a table: an id or a URL that a table breaks cannot be copied."""
    return Console(soft_wrap=True, highlight=False, markup=False)


def _print_summaries(found: list[dict[str, Any]]) -> None:
    console = _plain()
    for row in found:
        console.print(f"{row['id']}{'  (latest)' if row['latest'] else ''}")
        facts = [row["title"]]
        facts += [f"{row[unit]:,} {unit}" for unit in ("rows", "bytes") if row[unit] is not None]
        facts += [f"DOI {row['doi']}"] if row["doi"] else []
        console.print("    " + ", ".join(facts), style="dim")


def _print_table(columns: list[str], found: list[dict[str, Any]]) -> None:
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in found:
        table.add_row(*(Text("" if row[c] is None else str(row[c])) for c in columns))
    Console().print(table)
