"""A SAM or CloudFormation template as an app, and what of it is not honoured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping  # noqa: TC003 - pydantic reads them
from pathlib import Path
from typing import Any

from streamfn.addressing import with_options
from streamfn.config import ConfigurationErrors, EventInvokeConfig, EventSourceMapping
from streamfn.config.document import Document
from streamfn.config.errors import Places, plain
from streamfn.config.file import AppFile, LoggingEntry
from streamfn.errors import ConfigurationError
from streamfn.templates import sam
from streamfn.templates.expansion import expanded
from streamfn.templates.functions import functions
from streamfn.templates.honouring import BUILDING, EVENTS, NOT_BUILT, NotHonoured, of_resource
from streamfn.templates.language import Scope
from streamfn.templates.mappings import Functions, event_invoke_configs, local_ends, mappings
from streamfn.templates.parameters import text, values
from streamfn.templates.reading import read, section
from streamfn.templates.resources import Resources, Stack
from streamfn.templates.view import View, resources_of


class Template(AppFile):
    """All that a template says, as streamfn's own file would say it."""

    not_honoured: tuple[NotHonoured, ...]
    """By line."""
    local_ends: Mapping[str, str]
    """The `local:` URIs, options included, of queues and streams that the template makes, by ARN."""

    def localised(self, is_local: Callable[[str], bool]) -> Template:
        """The same with those ends of its own in the embedded broker for which `is_local(ARN)` holds."""
        ends = {arn: uri for arn, uri in self.local_ends.items() if is_local(arn)}

        def moved(config: Any, *names: str) -> Any:
            given = {name: getattr(config, name) for name in names}
            arns = {name: end.partition("?")[0] for name, end in given.items() if isinstance(end, str)}
            changed = {
                # Functions see the ARN as before.
                name: with_options(ends[arn], {"event_source_arn": arn} if name == "source" else {})
                for name, arn in arns.items()
                if arn in ends
            }
            return config.model_copy(update=changed) if changed else config

        own: Iterable[EventSourceMapping] = (moved(each, "source", "on_failure") for each in self.mappings)
        invoke: Iterable[EventInvokeConfig] = (
            moved(each, "on_success", "on_failure", "dead_letter_queue") for each in self.event_invoke_configs
        )
        told = tuple(
            each for each in self.not_honoured if each.property or self._arn_of.get(each.resource) not in ends
        )
        return self.model_copy(
            update={"mappings": tuple(own), "event_invoke_configs": tuple(invoke), "not_honoured": told}
        )

    @property
    def _arn_of(self) -> Mapping[str, str]:
        data: Mapping[str, str] = self.document.data
        return data


def load(path: Path, parameters: Mapping[str, str] | None = None, stack: Stack | None = None) -> Template:
    """The app that a template describes. Relative paths in it are taken from its own folder, as SAM does.

    `parameters`: values of its parameters; the others have their defaults. Nothing is reached or made.
    Raises ConfigurationErrors with all problems, each with its file, line, field and fix.
    """
    return described(path, read(path), parameters or {}, stack or Stack())


def described(path: Path, document: Document, parameters: Mapping[str, str], stack: Stack) -> Template:
    """The app that a document describes, as `load`. `path`: where it was read."""
    template, places = document.data, document.places
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        fix = "write Resources: with functions and event source mappings"
        raise ConfigurationErrors(
            [ConfigurationError("the template has no resources", where=str(path), fix=fix)]
        )
    given = values(section(template, "Parameters"), parameters, places)
    scope = Scope(
        {**stack.parameters(), **given}, section(template, "Mappings"), section(template, "Conditions")
    )
    template, places = expanded(template, scope, path.parent, places)
    scope = _scope(scope, template)
    _check(template, places)
    written = template["Resources"]
    if any(text(each.get("Type")).startswith("AWS::Serverless::") for each in written.values()):
        if sam.TRANSFORM not in _transforms(template):
            raise ConfigurationErrors([_without_transform(places)])
        template = sam.translated(template, scope, places)
    scope = _scope(scope, template)
    template = {**template, "Resources": _that_exist(template["Resources"], scope, places)}
    known = Resources(template["Resources"], stack, scope)
    view = View(path.parent, known, tuple(resources_of(template, written, places)))
    return _template(path, view, written, places, stack)


def _scope(scope: Scope, template: Mapping[str, Any]) -> Scope:
    """What expressions of a changed template may speak of."""
    return Scope(scope.parameters, section(template, "Mappings"), section(template, "Conditions"))


def _template(path: Path, view: View, written: Mapping[str, Any], places: Places, stack: Stack) -> Template:
    declared = functions(view, stack.region)
    own = mappings(view)
    configs = event_invoke_configs(view, declared)
    ends = local_ends(view)
    _tell(view, written, places)
    if view.errors:
        raise ConfigurationErrors(sorted(view.errors, key=lambda error: _line(error.where)))
    told = tuple(dict.fromkeys(sorted(view.not_honoured, key=lambda each: _line(each.where))))
    arns = {
        each.logical: text(view.known.attribute(each.logical, "Arn"))
        for kind in ("AWS::SQS::Queue", "AWS::Kinesis::Stream")
        for each in view.of_kind(kind)
    }
    return Template(
        path=path,
        name=stack.name,
        state_dir=Path(".streamfn"),
        functions={name: config for name, (_, config) in declared.items()},
        mappings=own,
        event_invoke_configs=configs,
        dead_letters=None,
        concurrent_executions=1000,
        logging=LoggingEntry(),
        document=Document(arns, _places(declared, places)),
        not_honoured=told,
        local_ends=ends,
    )


def _places(declared: Functions, places: Places) -> Places:
    """The lines of functions, as `streamfn.yaml` has them."""
    lines = {
        ("functions", plain(name), *way): line
        for name, (resource, _) in declared.items()
        for way, line in resource.places.lines.items()
    }
    return Places(places.where, lines)


def _line(where: str) -> int:
    line = where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _transforms(template: Mapping[str, Any]) -> list[str]:
    given = template.get("Transform") or []
    listed = given if isinstance(given, list) else [given]
    return [text(each.get("Name") if isinstance(each, dict) else each) for each in listed]


def _check(template: Mapping[str, Any], places: Places) -> None:
    """Raises ConfigurationErrors for macros, and for resources that are none."""
    found = [
        ConfigurationError(
            f"the macro {name} runs in AWS",
            field="Transform",
            where=places.of(("Transform",)),
            fix="remove it",
        )
        for name in _transforms(template)
        if name not in (sam.TRANSFORM, "AWS::LanguageExtensions", "AWS::Include")
    ]
    for logical, resource in template["Resources"].items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            where = places.of(("Resources", logical))
            found.append(ConfigurationError("the resource has no Type", field=logical, where=where))
        elif not isinstance(resource.get("Properties", {}), dict):
            where = places.of(("Resources", logical, "Properties"))
            problem = "must be a set of names and values"
            found.append(ConfigurationError(problem, field=f"{logical}.Properties", where=where))
    if found:
        raise ConfigurationErrors(found)


def _without_transform(places: Places) -> ConfigurationError:
    fix = f"write Transform: {sam.TRANSFORM}"
    where = places.of(("Resources",))
    return ConfigurationError("SAM's resources need SAM's transform", field="Transform", where=where, fix=fix)


def _that_exist(resources: Mapping[str, Any], scope: Scope, places: Places) -> dict[str, Any]:
    """The resources whose conditions hold."""
    found: list[ConfigurationError] = []
    kept = {}
    for logical, resource in resources.items():
        condition = resource.get("Condition")
        try:
            if condition is None or scope.condition(text(condition)):
                kept[logical] = resource
        except ConfigurationError as error:
            where = places.of(("Resources", logical, "Condition"))
            field = f"{logical}.Condition"
            found.append(ConfigurationError(error.problem, field=field, where=where, fix=error.fix))
    if found:
        raise ConfigurationErrors(found)
    return kept


def _tell(view: View, written: Mapping[str, Any], places: Places) -> None:
    """What is not honoured as a whole: resources, and SAM's own properties."""
    for resource in view.resources:
        if resource.is_written and (sentence := of_resource(resource.kind)):
            where = places.of(("Resources", resource.logical))
            view.not_honoured.append(NotHonoured(where, resource.logical, "", sentence))
    there = {resource.logical for resource in view.resources}
    for logical, resource in written.items():
        if resource["Type"] == sam.FUNCTION and logical in there:
            _tell_of_sam(view, logical, resource.get("Properties") or {}, places)
        # SAM puts a hash behind the names of layers.
        if resource["Type"].startswith("AWS::Serverless::") and any(
            name.startswith(logical) for name in there
        ):
            _tell_of_building(view, logical, section(resource, "Metadata"), places)


def _tell_of_building(view: View, logical: str, metadata: Mapping[str, Any], places: Places) -> None:
    # What it built has its mark.
    for name in BUILDING if "SamResourceId" not in metadata else ():
        if name in metadata:
            where = places.of(("Resources", logical, "Metadata", name))
            view.not_honoured.append(NotHonoured(where, logical, f"Metadata.{name}", NOT_BUILT))


def _tell_of_sam(view: View, logical: str, properties: Mapping[str, Any], places: Places) -> None:
    way = ("Resources", logical, "Properties")
    for name, event in section(properties, "Events").items():
        kind = text(event.get("Type")) if isinstance(event, dict) else ""
        if sentence := EVENTS.get(kind, ""):
            where = places.of((*way, "Events", name))
            view.not_honoured.append(NotHonoured(where, logical, f"Events.{name}", sentence))
    for name, sentence in _OF_SAM.items():
        if name in properties:
            view.not_honoured.append(NotHonoured(places.of((*way, name)), logical, name, sentence))


_OF_SAM = {
    "DeploymentPreference": "The alias moves at once: `streamfn functions shift` moves it step by step.",
    "FunctionUrlConfig": "No function URL is served: call the function by Lambda's own API.",
}
"""What SAM turns into resources that mean nothing here."""
