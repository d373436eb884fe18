"""Moves the traffic of an alias from one version to another, and back when the new one fails too often.

Where a move stands is kept with the alias in the store: a process that was killed in the middle leaves one
that any other carries on with `follow`. Several may follow the same; the first one to act wins.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from streamfn.core.shifting import Guard, Shift, check_guard, pace_of, reverted, shifted
from streamfn.core.versions import PreconditionFailed
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from streamfn.ports import Alias, Clock, FunctionStore

Tally: TypeAlias = Callable[[str, str], tuple[int, int]]
"""How many invocations of a function's version ended here so far, and how many of them failed."""

_DEFAULT: Final = Guard()
_LOOK: Final = 1.0
"""Seconds between two looks at the errors."""


class Ending(Enum):
    """What became of a move."""

    DONE = "Done"
    ROLLED_BACK = "RolledBack"
    REPLACED = "Replaced"
    """Somebody has changed the alias, or removed it."""


async def begin(
    store: FunctionStore,
    function: str,
    alias: str,
    version: str,
    preference: str,
    *,
    clock: Clock,
    guard: Guard = _DEFAULT,
) -> Alias:
    """Lets an alias move to a version, and gives it as it is then; `follow` does the rest.

    A move that is under way ends there: its old version is the old one of the new move. Raises
    ConfigurationError for an alias or version that is not there, or a preference that says nothing;
    PreconditionFailed if somebody else changed the alias meanwhile; OSError as the store.
    """
    pace_of(preference)
    check_guard(guard)
    known = await _find(store, function, alias)
    if known is None:
        raise ConfigurationError(
            f"function {function} has no alias {alias}", field="Name", fix="make the alias first"
        )
    before = reverted(known)
    if before.version == version:
        return await store.put_alias(before, known.revision_id)
    shift = Shift(version, preference, clock(), guard)
    return await store.put_alias(shifted(before, shift, shift.started_at), known.revision_id)


async def follow(store: FunctionStore, alias: Alias, tally: Tally, *, clock: Clock) -> Ending:
    """Carries out the move that an alias says is under way, until it ends.

    Errors count from now on. A store that is out of reach is asked again with each look, so that a version
    that fails goes back as soon as it can.
    """
    shift = alias.shift
    if shift is None:
        return Ending.DONE
    invocations, errors = tally(alias.function, shift.version)
    while True:
        now = tally(alias.function, shift.version)
        failing = shift.guard.trips(now[0] - invocations, now[1] - errors)
        wanted = reverted(alias) if failing else shifted(alias, shift, clock())
        try:
            found = await _put(store, alias, wanted)
        except OSError:
            # What is wanted now is wanted at the next look too.
            await anyio.sleep(_LOOK)
            continue
        if found is None or found.shift != shift:
            return _ending(alias, shift, found)
        alias = found
        await anyio.sleep(min(_LOOK, shift.next(clock())))


async def _put(store: FunctionStore, alias: Alias, wanted: Alias) -> Alias | None:
    """The alias as it is now: as it is wanted, unless somebody else has changed it; None if it is gone."""
    if wanted == alias:
        return alias
    try:
        return await store.put_alias(wanted, alias.revision_id)
    except PreconditionFailed:
        return await _find(store, alias.function, alias.name)


async def _find(store: FunctionStore, function: str, name: str) -> Alias | None:
    found = {alias.name: alias for alias in await store.aliases(function)}
    return found.get(name)


def _ending(before: Alias, shift: Shift, found: Alias | None) -> Ending:
    """What became of the move, here or in another process, as far as the alias tells."""
    if found is None or found.shift is not None or found.additional:
        return Ending.REPLACED
    if found.version == shift.version:
        return Ending.DONE
    return Ending.ROLLED_BACK if found.version == before.version else Ending.REPLACED
