"""Templates as data: YAML with CloudFormation's tags, or JSON, with the line of every value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from streamfn.config.document import Document, composed, text_of
from streamfn.config.errors import ConfigurationErrors, Places, plain
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from streamfn.config.errors import Path as Way

_YAML: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = {"!Ref": "Ref", "!Condition": "Condition"}
"""Tags whose long form has no `Fn::` before it."""


def read(path: Path) -> Document:
    """The template in a file. Tags stand in it in their long form: `!Sub x` is `{"Fn::Sub": "x"}`.

    Raises ConfigurationErrors for what is neither YAML nor JSON, and for names that are given twice.
    """
    text = text_of(path)
    if text.lstrip().startswith("{"):
        # JSON is YAML, but for tabs before values.
        text = re.sub(r"^\t+", " ", text, flags=re.MULTILINE)
    root = composed(path, text)
    reader = _Reader(str(path))
    data = reader.value(root, ()) if root is not None else None
    if reader.errors:
        raise ConfigurationErrors(reader.errors)
    return Document(data, Places(str(path), reader.lines))


def section(data: Any, name: str) -> dict[str, Any]:
    """What stands under a name, if it is a set of names and values; else nothing."""
    inside = data.get(name) if isinstance(data, dict) else None
    return inside if isinstance(inside, dict) else {}


class _Reader:
    """Turns nodes into data, noting lines and problems on the way."""

    def __init__(self, file: str) -> None:
        self.lines: dict[Way, int] = {}
        self.errors: list[ConfigurationError] = []
        self._file = file
        # Knows YAML's rules for plain values; the text it is given here is never read.
        self._yaml = yaml.SafeLoader("")

    def value(self, node: yaml.Node, way: Way) -> Any:
        self.lines.setdefault(tuple(map(plain, way)), node.start_mark.line + 1)
        if not node.tag.startswith(_YAML):
            return self._function(node, way)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, way)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*way, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _function(self, node: yaml.Node, way: Way) -> Any:
        """An intrinsic function in its short form."""
        tag = node.tag
        if isinstance(node, yaml.ScalarNode):
            argument: Any = node.value
            if tag == "!GetAtt":
                argument = list(node.value.partition(".")[::2])
        elif isinstance(node, yaml.MappingNode):
            argument = self._mapping(node, way)
        else:
            argument = [self.value(item, (*way, index)) for index, item in enumerate(node.value)]
        return {_PLAIN_TAGS.get(tag) or f"Fn::{tag.removeprefix('!')}": argument}

    def _mapping(self, node: yaml.MappingNode, way: Way) -> dict[str, Any]:
        given = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in given[:index] and key.tag != f"{_YAML}merge":
                self._wrong(key, f"{key.value} is given twice", "keep one of the two")
        self._yaml.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, "a name must be text")
                continue
            inside = (*way, key.value)
            self.lines[tuple(map(plain, inside))] = key.start_mark.line + 1
            data[key.value] = self.value(value, inside)
        return data

    def _scalar(self, node: Any) -> Any:
        if node.tag == f"{_YAML}timestamp":
            return node.value  # CloudFormation has no times: 2010-09-09 is text
        try:
            return self._yaml.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self._wrong(node, f"{node.value!r} is no {node.tag.rpartition(':')[2]}")
            return None

    def _wrong(self, node: yaml.Node, problem: str, fix: str = "") -> None:
        where = f"{self._file}:{node.start_mark.line + 1}"
        self.errors.append(ConfigurationError(problem, where=where, fix=fix))
