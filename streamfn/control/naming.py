"""What a function is called in a request: a name or an ARN, whole or in part, with a qualifier or without."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn.control.errors import invalid, not_found

if TYPE_CHECKING:
    from streamfn.control.plane import Identity, Params

LONGEST_NAME: Final = 64
"""Characters of a function's bare name (Lambda API, CreateFunction)."""

_REFERENCE: Final = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?"
    r"(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)


class FunctionReference(NamedTuple):
    """A function, and which version or alias of it, as a request names it."""

    name: str
    qualifier: str | None
    """As given, `$LATEST` too; None where none was given."""

    def arn(self, identity: Identity) -> str:
        """Its ARN, with the qualifier that was given."""
        arn = identity.arn("function", self.name)
        return arn if self.qualifier is None else f"{arn}:{self.qualifier}"


def reference_of(text: str) -> FunctionReference:
    """Takes a name or an ARN apart, wherever its account and region are.

    Raises ApiError where it is none: InvalidParameterValueException.
    """
    found = _found(text)
    return FunctionReference(found["name"], found["qualifier"])


def function_of(params: Params, identity: Identity) -> FunctionReference:
    """The function that `FunctionName` and `Qualifier` name.

    Raises ApiError: InvalidParameterValueException where both have a qualifier and they differ,
    ResourceNotFoundException for a function of another region or account.
    """
    text: str = params["FunctionName"]
    given: str | None = params.get("Qualifier") or None
    if ":" not in text:
        return FunctionReference(text, given)
    found = _found(text)
    if given is not None and found["qualifier"] not in (None, given):
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    if found["region"] not in (None, identity.region):
        raise not_found(
            f"Functions from '{found['region']}' are not reachable in this region ('{identity.region}')"
        )
    if found["account"] not in (None, identity.account):
        raise not_found(f"Function not found: {text}")
    return FunctionReference(found["name"], given or found["qualifier"])


def _found(text: str) -> re.Match[str]:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise invalid(f"Invalid function name: {text}")
    return found
