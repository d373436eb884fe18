"""The concurrency of an app: who may run how many invocations at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from streamfn import planning
from streamfn.core.admission import RESERVED_EXCEEDED, Account, InvalidConcurrency
from streamfn.engine.adapting import Adapting
from streamfn.engine.pool import Pool, Room
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.core.limiting import LimitPolicy
    from streamfn.core.outcomes import Outcome
    from streamfn.functions import FunctionSpec
    from streamfn.ports import Telemetry

_UNRESERVED_PART: Final = 10
"""One part in so many has to stay unreserved: on AWS, 100 of 1,000."""


class Concurrency:
    """The places of all functions: a room of their own for those with a reservation, for those that adapt and
    for those on threads; one for all others.
    """

    def __init__(
        self, functions: Mapping[str, FunctionSpec], adaptive: Mapping[str, LimitPolicy], limit: int
    ) -> None:
        """`limit`: of all functions together, but for those on threads and those that adapt."""
        self._functions = functions
        self._adaptive = adaptive
        self.account = Account(limit, limit // _UNRESERVED_PART)
        """What is reserved. What is provisioned counts only where a change is checked."""
        self._unreserved = Room(limit)
        self._pools: dict[str, Pool] = {}
        self._adapting: dict[str, Adapting] = {}

    def begin(self) -> None:
        """Gives away what is reserved. Raises ConfigurationError where it is not enough."""
        account = replace(self.account, reserved={})
        for function in self._functions.values():
            if function.reserved_concurrency is None:
                continue
            try:
                account = account.reserve(function.name, function.reserved_concurrency)
            except InvalidConcurrency as error:
                field = f"{function.name}.ReservedConcurrentExecutions"
                fix = "reserve less, or raise concurrent_executions"
                raise ConfigurationError(str(error), field=field, fix=fix) from None
        self.account = account
        self._unreserved.resize(account.unreserved)
        self._adapting.clear()

    def reserve(
        self, function: str, number: int | None, provisioned: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Reserves places for a function while invocations run; None gives them back. `provisioned`: by
        function, then by version or alias.

        Raises InvalidConcurrency in AWS's words; then nothing has changed.
        """
        changed = replace(self.account, provisioned=provisioned).reserve(function, number)
        self.account = replace(changed, provisioned={})
        if function in self._functions:
            self.settle(self._functions[function])
        self._unreserved.resize(self.account.unreserved)

    def settle(self, function: FunctionSpec) -> None:
        """Has a function that has changed take its places where it has to by now."""
        pool = self._pools.get(function.name)
        if pool is None:
            return
        own = self._own(function)
        if own is None:
            if pool.room is not self._unreserved:
                pool.move(self._unreserved)
        elif pool.room is self._unreserved:
            pool.move(own)
        else:
            pool.room.reason = own.reason
            pool.resize(own.limit)

    def pool(self, function: FunctionSpec) -> Pool:
        """The places that a function takes its own from."""
        pool = self._pools.get(function.name)
        if pool is None:
            pool = self._pools[function.name] = Pool(room=self._own(function) or self._unreserved)
        return pool

    def _own(self, function: FunctionSpec) -> Room | None:
        """The room that a function is to have for itself; None where it shares one."""
        reserved = self.account.reserved.get(function.name)
        if reserved is not None:
            return Room(reserved, RESERVED_EXCEEDED)
        if function.name not in self._adaptive and planning.shares(function):
            return None
        return Room(planning.places_of(replace(function, reserved_concurrency=None)))

    def adapting(self, function: FunctionSpec, telemetry: Telemetry) -> Adapting | None:
        """What adapts its number of places, if anything does."""
        policy = self._adaptive.get(function.name)
        if policy is None:
            return None
        adapting = self._adapting.get(function.name)
        if adapting is None:
            self.settle(function)
            pool = self.pool(function)
            adapting = self._adapting[function.name] = Adapting(policy, function.name, pool, telemetry)
        return adapting

    def forget_adapting(self, function: str) -> None:
        """Its number of places adapts no more, or by another policy."""
        self._adapting.pop(function, None)

    def observe(self, function: FunctionSpec, begun: float, outcome: Outcome) -> None:
        """An invocation that nobody watches otherwise: its number may adapt to what came of it."""
        adapting = self._adapting.get(function.name)
        if adapting is not None:
            adapting.observe(begun, outcome)

    def in_use(self, function: FunctionSpec) -> int:
        """Invocations of a function that run now."""
        pool = self._pools.get(function.name)
        return pool.in_use if pool is not None else 0
