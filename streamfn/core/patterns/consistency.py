"""Whether a rule fits an event, exactly as event-ruler has it, arrays of objects included.

All values that fit have to come from the same element of each array that their paths share: the paths are
taken in order, each value chosen settles the elements it stands in, and the next path may look into those
only. A path that may be absent is so if it has no value in what is settled by then: so its place in the
order counts. (event-ruler: ACFinder, ArrayMembership, NameState.)

No choice is tried twice: what an array has settled is forgotten once no path goes through it any more, so the
time grows with the size of the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeAlias

from streamfn.core.patterns.values import ValueTest
from streamfn.core.patterns.values import test as value_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamfn.core.patterns.operators import Leaf, Rule

_ELEMENTS: Final = (dict, list, tuple)

Settled: TypeAlias = dict[tuple[str, int], int]
"""Elements by array: arrays by the path to them and by identity."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One path of a rule."""

    fits: ValueTest
    takes_absence: bool
    length: int
    prefixes: tuple[str, ...]
    """The path so far, after each number of names."""
    keys: tuple[tuple[tuple[str, int], ...], ...]
    """At each of them: the keys that lead on, some names joined by dots, and how many are passed then."""


def test(rule: Rule) -> Callable[[object], bool]:
    """Whether an event fits the rule."""
    steps = [_step(path, leaf) for path, leaf in sorted(rule.items())]
    following = [*(step.prefixes[-1] for step in steps[1:]), ""]
    return lambda event: _fits(steps, following, event)


def values_at(path: str, leaf: Leaf, event: object) -> Iterator[object]:
    """All values of an event that the leaf is tried on."""
    return (value for value, _ in _values(_step(path, leaf), event, {}))


def _step(path: str, leaf: Leaf) -> _Step:
    names = path.split(".")
    keys = tuple(
        tuple((".".join(names[start:end]), end) for end in range(start + 1, len(names) + 1))
        for start in range(len(names))
    )
    prefixes = ("", *accumulate(names, lambda one, other: f"{one}.{other}"))
    return _Step(value_test(leaf), leaf.takes_absence, len(names), prefixes, keys)


def _fits(steps: list[_Step], following: list[str], event: object) -> bool:
    tried: set[tuple[int, frozenset[tuple[tuple[str, int], int]]]] = set()
    choices = [_choices(steps[0], event, {})]
    while choices:
        settled = next(choices[-1], None)
        if settled is None:
            choices.pop()
            continue
        taken = len(choices)
        if taken == len(steps):
            return True
        path = following[taken - 1]
        kept = {array: element for array, element in settled.items() if path.startswith(f"{array[0]}.")}
        state = (taken, frozenset(kept.items()))
        if state not in tried:
            tried.add(state)
            choices.append(_choices(steps[taken], event, kept))
    return False


def _choices(step: _Step, event: object, settled: Settled) -> Iterator[Settled]:
    """What is settled after the step, in each way that fits."""
    is_absent = True
    for value, where in _values(step, event, settled):
        is_absent = False
        if step.fits(value):
            yield where
    if is_absent and step.takes_absence:
        yield settled


def _values(step: _Step, event: object, settled: Settled) -> Iterator[tuple[object, Settled]]:
    """The values at the path within what is settled, and what each of them settles."""
    pending: list[tuple[object, int, Settled]] = [(event, 0, settled)]
    while pending:
        value, passed, where = pending.pop()
        if isinstance(value, dict):
            if passed < step.length:
                pending += [(value[key], after, where) for key, after in step.keys[passed] if key in value]
        elif isinstance(value, (list, tuple)):
            array = (step.prefixes[passed], id(value))
            chosen = where.get(array)
            if chosen is not None:
                pending.append((value[chosen], passed, where))
                continue
            # Objects and arrays settle where they stand; other values are in no element.
            pending += [
                (element, passed, {**where, array: index} if isinstance(element, _ELEMENTS) else where)
                for index, element in enumerate(value)
            ]
        elif passed == step.length:
            yield value, where
