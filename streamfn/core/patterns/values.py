"""What a value of an event has to be, as one predicate: from sets and cheap tests to dear ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, assert_never

from streamfn.core.patterns import addresses, letters, numbers, wildcards
from streamfn.core.patterns.numbers import Number, NumberTest
from streamfn.core.patterns.operators import (
    AnythingBut,
    Cidr,
    Exists,
    IgnoringCase,
    Leaf,
    Literal,
    Operator,
    Prefix,
    Range,
    StringOperator,
    Suffix,
    Text,
)
from streamfn.core.patterns.wildcards import Wildcard

ValueTest: TypeAlias = Callable[[object], bool]
"""Takes a value that is no object and no list."""
TextTest: TypeAlias = Callable[[str], bool]


def test(leaf: Leaf) -> ValueTest:
    """Whether a value fits one of the operators. Takes anything, raises nothing."""
    text_fits = _text_test(leaf.operators)
    number_fits = _number_test(leaf.operators)
    literals = frozenset(operator.value for operator in leaf.operators if isinstance(operator, Literal))
    takes_all = any(_takes_other_kinds(operator) for operator in leaf.operators)

    def fits(value: object) -> bool:
        kind = type(value)
        if kind is str:
            return text_fits(value)  # type: ignore[arg-type]
        if kind is int or kind is float:
            return number_fits(value)  # type: ignore[arg-type]
        if kind is bool or value is None:
            return takes_all or value in literals
        # What JSON doesn't have: of a kind derived from one it has, or of a kind of its own.
        if isinstance(value, str):
            return text_fits(str.__str__(value))
        if isinstance(value, int):
            return number_fits(int.__int__(value))
        if isinstance(value, float):
            return number_fits(float.__float__(value))
        return takes_all

    return fits


def _takes_other_kinds(operator: Operator) -> bool:
    return isinstance(operator, AnythingBut) or operator == Exists(wanted=True)


def _text_test(operators: Iterable[Operator]) -> TextTest:
    strings: list[StringOperator] = []
    others: list[TextTest] = []
    for operator in operators:
        match operator:
            case Text() | Prefix() | Suffix() | IgnoringCase() | Wildcard() | Cidr():
                strings.append(operator)
            case AnythingBut(strings=but):
                others.append(_not(_one_of(but)) if but else _always)
            case Exists(wanted=True):
                return _always
            case _:
                pass
    return _any(_one_of(strings), *others) if others else _one_of(strings)


def _one_of(operators: Iterable[StringOperator]) -> TextTest:
    """Exact strings by a set, then beginnings and ends at once, then the rest one by one."""
    exact: set[str] = set()
    prefixes: list[str] = []
    suffixes: list[str] = []
    dear: list[TextTest] = []
    for operator in operators:
        match operator:
            case Text(value):
                exact.add(value)
                if (address := addresses.parsed(value)) is not None:
                    dear.append(addresses.equals(address))
            case Prefix(value, ignoring_case=False):
                prefixes.append(value)
            case Suffix(value, ignoring_case=False):
                suffixes.append(value)
            case _:
                dear.append(_dear(operator))
    tests: list[TextTest] = []
    if exact:
        tests.append(frozenset(exact).__contains__)
    if prefixes:
        begins = tuple(prefixes)
        tests.append(lambda value: value.startswith(begins))
    if suffixes:
        ends = tuple(suffixes)
        tests.append(lambda value: value.endswith(ends))
    return _any(*tests, *dear)


def _dear(operator: Prefix | Suffix | IgnoringCase | Cidr | Wildcard) -> TextTest:
    match operator:
        case Prefix(value):
            return letters.begins(value)
        case Suffix(value):
            return letters.ends(value)
        case IgnoringCase(value):
            return letters.equals(value)
        case Cidr(network):
            return addresses.is_in(network, "")
        case Wildcard():
            return wildcards.test(operator)
        case _:
            assert_never(operator)


def _number_test(operators: Iterable[Operator]) -> NumberTest:
    exact: list[Number] = []
    tests: list[NumberTest] = []
    for operator in operators:
        match operator:
            case Number():
                exact.append(operator)
            case Range(bottom, top, open_bottom, open_top):
                tests.append(numbers.is_within(bottom, top, open_bottom=open_bottom, open_top=open_top))
            case AnythingBut(numbers=but):
                tests.append(_not(numbers.is_one_of(but)) if but else _always)
            case Exists(wanted=True):
                return _always
            case _:
                pass
    return _any(numbers.is_one_of(exact), *tests) if exact else _any(*tests)


def _always(_: object) -> bool:
    return True


def _not(test: Callable[..., bool]) -> Callable[..., bool]:
    return lambda value: not test(value)


def _any(*tests: Callable[..., bool]) -> Callable[..., bool]:
    if not tests:
        return lambda _: False
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda value: first(value) or second(value)

    def one_fits(value: object) -> bool:
        return any(test(value) for test in tests)

    return one_fits
