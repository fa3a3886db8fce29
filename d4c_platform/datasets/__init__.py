"""The declared datasets: one bilingual YAML file each, in a folder a data package.

`load` reads the packaged declarations (or an operator's own folder) and refuses what is not exactly right, naming file, line
and field. The words of a declaration are `d4c_platform.model.dataset` and `d4c_platform.model.sources`; the published JSON
Schema is generated from them.

A *family* (`*.family.yaml`) is one declaration that stands for many datasets, one an entry of the publisher's list.

Parts: `declarations` (files to datasets), `families` (files to families), `expansion` (a family to its datasets), `rules` (what
a schema cannot say: names, areas, keys), `shared_areas` (the areas that declarations can name), `schema` (the JSON Schemas and
what they find), `marked_yaml` (YAML that remembers its lines).
"""

from d4c_platform.datasets.declarations import (
    PACKAGED,
    BadDeclaration,
    check_files,
    declarations_in,
    is_family,
    load,
    load_file,
)
from d4c_platform.datasets.expansion import Expansion
from d4c_platform.datasets.families import check_families, families_in, load_families
from d4c_platform.datasets.schema import FAMILY_SCHEMA_FILE, SCHEMA_FILE, SCHEMA_ID, family_schema, json_schema

__all__ = [
    "FAMILY_SCHEMA_FILE",
    "PACKAGED",
    "SCHEMA_FILE",
    "SCHEMA_ID",
    "BadDeclaration",
    "Expansion",
    "check_families",
    "check_files",
    "declarations_in",
    "families_in",
    "family_schema",
    "is_family",
    "json_schema",
    "load",
    "load_families",
    "load_file",
]
