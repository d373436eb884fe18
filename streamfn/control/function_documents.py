"""Functions as documents: what is stored of one, and what is shown of it. Pure.

A document has the members of CreateFunction by AWS's names, variables sealed; `Code` and `Layers` as
`control.code` makes them; and its state. While a change is not known to be good, `Before` is what it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamfn.control.code import check_size
from streamfn.control.errors import ApiError, invalid
from streamfn.core.deployments import LATEST
from streamfn.core.variables import check_variables
from streamfn.packages.tree import UNZIPPED_LIMIT

if TYPE_CHECKING:
    from streamfn.control.plane import Identity, Params
    from streamfn.ports import Deployment, Published

Document: TypeAlias = Mapping[str, Any]

KEPT: Final = (
    "Runtime",
    "Role",
    "Handler",
    "Description",
    "Timeout",
    "MemorySize",
    "PackageType",
    "Architectures",
    "VpcConfig",
    "DeadLetterConfig",
    "KMSKeyArn",
    "TracingConfig",
    "ImageConfig",
    "EphemeralStorage",
    "SnapStart",
    "LoggingConfig",
)
"""Members that are stored as they are given."""

_FACTS: Final = ("Code", "Layers", "KMSKeyArn", "Description")
"""What is to be known of a version beside its options. What changes any of it can be published."""

PARTIAL: Final = frozenset({"LoggingConfig", "SnapStart", "TracingConfig"})
"""Structures that are changed member by member."""

_LEVELS: Final = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}

REFUSED: Final = (
    "FileSystemConfigs",
    "CodeSigningConfigArn",
    "TenancyConfig",
    "CapacityProviderConfig",
    "DurableConfig",
    "PublishTo",
)
"""Members without which a function would not do what it is meant to."""

_ONLY_WHEN_ASKED_FOR: Final = (
    "State",
    "StateReason",
    "StateReasonCode",
    "LastUpdateStatus",
    "LastUpdateStatusReason",
    "LastUpdateStatusReasonCode",
    "RuntimeVersionConfig",
)
"""What lists leave out (Lambda API, ListFunctions)."""

_STATE: Final = _ONLY_WHEN_ASKED_FOR[:6]
_NOT_CONFIGURATION: Final = (*_STATE, "Before", "Tags")
_LONGEST_TIMEOUT: Final = 900
_MOST_MEMORY: Final = 10_240
_MOST_STORAGE: Final = 10_240
_CREATING: Final = "The function is being created."


# ---------------------------------------------------------------------------------------------- changing


def merged(document: Document, params: Params) -> dict[str, Any]:
    """A document with what a request gives. An empty structure or list takes away what was there, but of
    `PARTIAL` ones what a request leaves out stays.

    Raises ApiError for what is not supported here.
    """
    for name in REFUSED:
        if params.get(name):
            raise invalid(
                f"{name} is not supported by streamfn: a function would not be the same without it."
            )
    given = {name: params[name] for name in KEPT if params.get(name) is not None}
    for name in PARTIAL & given.keys():
        given[name] = {**(document.get(name) or {}), **given[name]}
    if "LoggingConfig" in given:
        given["LoggingConfig"] = _with_levels(given["LoggingConfig"], params["LoggingConfig"])
    return {**document, **given}


def _with_levels(merged: Document, given: Document) -> dict[str, Any]:
    """Levels are of JSON: with another format only those stay that are given with it."""
    is_json = merged.get("LogFormat") == "JSON"
    return {name: value for name, value in merged.items() if is_json or name not in _LEVELS or name in given}


def creating(document: Document) -> dict[str, Any]:
    """A function that has never worked."""
    return {
        **_settled(document),
        "State": "Pending",
        "StateReason": _CREATING,
        "StateReasonCode": "Creating",
    }


def updating(before: Document, document: Document) -> dict[str, Any]:
    """A function whose change is on its way; one that never worked is created again."""
    if before.get("State") != "Active":
        return creating(document)
    return {
        **_settled(document),
        "State": "Active",
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": _CREATING,
        "LastUpdateStatusReasonCode": "Creating",
        "Before": _configuration(before),
    }


def succeeded(document: Document) -> dict[str, Any]:
    """A function that works as it stands there; that a change of it has failed stays known."""
    if document.get("State") == "Active" and document.get("LastUpdateStatus") == "Failed":
        return dict(document)
    return {**_settled(document), "State": "Active", "LastUpdateStatus": "Successful"}


def failed(document: Document, code: str, reason: str) -> dict[str, Any]:
    """A function that could not be made ready: what it was before, if it worked then."""
    before = document.get("Before")
    if before is None:
        return {**_settled(document), "State": "Failed", "StateReason": reason, "StateReasonCode": code}
    return {
        **before,
        **({"Tags": document["Tags"]} if "Tags" in document else {}),
        "State": "Active",
        "LastUpdateStatus": "Failed",
        "LastUpdateStatusReason": reason,
        "LastUpdateStatusReasonCode": code,
    }


def _settled(document: Document) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in (*_STATE, "Before")}


def _configuration(document: Document) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _NOT_CONFIGURATION}


def check_idle(document: Document, arn: str) -> None:
    """Raises ApiError while a change is on its way."""
    begin = "The operation cannot be performed at this time."
    if document.get("State") == "Pending":
        raise ApiError(
            "ResourceConflictException",
            f"{begin} The function is currently in the following state: Pending",
        )
    if document.get("LastUpdateStatus") == "InProgress":
        raise ApiError("ResourceConflictException", f"{begin} An update is in progress for resource: {arn}")


def check_revision(document: Document, params: Params) -> None:
    """Raises ApiError where somebody has changed it since it was read."""
    if params.get("RevisionId") not in (None, "", document.get("RevisionId")):
        raise ApiError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
        )


# ---------------------------------------------------------------------------------------------- checking


def check(document: Document, variables: Mapping[str, str]) -> None:
    """Raises ApiError, or ConfigurationError of variables, in Lambda's words, for what cannot be."""
    _check_package(document)
    _check_ranges(document)
    check_variables(variables)
    check_size(document["Code"], document.get("Layers", ()), UNZIPPED_LIMIT)


def _check_package(document: Document) -> None:
    is_image = "ImageUri" in document["Code"]
    runtime, handler = document.get("Runtime"), document.get("Handler")
    if document.get("PackageType", "Zip") == "Image":
        if not is_image:
            raise invalid("Please provide ImageUri when creating a function with packageType Image.")
        if runtime or handler or document.get("Layers"):
            raise invalid(
                "Please don't provide Handler or Runtime or Layer when the intent is to create function via "
                "Image package."
            )
        return
    if is_image:
        raise invalid("Please don't provide ImageUri when creating a function with packageType Zip.")
    if not runtime or not (handler or runtime.startswith("provided")):
        raise invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
    if document.get("ImageConfig"):
        raise invalid("ImageConfig is not supported for functions with packageType Zip.")


def _check_ranges(document: Document) -> None:
    # AWS's model has wider ranges, for functions of capacity providers.
    timeout, memory = document.get("Timeout", 3), document.get("MemorySize", 128)
    if timeout > _LONGEST_TIMEOUT:
        raise ApiError(
            "ValidationException",
            f"1 validation error detected: Value '{timeout}' at 'timeout' failed to satisfy constraint: "
            f"Member must have value less than or equal to {_LONGEST_TIMEOUT}",
        )
    if memory > _MOST_MEMORY:
        raise invalid(
            "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to "
            f"{_MOST_MEMORY}"
        )
    if document.get("EphemeralStorage", {}).get("Size", 512) > _MOST_STORAGE:
        raise invalid(
            "'EphemeralStorage' value failed to satisfy constraint: Member must have value less than or "
            f"equal to {_MOST_STORAGE}"
        )


# ------------------------------------------------------------------------------------------- configuring


def options(document: Document, code_uri: str, layers: list[str]) -> dict[str, Any]:
    """The options of FunctionConfig. `code_uri` and `layers`: where they are."""
    facts = {name: document[name] for name in _FACTS if document.get(name)}
    given = {name: document[name] for name in KEPT if name in document and name != "KMSKeyArn"}
    # What a structure is taken away with says nothing.
    shown = {name: value for name, value in given.items() if value != {}}
    return {
        **shown,
        "CodeUri": code_uri,
        "Layers": layers,
        "Environment": document.get("Environment", {}),
        "facts": facts,
    }


def of_deployment(deployment: Deployment, description: str) -> dict[str, Any]:
    """A deployment as a document, its variables in plain text."""
    logging = {"LogFormat": deployment.log_format, **deployment.settings.get("LoggingConfig", {})}
    code = {} if deployment.runtime else {"ImageUri": deployment.code}
    return {
        "Code": code,
        **deployment.settings,
        "FunctionName": deployment.function,
        "Runtime": deployment.runtime or None,
        "Handler": deployment.handler or None,
        "Description": description,
        "Timeout": math.ceil(deployment.timeout),
        "MemorySize": deployment.memory_size,
        "EphemeralStorage": {"Size": deployment.ephemeral_storage},
        "LoggingConfig": logging,
        **({"Environment": dict(deployment.environment)} if deployment.environment else {}),
    }


def of_version(published: Published, modified: str) -> dict[str, Any]:
    """A published version as a document, its variables in plain text."""
    document = of_deployment(published.deployment, published.description)
    code = {**document["Code"], **({"CodeSha256": published.code_sha256} if published.code_sha256 else {})}
    return succeeded(
        {**document, "Code": code, "RevisionId": published.revision_id, "LastModified": modified}
    )


# ---------------------------------------------------------------------------------------------- showing


def shown(
    document: Document,
    variables: Mapping[str, str],
    identity: Identity,
    version: str = LATEST,
    qualifier: str | None = None,
) -> dict[str, Any]:
    """A FunctionConfiguration. `qualifier`: what its ARN ends in, if anything."""
    name, code = document["FunctionName"], document["Code"]
    arn = identity.arn("function", name)
    package = document.get("PackageType") or ("Image" if "ImageUri" in code else "Zip")
    layers = [{"Arn": layer["Arn"], "CodeSize": layer["CodeSize"]} for layer in document.get("Layers", ())]
    letters = document.get("DeadLetterConfig") or {}
    image = document.get("ImageConfig")
    runtime = document.get("Runtime")
    return {
        "FunctionName": name,
        "FunctionArn": arn if qualifier is None else f"{arn}:{qualifier}",
        "Runtime": runtime,
        "Role": document.get("Role") or f"arn:aws:iam::{identity.account}:role/streamfn",
        "Handler": document.get("Handler"),
        "CodeSize": code.get("CodeSize", 0),
        "CodeSha256": code.get("CodeSha256", _NOTHING),
        "Description": document.get("Description", ""),
        "Timeout": document.get("Timeout", 3),
        "MemorySize": document.get("MemorySize", 128),
        "LastModified": document["LastModified"],
        "Version": version,
        "VpcConfig": _network(document.get("VpcConfig")),
        "DeadLetterConfig": letters if letters.get("TargetArn") else None,
        "Environment": None if document.get("Environment") is None else {"Variables": dict(variables)},
        "KMSKeyArn": document.get("KMSKeyArn") or None,
        "TracingConfig": {"Mode": "PassThrough", **(document.get("TracingConfig") or {})},
        "RevisionId": document["RevisionId"],
        "Layers": layers or None,
        **{part: document.get(part) for part in _STATE},
        "PackageType": package,
        "ImageConfigResponse": {"ImageConfig": image} if image else None,
        "Architectures": document.get("Architectures") or ["x86_64"],
        "EphemeralStorage": document.get("EphemeralStorage") or {"Size": 512},
        "SnapStart": {"ApplyOn": "None", **(document.get("SnapStart") or {}), "OptimizationStatus": "Off"},
        "RuntimeVersionConfig": _runtime(runtime, identity) if package == "Zip" and runtime else None,
        "LoggingConfig": _logging(name, document.get("LoggingConfig") or {}),
    }


def listed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as lists have it."""
    return {name: value for name, value in configuration.items() if name not in _ONLY_WHEN_ASKED_FOR}


_NOTHING: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""The hash of no bytes."""


def _network(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False, **given, "VpcId": ""}


def _runtime(runtime: str, identity: Identity) -> dict[str, Any]:
    made = sha256(runtime.encode()).hexdigest()
    return {"RuntimeVersionArn": f"arn:aws:lambda:{identity.region}::runtime:{made}"}


def _logging(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    levels = _LEVELS if given.get("LogFormat") == "JSON" else {}
    return {"LogFormat": "Text", **levels, "LogGroup": f"/aws/lambda/{name}", **given}
