"""Concurrency by the account: what is reserved, what is left, and how fast environments are added. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from streamfn.core.deployments import LATEST

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCOUNT_CONCURRENCY: Final = 1000
"""Invocations at a time of all functions (Developer Guide: gettingstarted-limits)."""

MINIMUM_UNRESERVED: Final = 100
"""What must stay for functions without a reservation."""

CONCURRENCY_EXCEEDED: Final = "ConcurrentInvocationLimitExceeded"
"""`Reason` of a throttle: all that the account has is in use, or environments were added too fast."""

RESERVED_EXCEEDED: Final = "ReservedFunctionConcurrentInvocationLimitExceeded"
"""`Reason` of a throttle: all that is reserved for the function is in use."""

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class InvalidConcurrency(ValueError):
    """A reservation that cannot be: on AWS an InvalidParameterValueException, with this message."""


@dataclass(frozen=True, slots=True)
class Account:
    """How the concurrency of an account is given away. Changes make a new one (Developer Guide:
    lambda-concurrency); their messages are as recorded on AWS.
    """

    limit: int = ACCOUNT_CONCURRENCY
    minimum_unreserved: int = MINIMUM_UNRESERVED
    reserved: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    """By function."""
    provisioned: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    """By function, then by version or alias."""

    @property
    def unreserved(self) -> int:
        """What functions without a reservation share: neither reserved nor, for one of them, provisioned."""
        provisioned = (self.provisioned_of(name) for name in self.provisioned if name not in self.reserved)
        return self.limit - sum(self.reserved.values()) - sum(provisioned)

    def provisioned_of(self, function: str) -> int:
        """All that is provisioned for a function."""
        return sum(self.provisioned.get(function, _NOTHING).values())

    def limit_of(self, function: str) -> int:
        """Invocations that a function may have at a time, if no other has any."""
        reserved = self.reserved.get(function)
        return self.unreserved + self.provisioned_of(function) if reserved is None else reserved

    def reason(self, function: str) -> str:
        """`Reason` of a throttle where none of them is free."""
        return RESERVED_EXCEEDED if function in self.reserved else CONCURRENCY_EXCEEDED

    def claimed(self, in_use: Mapping[str, int]) -> int:
        """ClaimedAccountConcurrency: what is in use by function, or set apart for it if that is more."""
        names = {*in_use, *self.reserved, *self.provisioned}
        return sum(
            self.reserved[name]
            if name in self.reserved
            else max(in_use.get(name, 0), self.provisioned_of(name))
            for name in names
        )

    def reserve(self, function: str, concurrency: int | None) -> Account:
        """With that reserved for a function; 0 switches it off, None ends its reservation.

        Raises InvalidConcurrency.
        """
        others = {name: number for name, number in self.reserved.items() if name != function}
        if concurrency is None:
            return self._checked(replace(self, reserved=others), "ReservedConcurrentExecutions")
        if concurrency < 0:
            raise InvalidConcurrency(f"ReservedConcurrentExecutions is {concurrency}, less than 0")
        provisioned = self.provisioned_of(function)
        if concurrency < provisioned:
            raise InvalidConcurrency(
                f" ReservedConcurrentExecutions  {concurrency} should not be lower than function's total "
                f"provisioned concurrency [{provisioned}]."
            )
        changed = replace(self, reserved={**others, function: concurrency})
        return self._checked(changed, "ReservedConcurrentExecutions")

    def provision(self, function: str, qualifier: str, concurrency: int) -> Account:
        """With that provisioned for a version or an alias of a function; 0 ends it.

        Raises InvalidConcurrency.
        """
        if qualifier in ("", LATEST):
            raise InvalidConcurrency(
                "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
            )
        if concurrency < 0:
            raise InvalidConcurrency(f"ProvisionedConcurrentExecutions is {concurrency}, less than 0")
        mine = dict(self.provisioned.get(function, _NOTHING))
        own = mine.pop(qualifier, 0)
        if concurrency:
            mine[qualifier] = concurrency
        changed = replace(self, provisioned={**self.provisioned, function: mine})
        if function in self.reserved:
            if concurrency and changed.provisioned_of(function) > self.reserved[function]:
                raise InvalidConcurrency(
                    "Requested Provisioned Concurrency should not be greater than the "
                    "reservedConcurrentExecution for function"
                )
            return changed
        if concurrency > self.unreserved + own:
            raise InvalidConcurrency(
                "Specified ConcurrentExecutions for function is greater than account's unreserved "
                f"concurrency [{self.unreserved + own}]."
            )
        return self._checked(changed, "ConcurrentExecutions")

    def _checked(self, changed: Account, what: str) -> Account:
        # What is too little already may become more, whatever it was set up with.
        if changed.unreserved < min(self.minimum_unreserved, self.unreserved):
            raise InvalidConcurrency(
                f"Specified {what} for function decreases account's UnreservedConcurrentExecution below its "
                f"minimum value of [{self.minimum_unreserved}]."
            )
        return changed


class ScaleUp:
    """How fast environments of one function are added: so many in any so many seconds. What was not used is
    not saved up (Developer Guide: scaling-behavior).
    """

    def __init__(self, limit: int = 1000, seconds: float = 10.0) -> None:
        self.limit = limit
        self._seconds = seconds
        self._added: deque[float] = deque()

    def admit(self, now: float) -> float:
        """0: one may be added, and counts as added. Else the seconds until one may be."""
        added = self._added
        while added and now >= added[0] + self._seconds:
            added.popleft()
        if len(added) < self.limit:
            added.append(now)
            return 0.0
        return added[0] + self._seconds - now if added else self._seconds
