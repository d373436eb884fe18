"""A pattern as a predicate: the keys of a rule as a tree, walked beside the event.

Only what the pattern names is looked at, and nothing is noted down about arrays. The walk is exact, but for a
few events: a key with dots that a path may go through; an array of objects where the first path through it
may be absent; a path that is value and object in one array. On those it says that it doesn't know, and
`consistency` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from streamfn.core.patterns import consistency, values
from streamfn.core.patterns.parsing import parse

if TYPE_CHECKING:
    from streamfn.core.patterns.operators import Leaf, Rule
    from streamfn.core.patterns.values import ValueTest

Predicate: TypeAlias = Callable[[object], bool]
"""Takes an event as values of Python. Whatever that is, nothing is raised; what is no dict does not match."""

_Verdict: TypeAlias = bool | None
"""None: not known."""
_Walk: TypeAlias = Callable[[dict[str, object]], _Verdict]
_Check: TypeAlias = Callable[[object], _Verdict]

_NOTHING: Final = object()
_ARRAYS: Final = (list, tuple)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def compile_rules(pattern: object) -> Predicate:
    """Raises InvalidPattern."""
    rules = parse(pattern)
    tests = [rule_test(rule) for rule in rules]
    if len(tests) == 1:
        return tests[0]
    # What all ways through `$or` have in common has to fit in any case.
    shared = _walk(_tree({path: leaf for path, leaf in rules[0].items() if _is_in_all(path, leaf, rules)}))

    def matches(event: object) -> bool:
        if isinstance(event, dict) and shared(event) is False:
            return False
        return any(test(event) for test in tests)

    return matches


def _is_in_all(path: str, leaf: Leaf, rules: Iterable[Rule]) -> bool:
    return all(rule.get(path) is leaf for rule in rules)


def rule_test(rule: Rule) -> Predicate:
    walk = _walk(_tree(rule))
    decides = consistency.test(rule)

    def matches(event: object) -> bool:
        if not isinstance(event, dict):
            return False
        verdict = walk(event)
        return decides(event) if verdict is None else verdict

    return matches


@dataclass(slots=True)
class _Node:
    """What stands at one name of a path."""

    leaf: Leaf | None = None
    below: dict[str, _Node] = field(default_factory=dict)

    def paths(self, before: str = "") -> Iterator[tuple[str, Leaf]]:
        """The leaves below, by the path that leads on."""
        for name, node in self.below.items():
            if node.leaf is not None:
                yield before + name, node.leaf
            yield from node.paths(f"{before}{name}.")

    def joined(self, before: str = "") -> Iterator[str]:
        """Keys with dots that lead below some names at once."""
        for name, node in self.below.items():
            if before:
                yield before + name
            yield from node.joined(f"{before}{name}.")


def _tree(rule: Rule) -> _Node:
    root = _Node()
    for path, leaf in rule.items():
        node = root
        for name in path.split("."):
            node = node.below.setdefault(name, _Node())
        node.leaf = leaf
    return root


def _walk(node: _Node) -> _Walk:
    """Whether an object has what stands below the node."""
    joined = tuple(node.joined())
    checks: Sequence[tuple[str, _Check]] = [
        *((name, _value_check(below.leaf)) for name, below in node.below.items() if below.leaf),
        *((name, _object_check(below)) for name, below in node.below.items() if below.below),
    ]

    def walk(value: dict[str, object]) -> _Verdict:
        for key in joined:
            if key in value:
                return None
        for key, check in checks:
            verdict = check(value.get(key, _NOTHING))
            if verdict is not True:
                return verdict
        return True

    return walk


def _value_check(leaf: Leaf) -> Callable[[object], bool]:
    """Whether a value fits the leaf, or one in an array."""
    fits = values.test(leaf)
    takes_absence = leaf.takes_absence

    def check(value: object) -> bool:
        if type(value) in _PLAIN:
            return fits(value)
        if value is _NOTHING or isinstance(value, dict):
            return takes_absence
        if isinstance(value, _ARRAYS):
            return _fits_in(value, fits, takes_absence)
        return fits(value)

    return check


def _fits_in(array: Iterable[object], fits: ValueTest, takes_absence: bool) -> bool:
    is_empty = True
    pending = [array]
    while pending:
        for element in pending.pop():
            if isinstance(element, _ARRAYS):
                pending.append(element)
            elif not isinstance(element, dict):
                if fits(element):
                    return True
                is_empty = False
    return is_empty and takes_absence


def _object_check(node: _Node) -> _Check:
    """Whether an object is here that has what stands below, or one in an array."""
    walk = _walk(node)
    paths = sorted(node.paths(), key=itemgetter(0))
    takes_absence = all(leaf.takes_absence for _, leaf in paths)
    # The first path settles the element, and the others are looked for in it.
    is_settled_first = node.leaf is None and not paths[0][1].takes_absence

    def check(value: object) -> _Verdict:
        if isinstance(value, dict):
            return walk(value)
        if not isinstance(value, _ARRAYS):
            return takes_absence
        if not is_settled_first:
            return None
        pending: list[Iterable[object]] = [value]
        while pending:
            for element in pending.pop():
                if isinstance(element, dict):
                    verdict = walk(element)
                    if verdict is not False:
                        return verdict
                elif isinstance(element, _ARRAYS):
                    pending.append(element)
        return False

    return check
