"""The concurrency of an app: who may run how many invocations at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamfn import planning
from streamfn.core.admission import CONCURRENCY_EXCEEDED, RESERVED_EXCEEDED, Account, InvalidConcurrency
from streamfn.engine.adapting import Adapting
from streamfn.engine.pool import Pool
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
    """The places of all functions: a pool of their own for those with a reservation, for those that adapt and
    for those on threads; one for all others.
    """

    def __init__(
        self, functions: Mapping[str, FunctionSpec], adaptive: Mapping[str, LimitPolicy], limit: int
    ) -> None:
        """`limit`: of all functions together, but for those on threads and those that adapt."""
        self._functions = functions
        self._adaptive = adaptive
        self._limit = limit
        self._unreserved = Pool(limit)
        self._pools: dict[str, Pool] = {}
        self._adapting: dict[str, Adapting] = {}

    def reserve(self) -> None:
        """Gives away what is reserved. Raises ConfigurationError where it is not enough."""
        account = Account(self._limit, self._limit // _UNRESERVED_PART)
        for function in self._functions.values():
            if function.reserved_concurrency is None:
                continue
            try:
                account = account.reserve(function.name, function.reserved_concurrency)
            except InvalidConcurrency as error:
                field = f"{function.name}.ReservedConcurrentExecutions"
                fix = "reserve less, or raise concurrent_executions"
                raise ConfigurationError(str(error), field=field, fix=fix) from None
        self._unreserved.resize(account.unreserved)
        self._adapting.clear()

    def pool(self, function: FunctionSpec) -> Pool:
        """The places that a function takes its own from."""
        name, reserved = function.name, function.reserved_concurrency is not None
        if not reserved and name not in self._adaptive and planning.shares(function):
            return self._unreserved
        pool = self._pools.get(name)
        if pool is None:
            reason = RESERVED_EXCEEDED if reserved else CONCURRENCY_EXCEEDED
            pool = self._pools[name] = Pool(planning.places_of(function), reason)
        return pool

    def adapting(self, function: FunctionSpec, telemetry: Telemetry) -> Adapting | None:
        """What adapts its number of places, if anything does."""
        policy = self._adaptive.get(function.name)
        if policy is None:
            return None
        adapting = self._adapting.get(function.name)
        if adapting is None:
            pool = self.pool(function)
            pool.resize(planning.places_of(function))
            adapting = self._adapting[function.name] = Adapting(policy, function.name, pool, telemetry)
        return adapting

    def observe(self, function: FunctionSpec, begun: float, outcome: Outcome) -> None:
        """An invocation that nobody watches otherwise: its number may adapt to what came of it."""
        adapting = self._adapting.get(function.name)
        if adapting is not None:
            adapting.observe(begun, outcome)

    def in_use(self, function: FunctionSpec) -> int:
        """Invocations of a function that run now; 0 where it shares its places with others."""
        pool = self._pools.get(function.name)
        return pool.in_use if pool is not None else 0
