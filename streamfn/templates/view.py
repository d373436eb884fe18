"""The resources of a template while it is read: evaluated one property at a time, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfn.config.errors import Places, plain, problems
from streamfn.errors import ConfigurationError
from streamfn.templates.honouring import PROPERTIES, UNKNOWN, NotHonoured
from streamfn.templates.language import NO_VALUE, OnlyAws
from streamfn.templates.parameters import text
from streamfn.templates.reading import section

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from streamfn.templates.resources import Resources

_SAM_NAMES = {
    "code": "code_uri",
    "content": "content_uri",
    "dead_letter_config": "dead_letter_queue",
    "tracing_config": "tracing",
}
"""Properties of CloudFormation's that SAM has by other names."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, after SAM's translation."""

    logical: str
    kind: str
    properties: Mapping[str, Any]
    """As they are written."""
    places: Places
    """Of the properties, or of what they were made of."""
    own: dict[str, Any]
    """Options of streamfn's that AWS does not have: its metadata `Streamfn`."""
    metadata: Mapping[str, Any]
    """As it is written."""
    is_written: bool
    """Whether it stands in the template itself, and was not made by SAM."""

    def where(self, name: str = "") -> str:
        return self.places.of((name,) if name else ())


@dataclass(slots=True)
class View:
    """All resources of a template, and what was found so far."""

    folder: Path
    """Where relative paths begin."""
    known: Resources
    resources: tuple[Resource, ...]
    not_honoured: list[NotHonoured] = field(default_factory=list)
    errors: list[ConfigurationError] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    """The names of all functions, also of those that cannot be loaded."""

    def of_kind(self, kind: str) -> Iterator[Resource]:
        return (resource for resource in self.resources if resource.kind == kind)

    def value(self, resource: Resource, name: str) -> Any:
        """A property, evaluated; None where it is not there, or is wrong, which is told of in the end."""
        return self.evaluated(resource, name, resource.properties.get(name))

    def evaluated(self, resource: Resource, name: str, node: Any) -> Any:
        """The same of what stands for a property."""
        try:
            value = self.known.scope.value(node)
        except ConfigurationError as error:
            self.wrong(resource, name, error)
            return None
        return None if value is NO_VALUE else value

    def set_of(self, resource: Resource, name: str) -> dict[str, Any]:
        """A property that is a set of names and values, evaluated; empty where there is none."""
        value = self.value(resource, name)
        if value is None or isinstance(value, dict):
            return value or {}
        self.wrong(resource, name, ConfigurationError("must be a set of names and values"))
        return {}

    def list_of(self, resource: Resource, name: str) -> list[Any]:
        """A property that is a list, evaluated; empty where there is none."""
        value = self.value(resource, name)
        if value is None or isinstance(value, list):
            return value or []
        self.wrong(resource, name, ConfigurationError("must be a list"))
        return []

    def items_of(self, resource: Resource, name: str, sentence: str) -> list[Any]:
        """A property that is a list, evaluated, without the items that only AWS can tell: these are told of
        by the sentence.
        """
        try:
            nodes = self._chosen(resource.properties.get(name))
        except ConfigurationError as error:
            self.wrong(resource, name, error)
            return []
        if not isinstance(nodes, list):
            return self.list_of(resource, name)
        found = []
        for node in nodes:
            try:
                found.append(self.known.scope.value(node))
            except OnlyAws as error:
                self.note(resource, name, f"{error.problem[:1].upper()}{error.problem[1:]}: {sentence}")
            except ConfigurationError as error:
                self.wrong(resource, name, error)
        return [value for value in found if value is not NO_VALUE]

    def number(self, resource: Resource, name: str, value: Any) -> int | None:
        """A whole number, as it is or as text; None where there is none."""
        if value is None or text(value).isdecimal():
            return None if value is None else int(text(value))
        self.wrong(resource, name, ConfigurationError(f"must be a whole number, not {text(value)!r}"))
        return None

    def tags(self, resource: Resource) -> dict[str, str]:
        """Tags, without those that SAM adds."""
        tags = self.items_of(resource, "Tags", "the tag is left out.")
        found = [tag for tag in tags if isinstance(tag, dict)]
        pairs = {text(tag.get("Key")): text(tag.get("Value", "")) for tag in found}
        return {name: value for name, value in pairs.items() if name != "lambda:createdBy"}

    def values(self, resource: Resource, without: Collection[str] = ()) -> dict[str, Any]:
        """All properties that are there, evaluated, but for some."""
        found = {name: self.value(resource, name) for name in resource.properties if name not in without}
        return {name: value for name, value in found.items() if value is not None}

    def what_is_known(self, resource: Resource, name: str, inside: str) -> dict[str, Any]:
        """A set of single values inside of a property, without those that only AWS can tell: these are told
        of.
        """
        try:
            node = self._opened(self._opened(resource.properties.get(name)).get(inside))
        except ConfigurationError as error:
            self.wrong(resource, name, error)
            return {}
        found = {}
        for key, expression in node.items():
            try:
                value = self.known.scope.value(expression)
            except OnlyAws as error:
                sentence = f"It is not set: {error.problem}."
                self.note(resource, f"{name}.{inside}.{key}", sentence, name)
            except ConfigurationError as error:
                self.wrong(resource, name, error)
            else:
                if value is not NO_VALUE:
                    found[key] = value
        return found

    def _opened(self, node: Any) -> dict[str, Any]:
        """A set, with what stands in it not evaluated yet."""
        node = self._chosen(node)
        if node is None or node is NO_VALUE:
            return {}
        if not isinstance(node, dict):
            raise ConfigurationError("must be a set of names and values")
        return node

    def _chosen(self, node: Any) -> Any:
        while isinstance(node, dict) and len(node) == 1 and next(iter(node)) in ("Fn::If", "Ref"):
            node = self.known.scope.chosen(node)
        return node

    def note(self, resource: Resource, name: str, sentence: str, written: str = "") -> None:
        """Something is not honoured."""
        where = resource.where(written or name)
        self.not_honoured.append(NotHonoured(where, resource.logical, name, sentence))

    def wrong(self, resource: Resource, name: str, error: ConfigurationError) -> None:
        """Something cannot be loaded at all."""
        for problem in problems(error):
            where = problem.where or resource.where(name)
            label = problem.field or name
            self.errors.append(
                ConfigurationError(
                    problem.problem, field=f"{resource.logical}.{label}", where=where, fix=problem.fix
                )
            )

    def refused(self, resource: Resource, error: ConfigurationError, before: int) -> None:
        """A resource cannot be loaded. `before`: how many errors there were before it was looked at."""
        is_wrong = len(self.errors) > before
        for problem in problems(error):
            # What is wrong already is not missing.
            if not is_wrong or problem.problem != "is required":
                self.wrong(resource, "", problem)

    def look(self, resource: Resource) -> None:
        """Tells of properties that are not honoured."""
        table = PROPERTIES[resource.kind]
        for name in resource.properties:
            if sentence := table.get(name, UNKNOWN):
                self.note(resource, name, sentence)

    def path(self, text: str) -> str:
        """A path as it is from the working folder."""
        path = Path(text).expanduser()
        return str(path if path.is_absolute() else self.folder / path)


def resources_of(
    template: Mapping[str, Any], written: Mapping[str, Any], places: Places
) -> Iterator[Resource]:
    """All resources of a translated template. `written`: the resources before that."""
    for logical, resource in template["Resources"].items():
        way = origin(logical, written)
        yield Resource(
            logical,
            str(resource.get("Type")),
            resource.get("Properties") or {},
            _by_both_names(places.under(way)),
            section(section(resource, "Metadata"), "Streamfn"),
            section(resource, "Metadata"),
            logical in written,
        )


def origin(logical: str, written: Mapping[str, Any]) -> tuple[str, ...]:
    """The way to what a resource was made of: itself, an event of a function, or a function."""
    owner = logical
    if logical not in written:
        owner = max((name for name in written if logical.startswith(name)), key=len, default=logical)
    rest = logical[len(owner) :]
    events = _events(written.get(owner))
    event = max((name for name in events if rest.startswith(name)), key=len, default="")
    if event:
        return ("Resources", owner, "Properties", "Events", event, "Properties")
    inside = ("Properties", "EventInvokeConfig") if rest.startswith("EventInvokeConfig") else ("Properties",)
    return ("Resources", owner, *inside)


def _events(resource: Any) -> Mapping[str, Any]:
    properties = resource.get("Properties") if isinstance(resource, dict) else None
    events = properties.get("Events") if isinstance(properties, dict) else None
    return events if isinstance(events, dict) else {}


def _by_both_names(places: Places) -> Places:
    lines = dict(places.lines)
    for theirs, sams in _SAM_NAMES.items():
        if (sams,) in lines:
            lines.setdefault((theirs,), lines[sams,])
    for source in ("queue", "stream", "broker", "cluster"):
        if (source,) in lines:
            lines.setdefault((plain("EventSourceArn"),), lines[source,])
    return Places(places.where, lines)
