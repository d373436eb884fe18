"""YAML with the line of every value, and `${NAME}` filled in from the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streamfn.config.errors import ConfigurationErrors, Places, plain
from streamfn.config.errors import Path as Way
from streamfn.errors import ConfigurationError

_VARIABLE = re.compile(r"\$(?:\$(?=\{)|\{([^}:]*)(?:(:-)([^}]*))?\})")
"""`${NAME}`, `${NAME:-default}`; `$${` stands for `${`."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as data, and where each part of it stands."""

    data: Any
    places: Places


def read(path: Path, environment: Mapping[str, str], name: Callable[[str], str] = str) -> Document:
    """The document in a file. `name` gives the name of a key that lines are looked up by.

    Raises ConfigurationErrors for what is no YAML, keys that are given twice, tags, and variables not set.
    """
    root = composed(path, text_of(path))
    reader = _Reader(str(path), environment, name)
    data = reader.value(root, ()) if root is not None else None
    if reader.errors:
        raise ConfigurationErrors(reader.errors)
    return Document(data, Places(str(path), reader.lines))


def text_of(path: Path) -> str:
    """The text of a file. Raises ConfigurationErrors where it cannot be read, or is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationErrors(
            [ConfigurationError(f"cannot be read: {reason}", where=str(path))]
        ) from None


def composed(path: Path, text: str) -> yaml.Node | None:
    """The nodes of YAML, which know their lines; None where there is nothing. Raises ConfigurationErrors."""
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        said = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigurationErrors([ConfigurationError(f"not YAML: {said}", where=where)]) from None
    except yaml.YAMLError as error:
        raise ConfigurationErrors([ConfigurationError(f"not YAML: {error}", where=str(path))]) from None
    return root


class _Reader:
    """Turns nodes into data, noting lines and problems on the way."""

    def __init__(self, file: str, environment: Mapping[str, str], name: Callable[[str], str]) -> None:
        self.lines: dict[Way, int] = {}
        self.errors: list[ConfigurationError] = []
        self._file = file
        self._environment = environment
        self._name = name
        # Knows YAML's rules for plain values; the text it is given here is never read.
        self._yaml = yaml.SafeLoader("")

    def value(self, node: yaml.Node, way: Way) -> Any:
        self.lines.setdefault(way, node.start_mark.line + 1)
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self._wrong(node, f"tags such as {node.tag} are not known here", "write the value itself")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, way)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*way, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, way: Way) -> dict[str, Any]:
        given = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in given[:index] and key.tag != "tag:yaml.org,2002:merge":
                self._wrong(key, f"{key.value} is given twice", "keep one of the two")
        self._yaml.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, "a name must be text")
                continue
            inside = (*way, plain(self._name(key.value)))
            self.lines[inside] = key.start_mark.line + 1
            data[key.value] = self.value(value, inside)
        return data

    def _scalar(self, node: Any) -> Any:
        text = _VARIABLE.sub(lambda match: self._variable(node, match), node.value)
        if text != node.value:
            # What comes from the environment may be a number or a flag, where it is not in quotes.
            tag = node.tag if node.style else self._resolve(text)
            node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)
        try:
            return self._yaml.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self._wrong(node, f"{text!r} is no {node.tag.rpartition(':')[2]}")
            return None

    def _resolve(self, text: str) -> str:
        tag: str = self._yaml.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return tag

    def _variable(self, node: yaml.Node, match: re.Match[str]) -> str:
        name, default, otherwise = match.groups()
        if name is None:
            return "$"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            self._wrong(node, f"{match.group()} names no environment variable", "write $${ for a plain ${")
            return ""
        value = self._environment.get(name)
        if default:
            return value or otherwise
        if value is None:
            fix = f"set it, or give a default: ${{{name}:-...}}"
            self._wrong(node, f"the environment variable {name} is not set", fix)
            return ""
        return value

    def _wrong(self, node: yaml.Node, problem: str, fix: str = "") -> None:
        where = f"{self._file}:{node.start_mark.line + 1}"
        self.errors.append(ConfigurationError(problem, where=where, fix=fix))
