"""Resource policies: statements put together as Lambda does, and what is taken from a document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from streamfn.control.errors import ApiError, conflict, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.plane import Params

LARGEST: Final = 20_480
"""Bytes of a policy (Lambda API: PutResourcePolicy)."""
_CONDITIONS: Final = {
    "FunctionUrlAuthType": ("StringEquals", "lambda:FunctionUrlAuthType"),
    "PrincipalOrgID": ("StringEquals", "aws:PrincipalOrgID"),
    "OrganizationId": ("StringEquals", "aws:PrincipalOrgID"),
    "SourceAccount": ("StringEquals", "AWS:SourceAccount"),
    "EventSourceToken": ("StringEquals", "lambda:EventSourceToken"),
    "InvokedViaFunctionUrl": ("Bool", "lambda:InvokedViaFunctionUrl"),
    "SourceArn": ("ArnLike", "AWS:SourceArn"),
}


def statement_of(params: Params, resource: str) -> dict[str, Any]:
    """The statement that AddPermission and AddLayerVersionPermission make. Raises ApiError."""
    if params.get("FunctionUrlAuthType") and params["Action"] != "lambda:InvokeFunctionUrl":
        raise invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    statement = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(params["Principal"]),
        "Action": params["Action"],
        "Resource": resource,
    }
    conditions: dict[str, dict[str, Any]] = {}
    for name, (operator, key) in _CONDITIONS.items():
        if (value := params.get(name)) is not None:
            said = str(value).lower() if isinstance(value, bool) else value
            conditions.setdefault(operator, {})[key] = said
    if conditions:
        statement["Condition"] = conditions
    return statement


def _principal(principal: str) -> str | dict[str, str]:
    if principal == "*":
        return principal
    if re.fullmatch(r"\d{12}", principal):
        return {"AWS": f"arn:aws:iam::{principal}:root"}
    if re.match(r"arn:aws[a-zA-Z-]*:(iam|sts):", principal):
        return {"AWS": principal}
    if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", principal):
        return {"Service": principal}
    raise invalid("The provided principal was invalid. Please check the principal and try again.")


def added(policy: Mapping[str, Any] | None, statement: Mapping[str, Any]) -> dict[str, Any]:
    """The policy with one more statement. Raises ApiError."""
    before = statements(policy)
    sid = statement["Sid"]
    if any(one.get("Sid") == sid for one in before):
        raise conflict(
            f"The statement id ({sid}) provided already exists."
            " Please provide a new statement id, or remove the existing statement."
        )
    base = {"Version": "2012-10-17", "Id": "default"} if policy is None else policy
    return checked({**base, "Statement": [*before, statement]})


def removed(policy: Mapping[str, Any], sid: str) -> dict[str, Any] | None:
    """The policy without a statement; None where none is left. Raises ApiError."""
    before = statements(policy)
    left = [one for one in before if one.get("Sid") != sid]
    if len(left) == len(before):
        raise not_found(f"Statement {sid} is not found in resource policy.")
    return {**policy, "Statement": left} if left else None


def parsed(text: str) -> dict[str, Any]:
    """A whole policy as it was sent. Raises ApiError."""
    try:
        policy = json.loads(text)
        good = isinstance(policy, dict) and all(isinstance(one, dict) for one in statements(policy))
    except (ValueError, RecursionError):
        raise invalid("The policy is not valid JSON.") from None
    if not good or not statements(policy):
        raise invalid("The policy is not valid: it must be an object with a Statement.")
    return checked(policy)


def statements(policy: Mapping[str, Any] | None) -> list[Any]:
    """Its statements: one may stand alone."""
    found = (policy or {}).get("Statement") or []
    return found if isinstance(found, list) else [found]


def checked(policy: dict[str, Any]) -> dict[str, Any]:
    """The policy, if it is not too large. Raises ApiError."""
    size = len(written(policy).encode())
    if size > LARGEST:
        message = f"The final policy size ({size}) is bigger than the limit ({LARGEST})."
        raise ApiError("PolicyLengthExceededException", message)
    return policy


def written(document: Mapping[str, Any]) -> str:
    """As the API gives it: JSON in a text."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def revised(policy: Mapping[str, Any] | None) -> dict[str, Any]:
    """A policy as it is stored, under a new revision."""
    return {"Policy": policy, "RevisionId": str(uuid4())}


def check_revision(params: Params, current: str | None, reading: str) -> None:
    """Raises ApiError where it was changed since it was read. `reading`: the operations that read it."""
    if params.get("RevisionId") not in {None, "", current}:
        raise ApiError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            f"Call the {reading} API to retrieve the latest Revision Id",
        )
