"""The declared datasets: one bilingual YAML file each, in a folder a data package.

`load` reads the packaged declarations (or an operator's own folder) and refuses what is not exactly right, naming file, line
and field. The words of a declaration are `d4c_platform.model.dataset`; the published JSON Schema is generated from them.

Parts: `declarations` (files to datasets), `marked_yaml` (YAML that remembers its lines), `schema` (the JSON Schema and what it
finds), `rules` (what a schema cannot say: names, areas, keys), `shared_areas` (the areas that declarations can name).
"""

from d4c_platform.datasets.declarations import PACKAGED, BadDeclaration, check_files, declarations_in, load, load_file
from d4c_platform.datasets.schema import SCHEMA_FILE, SCHEMA_ID, json_schema

__all__ = [
    "PACKAGED",
    "SCHEMA_FILE",
    "SCHEMA_ID",
    "BadDeclaration",
    "check_files",
    "declarations_in",
    "json_schema",
    "load",
    "load_file",
]
