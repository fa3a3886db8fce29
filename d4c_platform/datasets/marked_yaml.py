"""YAML read safely, remembering on which line every value stands.

Stricter than YAML: a key written twice is an error, not a silent last-one-wins, and there are no aliases, so that every value
is read where it is written (and a small file cannot unfold into a large one).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from d4c_platform.datasets.problem import FieldPath, Problem


class Unreadable(Exception):
    """The text is not the YAML we read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class MarkedDocument:
    """A YAML document's value, and the lines of its parts."""

    def __init__(self, value: Any, lines: dict[FieldPath, int]) -> None:
        self.value, self._lines = value, lines

    def line(self, path: FieldPath) -> int | None:
        """The line of a field, or of the nearest part around it that is there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases are not read: write the value out", self.current_event.start_mark
            )
        return super().compose_node(parent, index)


def read_marked(file: Path) -> MarkedDocument:
    """Read one YAML document.

    Raises:
        Unreadable: with the problem's place.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(Problem((), f"it is not UTF-8 text (byte {error.start})").at(file, None)) from error
    except OSError as error:
        raise Unreadable(Problem((), f"it cannot be read ({error.strerror})").at(file, None)) from error
    lines: dict[FieldPath, int] = {}
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise Unreadable(Problem((), "it is empty").at(file, 1))
            _mark(node, (), file, lines)
            return MarkedDocument(loader.construct_document(node), lines)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        raise Unreadable(Problem((), f"it is not YAML we read: {error.problem}").at(file, line)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: the constructor met a date such as 2021-02-30; RecursionError: brackets nested without end.
        raise Unreadable(Problem((), f"it is not YAML we read: {str(error).splitlines()[0]}").at(file, None)) from error


def _mark(node: yaml.Node, path: FieldPath, file: Path, lines: dict[FieldPath, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise Unreadable(Problem(path, "a key is not text; put it in quotes").at(file, line))
            step = (*path, key.value)
            if step in lines:
                first = lines[step]
                raise Unreadable(Problem(step, f"the key is written twice, first on line {first}").at(file, line))
            lines[step] = line
            _mark(value, step, file, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), file, lines)
