"""Published versions and aliases of functions: their rules, and which version an invocation gets. Pure.

The rules and their sentences are those of Lambda's CreateAlias and PublishVersion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streamfn.core.deployments import LATEST
from streamfn.errors import ConfigurationError, StreamfnError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streamfn.core.shifting import Shift

_ALIAS: Final = re.compile(r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)")
_LONGEST_ALIAS: Final = 128
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST_DESCRIPTION: Final = 256


class PreconditionFailed(StreamfnError):
    """Somebody else has changed it since it was read: nothing was done (412 in Lambda's API)."""

    def __init__(self, call: str) -> None:
        super().__init__(
            "The Revision Id provided does not match the latest Revision Id. "
            f"Call the {call} API to retrieve the latest Revision Id"
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a version of a function, or for two with weights."""

    function: str
    name: str
    version: str
    """A number, or `$LATEST`."""
    additional: Mapping[str, float] = field(default_factory=dict)
    """RoutingConfig.AdditionalVersionWeights: at most one more version, and its share from 0 to 1."""
    description: str = ""
    revision_id: str = ""
    """Another one after each change; empty before it was stored."""
    shift: Shift | None = None
    """What moves its traffic from `version` to another one at present."""

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions that it may give."""
        return (self.version, *self.additional)


def route(alias: Alias, roll: float) -> str:
    """The version for one invocation. `roll`: a random number from 0 up to, not including, 1."""
    for version, weight in alias.additional.items():
        if roll < weight:
            return version
    return alias.version


def is_version(qualifier: str) -> bool:
    """Whether it is the number of a version, which no alias can be called."""
    return _NUMBER.fullmatch(qualifier) is not None


def resolve(
    function: str, qualifier: str, published: Collection[str], aliases: Mapping[str, Alias], roll: float
) -> str:
    """The version that a qualifier means; none means `$LATEST`.

    Raises ConfigurationError where there is no such version or alias.
    """
    if qualifier in ("", LATEST):
        return LATEST
    if qualifier in published:
        return qualifier
    alias = aliases.get(qualifier)
    if alias is not None:
        return route(alias, roll)
    kind = "version" if is_version(qualifier) else "version or alias"
    raise ConfigurationError(
        f"function {function} has no {kind} {qualifier}",
        field="Qualifier",
        fix=_known([*sorted(published, key=int), *sorted(aliases)]),
    )


def check_alias(alias: Alias, published: Collection[str]) -> None:
    """Raises ConfigurationError, in Lambda's words, for an alias that cannot be.

    `published`: the versions that the function has.
    """
    _check_name(alias.name)
    if len(alias.description) > _LONGEST_DESCRIPTION:
        raise ConfigurationError(
            f"must have {_LONGEST_DESCRIPTION} characters at most", field="Description", fix="shorten it"
        )
    if len(alias.additional) > 1:
        raise _weights("Number of items in AdditionalVersionWeights cannot be greater than 1", "keep one")
    for version, weight in alias.additional.items():
        # Not a number is in no order with any.
        if not 0.0 <= weight <= 1.0:
            raise _weights(f"the weight of version {version} is {weight:g}", "take a number from 0.0 to 1.0")
        if LATEST in (alias.version, version):
            said = f"{LATEST} is not supported for an alias pointing to more than 1 version"
            raise _weights(said, "publish a version")
        if version == alias.version:
            raise _weights(
                f"Invalid function version {version}. Function version {version} is already included in "
                "routing configuration.",
                "name another version",
            )
    for version in alias.versions:
        if version != LATEST and version not in published:
            raise ConfigurationError(
                f"function {alias.function} has no version {version}",
                field="FunctionVersion" if version == alias.version else "AdditionalVersionWeights",
                fix=_known(sorted(published, key=int)),
            )


def check_unused(version: str, aliases: Collection[Alias]) -> None:
    """Raises ConfigurationError, in Lambda's words, for a version that aliases point to."""
    users = sorted(alias.name for alias in aliases if version in alias.versions)
    if users:
        raise ConfigurationError(
            f"Unable to delete version because the following aliases reference it: [{', '.join(users)}]",
            field="Qualifier",
            fix="point them to another version first",
        )


def check_code(expected: str, actual: str) -> None:
    """PublishVersion's CodeSha256: raises ConfigurationError unless `$LATEST` has that code."""
    if expected != actual:
        raise ConfigurationError(
            f"CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({actual}). "
            "Please try again with the CodeSHA256 in $LATEST.",
            field="CodeSha256",
        )


def _check_name(name: str) -> None:
    if not _ALIAS.fullmatch(name):
        raise ConfigurationError(
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_ALIAS.pattern}",
            field="Name",
            fix="take letters, digits, hyphens and underscores, and not digits alone",
        )
    if len(name) > _LONGEST_ALIAS:
        raise ConfigurationError(
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_LONGEST_ALIAS}",
            field="Name",
            fix="shorten it",
        )


def _weights(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError(problem, field="AdditionalVersionWeights", fix=fix)


def _known(names: Collection[str]) -> str:
    return f"take one of {', '.join(names)}" if names else "publish a version"
