"""SAM to CloudFormation, by SAM's own translator. It reads no file and calls nobody.

The translator wants all code in S3: local code gets an address there for as long as it works, and has its
path back afterwards.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from streamfn.config.errors import ConfigurationErrors, Places
from streamfn.errors import ConfigurationError, MissingExtra
from streamfn.templates.parameters import InAws, text
from streamfn.templates.reading import section
from streamfn.templates.view import origin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from streamfn.templates.language import Scope

TRANSFORM: Final = "AWS::Serverless-2016-10-31"
FUNCTION: Final = "AWS::Serverless::Function"
_BUCKET: Final = "streamfn-local"
_CODE: Final = {FUNCTION: "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
"""Where each kind has its code."""
_GLOBALS: Final = {"CodeUri": "Function", "ContentUri": "LayerVersion"}
_FILES: Final = ("DefinitionUri", "SchemaUri")
"""Other files, of resources that mean nothing here."""
_STUB: Final = "AWS::CloudFormation::Stack"
"""Stands in for nested applications, which the translator would look up in AWS."""


def translated(given: Mapping[str, Any], scope: Scope, places: Places) -> dict[str, Any]:
    """The template with SAM's resources turned into CloudFormation's.

    Code stands in it as written: `Code` and `Content` are a path where it is local. `scope` knows parameters
    and mappings. Raises ConfigurationErrors with what the translator found, and MissingExtra.
    """
    template = copy.deepcopy(dict(given))  # both it and we write into it
    paths: list[str] = []
    for kind, logical, properties in _serverless(template):
        if kind == "AWS::Serverless::Application":
            template["Resources"][logical] = {"Type": _STUB}
        if kind == FUNCTION:
            _name_image(template["Resources"][logical], logical, properties)
        if (name := _CODE.get(kind)) is not None:
            _place(template, logical, properties, name, paths, scope, places)
        for file in _FILES:
            if isinstance(properties.get(file), str) and not properties[file].startswith("s3://"):
                properties[file] = f"s3://{_BUCKET}/definition"
    result = _translate(template, scope, places)
    for resource in result["Resources"].values():
        properties = resource.get("Properties") or {}
        for name in ("Code", "Content"):
            code = properties.get(name)
            if isinstance(code, dict) and code.get("S3Bucket") == _BUCKET:
                properties[name] = paths[int(code["S3Key"])]
    return result


def _serverless(template: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for logical, resource in list(template["Resources"].items()):
        if text(resource.get("Type")).startswith("AWS::Serverless::"):
            properties = resource.setdefault("Properties", {})
            if isinstance(properties, dict):
                yield resource["Type"], logical, properties


def _name_image(resource: Mapping[str, Any], logical: str, properties: dict[str, Any]) -> None:
    """An image that is built from what the metadata say has the name that `sam build` gives it."""
    metadata = section(resource, "Metadata")
    if "Dockerfile" in metadata and properties.get("PackageType") == "Image":
        properties.setdefault("ImageUri", f"{logical.lower()}:{metadata.get('DockerTag', 'latest')}")


def _place(
    template: Mapping[str, Any],
    logical: str,
    properties: dict[str, Any],
    name: str,
    paths: list[str],
    scope: Scope,
    places: Places,
) -> None:
    """Gives local code an address in S3."""
    shared = section(section(template, "Globals"), _GLOBALS[name])
    given = properties.get(name, shared.get(name))
    if given is None:
        if name != "CodeUri" or _has_other_code(properties, shared):
            return
        given = "."  # as SAM's own tools take it
    try:
        uri = scope.value(given)
    except ConfigurationError as error:
        where = places.of(("Resources", logical, "Properties", name))
        raise ConfigurationErrors([ConfigurationError(error.problem, field=name, where=where)]) from None
    if isinstance(uri, str) and not uri.startswith("s3://"):
        properties[name] = f"s3://{_BUCKET}/{len(paths)}"
        paths.append(uri)
    else:
        properties[name] = uri


def _has_other_code(properties: Mapping[str, Any], shared: Mapping[str, Any]) -> bool:
    both = {**shared, **properties}
    return bool({"InlineCode", "ImageUri"} & both.keys()) or both.get("PackageType") == "Image"


def _translate(template: dict[str, Any], scope: Scope, places: Places) -> dict[str, Any]:
    given = {name: value for name, value in scope.parameters.items() if not isinstance(value, InAws)}
    for name in scope.parameters.keys() - given.keys():
        # A place in AWS, which the translator would take for the value.
        template["Parameters"][name].pop("Default", None)
    with warnings.catch_warnings():
        # What it and the packages below it say to their own developers.
        warnings.simplefilter("ignore")
        try:
            from samtranslator.model.exceptions import InvalidDocumentException
            from samtranslator.parser.parser import Parser
            from samtranslator.translator.translator import Translator
        except ImportError:
            raise MissingExtra(
                "SAM templates need a package that is not installed",
                field="Transform",
                where=places.of(("Transform",)),
                fix="pip install 'streamfn[templates]'",
            ) from None
        log = logging.getLogger("samtranslator")
        level = log.level
        log.setLevel(logging.ERROR)
        # It asks for no more of a session, and a real one would read the files of the AWS CLI.
        session = SimpleNamespace(region_name=scope.parameters["AWS::Region"])
        translator = Translator(None, Parser(), boto_session=session)
        try:
            result: dict[str, Any] = translator.translate(
                template, given, passthrough_metadata=True, get_managed_policy_map=dict
            )
        except InvalidDocumentException as error:
            unknown = scope.parameters.keys() - given.keys()
            raise ConfigurationErrors(_said(error, template["Resources"], places, unknown)) from None
        except Exception as error:
            problem = f"SAM's translator failed: {type(error).__name__}: {error}"
            raise ConfigurationErrors([ConfigurationError(problem, where=places.where)]) from error
        finally:
            translator.metrics.publish()  # to nobody: or else it complains when the process ends
            log.setLevel(level)
    return result


def _said(
    error: Any, written: Mapping[str, Any], places: Places, unknown: Collection[str]
) -> Iterator[ConfigurationError]:
    """What the translator has to say, each with the place of its resource, or of the property. `unknown`:
    parameters without a value.
    """
    for message in sorted(cause.message for cause in error.causes):
        found, named = _RESOURCE.search(message), _PROPERTY.search(message)
        around = ("Globals",) if "'Globals'" in message else ("Resources",)
        way = origin(found.group(1), written) if found else around
        fix = ""
        if found and named:
            resource = section(written, found.group(1))
            needed = section(section(resource, "Properties"), named.group(1)).get("Ref")
            is_unknown = isinstance(needed, str) and needed in unknown
            fix = f"give --parameter {needed}=VALUE" if is_unknown else ""
        yield ConfigurationError(message, where=places.of((*way, named.group(1)) if named else way), fix=fix)


_RESOURCE: Final = re.compile(r"[Rr]esource with id \[(\w+)\]")
_PROPERTY: Final = re.compile(r"(?:property '?|Property '?|is invalid\. ')(\w+)")
