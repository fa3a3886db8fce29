"""What the folder of releases holds of catalogue portals and map servers. It is read in place, as the files are (`recorded`).

    shipped    ckan/<host>/<any>.jsonl                          a package a line, as the portal shows it; its files: `files`
               opendatasoft/<host>/<dataset>.geojson            its records; the file's date is when they were processed
               arcgis/<host>/<path>/FeatureServer/<n>.geojson   or MapServer; the file's date is when the layer was edited
    recorded   ckan/open_canada_packages.jsonl                  packages of open.canada.ca
               arcgis/<stem>-{metadata,count-only,ids-only,0}.json   answers of one layer, whose address was not recorded

Not here: the servers that show it (`portals`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PACKAGES, EXPORTS, LAYERS = "ckan", "opendatasoft", "arcgis"
OPEN_CANADA = {"open_canada_packages.jsonl": "open.canada.ca"}  # recordings that lie in no folder of their host
UNKNOWN_SERVER = "services.arcgis.com/recorded/arcgis/rest/services"  # for answers whose own address was not recorded


def packages(releases: Path) -> dict[str, list[dict[str, Any]]]:
    """The packages of CKAN portals, by the portal's host."""
    folder = releases / PACKAGES
    files = [(file.parent.name, file) for file in sorted(folder.glob("*/*.jsonl"))]
    files += [(host, folder / name) for name, host in OPEN_CANADA.items() if (folder / name).is_file()]
    found: dict[str, list[dict[str, Any]]] = {}
    for host, file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        found.setdefault(host, []).extend(json.loads(line) for line in lines if line.strip())
    return found


def exports(releases: Path) -> dict[str, dict[str, Path]]:
    """The datasets of Opendatasoft portals by their id, by the portal's host."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted((releases / EXPORTS).glob("*/*.geojson")):
        found.setdefault(file.parent.name, {})[file.stem] = file
    return found


def layer_answers(releases: Path) -> dict[str, str]:
    """Layers of which answers were recorded: address, as one stands in for it, to the stem of the files."""
    found = {}
    for file in sorted((releases / LAYERS).glob("*-metadata.json")):
        stem = file.name.removesuffix("-metadata.json")
        found[f"{UNKNOWN_SERVER}/{stem}/MapServer/{json.loads(file.read_text(encoding='utf-8'))['id']}"] = stem
    return found
