"""Functions of a template, with their layers, versions and aliases, as `FunctionConfig`s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from streamfn.config import ConfigurationErrors, FunctionConfig
from streamfn.config.ends import unqualified
from streamfn.errors import ConfigurationError
from streamfn.fetching import S3
from streamfn.templates.parameters import text
from streamfn.templates.resources import Published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.templates.view import Resource, View

_SAME: Final = {
    "Description": "Description",
    "EphemeralStorage": "EphemeralStorage",
    "Handler": "Handler",
    "MemorySize": "MemorySize",
    "ReservedConcurrentExecutions": "ReservedConcurrency",
    "Runtime": "Runtime",
    "Timeout": "Timeout",
}
"""Properties that are options, too."""


def functions(view: View, region: str) -> dict[str, tuple[Resource, FunctionConfig]]:
    """All functions by their names. What is wrong with them is left with the view."""
    layers = _layers(view)
    aliases = _aliases(view)
    found: dict[str, tuple[Resource, FunctionConfig]] = {}
    for resource in view.of_kind("AWS::Lambda::Function"):
        view.look(resource)
        before = len(view.errors)
        name = function_name(view, resource)
        view.functions.add(name)
        options = _options(view, resource, layers) | aliases.pop(name, {})
        try:
            found[name] = (
                resource,
                FunctionConfig.load(options | {"Region": region} | resource.own, resource.places),
            )
        except ConfigurationErrors as error:
            view.refused(resource, error, before)
    return found


def function_name(view: View, resource: Resource) -> str:
    try:
        return view.known.name(resource.logical)
    except ConfigurationError as error:
        view.wrong(resource, "FunctionName", error)
        return resource.logical


def function_of(view: View, resource: Resource) -> tuple[str, str | None]:
    """The function that a resource belongs to, and its qualifier if one is given with it."""
    given = view.value(resource, "FunctionName")
    if not isinstance(given, str) or not given:
        if "FunctionName" not in resource.properties:
            view.wrong(resource, "FunctionName", ConfigurationError("is required"))
        return "", None
    return unqualified(given)


def _options(view: View, resource: Resource, layers: Mapping[str, str]) -> dict[str, Any]:
    values = {ours: view.value(resource, theirs) for theirs, ours in _SAME.items()}
    options = {name: value for name, value in values.items() if value is not None}
    options |= _code(view, resource)
    if used := _used_layers(view, resource, layers):
        options["Layers"] = used
    if variables := view.what_is_known(resource, "Environment", "Variables"):
        options["Environment"] = variables
    if tags := view.tags(resource):
        options["Tags"] = tags
    if "CodeUri" in options and options["CodeUri"].startswith("docker:"):
        options |= {"ImageConfig": image} if (image := view.set_of(resource, "ImageConfig")) else {}
    logging = view.set_of(resource, "LoggingConfig")
    if "LogFormat" in logging:
        options["LogFormat"] = logging["LogFormat"]
    for name in logging:
        if name != "LogFormat":
            view.note(resource, f"LoggingConfig.{name}", "Lines are logged as they come.", "LoggingConfig")
    return options


def _code(view: View, resource: Resource) -> dict[str, Any]:
    before = len(view.errors)
    match _placed(view, resource, "Code"):
        case str(place):
            return {"CodeUri": place}
        case {"ZipFile": code}:
            return {"InlineCode": code}
        case {"ImageUri": image}:
            return {"CodeUri": f"docker:{image}"}
        case _ if len(view.errors) == before:
            fix = "name a folder or a zip, or write the code itself"
            view.wrong(resource, "Code", ConfigurationError("the function has no code", fix=fix))
    # For the sake of what else may be wrong.
    return {"CodeUri": "docker:none"}


def _placed(view: View, resource: Resource, name: str) -> Any:
    """Where the code of a function or a layer is, a path or in S3; or else the property."""
    match resource.metadata:
        # What CDK says of a folder or a zip that it would bring to S3 itself.
        case {"aws:asset:path": str(path), "aws:asset:property": str(of)} if of == name:
            return view.path(path)
    match view.value(resource, name):
        case str(path):
            return view.path(path)
        case {"S3Bucket": bucket, "S3Key": key, **more}:
            version = more.get("S3ObjectVersion")
            return f"{S3}{bucket}/{key}" + (f"?{urlencode({'versionId': version})}" if version else "")
        case other:
            return other


def _layers(view: View) -> dict[str, str]:
    """Where the template's layers are, by their ARNs."""
    found = {}
    for resource in view.of_kind("AWS::Lambda::LayerVersion"):
        view.look(resource)
        before = len(view.errors)
        place = _placed(view, resource, "Content")
        if isinstance(place, str):
            found[text(view.known.attribute(resource.logical, "Ref"))] = place
        elif len(view.errors) == before:
            view.wrong(resource, "Content", ConfigurationError("the layer has no content"))
    return found


def _used_layers(view: View, resource: Resource, layers: Mapping[str, str]) -> list[str]:
    used = []
    for arn in view.items_of(resource, "Layers", "the layer is left out."):
        if isinstance(arn, str) and arn in layers:
            used.append(layers[arn])
        else:
            view.note(resource, "Layers", f"{arn} is not in this template: it is left out.")
    return used


# -------------------------------------------------------------------------------- versions and aliases


def _aliases(view: View) -> dict[str, dict[str, Any]]:
    """Options about aliases, by function."""
    options: dict[str, dict[str, Any]] = {}
    for resource in view.of_kind("AWS::Lambda::Alias"):
        view.look(resource)
        function, _ = function_of(view, resource)
        name = text(view.value(resource, "Name") or "")
        own = options.setdefault(function, {"Aliases": {}})
        if entry := _alias(view, resource, name, own):
            own["Aliases"][name] = entry
    for resource in view.of_kind("AWS::Lambda::Version"):
        view.look(resource)
        function, _ = function_of(view, resource)
        if resource.is_written:
            published = options.get(function, {}).get("AutoPublishAlias")
            view.note(
                resource,
                "",
                f"A version is published whenever the function has changed, for its alias {published}."
                if published
                else "No version is published: no alias stands for it.",
            )
    return {
        function: {name: value for name, value in own.items() if value} for function, own in options.items()
    }


def _alias(view: View, resource: Resource, name: str, own: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    version = view.value(resource, "FunctionVersion")
    if isinstance(version, Published):
        if own.setdefault("AutoPublishAlias", name) != name:
            sentence = f"Versions are published for the alias {own['AutoPublishAlias']} only."
            view.note(resource, "FunctionVersion", sentence)
    elif version is not None:
        entry["FunctionVersion"] = text(version)
    weights = _weights(view, resource)
    if weights and "FunctionVersion" in entry:
        entry["AdditionalVersionWeights"] = weights
    elif weights:
        view.note(resource, "RoutingConfig", "All invocations go to the version that is published last.")
    wanted = view.set_of(resource, "ProvisionedConcurrencyConfig").get("ProvisionedConcurrentExecutions")
    provisioned = view.number(resource, "ProvisionedConcurrencyConfig", wanted)
    if provisioned is not None:
        entry["ProvisionedConcurrency"] = provisioned
    return entry


def _weights(view: View, resource: Resource) -> dict[str, float]:
    # A list here, other than in Lambda's API.
    found = view.set_of(resource, "RoutingConfig").get("AdditionalVersionWeights") or []
    try:
        return {text(each["FunctionVersion"]): float(each["FunctionWeight"]) for each in found}
    except (TypeError, KeyError, ValueError):
        problem = "must be a list of FunctionVersion and FunctionWeight"
        view.wrong(resource, "RoutingConfig", ConfigurationError(problem))
        return {}
