"""The published JSON Schema of a declaration, and what it finds in one.

The schema is generated from the model, so the two cannot disagree; `dataset.schema.json` beside this module is the published
copy, for editors and for other people's tools. Its findings are put into sentences here, because "is not valid under any of the
given schemas" helps nobody.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from d4c_platform.datasets.problem import FieldPath, Problem
from d4c_platform.model.dataset import Dataset
from d4c_platform.model.declared import Declared
from d4c_platform.model.family import Family

SCHEMA_ID = "https://dataforcanada.org/schemas/dataset/v1.json"
SCHEMA_FILE = Path(__file__).parent / "dataset.schema.json"
FAMILY_SCHEMA_ID = "https://dataforcanada.org/schemas/family/v1.json"
FAMILY_SCHEMA_FILE = Path(__file__).parent / "family.schema.json"

_NOUNS = {"string": "text", "object": "a mapping", "array": "a list", "boolean": "true or false", "number": "a number"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one declaration, as it is written: its area may be one of the shared ones, by name."""
    schema = _schema(Dataset, SCHEMA_ID)
    area = schema["properties"]["area"]
    named = {"description": "The name of a shared area: a file in datasets/areas.", "pattern": "^[a-z0-9_]+$", "type": "string"}
    schema["properties"]["area"] = {"anyOf": [area, named]}
    return schema


def family_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one family."""
    return _schema(Family, FAMILY_SCHEMA_ID)


def _schema(model: type[Declared], address: str) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": address, **model.model_json_schema()}


@cache
def _validator(model: type[Declared]) -> Draft202012Validator:
    return Draft202012Validator(model.model_json_schema())


def schema_problems(document: Any, model: type[Declared] = Dataset) -> Iterator[Problem]:
    """Everything in which a document, its named area written out, is not what the model's schema says."""
    errors = sorted(_validator(model).iter_errors(document), key=lambda e: [str(step) for step in e.absolute_path])
    for error in errors:
        yield from _explain(error, tuple(error.absolute_path))


def _explain(error: ValidationError, path: FieldPath) -> Iterator[Problem]:
    rule: Any = error.validator
    expected: Any = error.validator_value
    schema: Any = error.schema
    value: Any = error.instance
    if rule in ("oneOf", "anyOf"):
        yield from _explain_choice(error, path)
    elif rule == "required":
        # jsonschema reports each missing key on its own and says which one only in its message.
        missing = next(key for key in expected if error.message.startswith(repr(key)))
        yield Problem((*path, missing), "it is missing")
    elif rule == "additionalProperties":
        known = list(schema.get("properties", {}))
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                meant = f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"
                yield Problem((*path, key), f"there is no such field{meant}")
    elif rule == "type":
        names = [expected] if isinstance(expected, str) else expected
        wanted = " or ".join(_NOUNS.get(n, n) for n in names)
        quotes = "; put it in quotes" if "string" in names and not isinstance(value, (dict, list, str, type(None))) else ""
        yield Problem(path, f"it must be {wanted}, not {_shown(value)}{quotes}")
    elif rule in ("enum", "const"):
        allowed = expected if rule == "enum" else [expected]
        yield Problem(path, f"{_shown(value)} is not one of {', '.join(map(str, allowed))}")
    elif rule == "pattern":
        yield Problem(path, f"{_shown(value)} does not match {expected}")
    elif rule == "minLength":
        yield Problem(path, "it is empty")
    else:
        yield Problem(path, error.message)


def _explain_choice(error: ValidationError, path: FieldPath) -> Iterator[Problem]:
    """Explain the branch that the discriminating key chose; without one, what the key may say."""
    schema: Any = error.schema
    discriminator: Mapping[str, Any] = schema.get("discriminator", {})
    key = discriminator.get("propertyName")
    # What may be left out is either nothing or something: of something, what is wrong with it is told.
    within = [e for e in error.context or () if e.validator != "type" or e.relative_path]
    if key is None and within:
        for inner in within:
            yield from _explain(inner, (*path, *inner.relative_path))
        return
    if key is None or not isinstance(error.instance, dict):
        wanted = {str(e.validator_value) for e in error.context or () if e.validator == "type"}
        nouns = sorted(_NOUNS.get(w, w) for w in wanted - {"null"}) or ["something else"]
        yield Problem(path, f"it must be {' or '.join(nouns)}, not {_shown(error.instance)}")
        return
    kinds = list(discriminator["mapping"])
    kind = error.instance.get(key)
    if kind not in kinds:
        yield Problem(
            (*path, key), f"{_shown(kind)} is not one of {', '.join(kinds)}" if key in error.instance else "it is missing"
        )
        return
    chosen = [branch.get("$ref") for branch in schema["oneOf"]].index(discriminator["mapping"][kind])
    for inner in error.context or ():
        if inner.schema_path[0] == chosen:
            yield from _explain(inner, (*path, *inner.relative_path))


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
