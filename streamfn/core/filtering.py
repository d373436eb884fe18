"""FilterCriteria: which records of a source are worth an invocation. Pure.

A record is for the function if it fits one of the patterns. A pattern speaks of the record's data (`body` of
a message, `data` of a stream) and of what stands around it. It is made for data that is JSON (an object below
the data's key) or plain text (a list there). Where the data is of another kind the source decides: queues and
streams let the record go, Kafka leaves that part of the pattern out (`FilterForm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamfn.core.patterns import Predicate, parse
from streamfn.core.patterns.compiling import rule_test
from streamfn.core.rendering import loads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamfn.core.events import EventShape, FilterForm
    from streamfn.core.patterns.operators import Rule
    from streamfn.core.records import Record
    from streamfn.core.rendering import Loads

MOST_FILTERS: Final = 10
"""Filters of one mapping (Developer Guide: invocation-eventfiltering; five until the quota is raised)."""

RecordTest: TypeAlias = Callable[["Record"], bool]


class DataKind(Enum):
    """What the data of a record is, or what a pattern takes it for."""

    JSON = "JSON"
    """An object or an array: a number or a word alone is text, as nobody would quote it (our rule)."""
    TEXT = "plain text"
    """UTF-8 that is no such JSON; or nothing at all, as a null in Kafka."""
    BYTES = "not UTF-8"


def kind_of_data(data: object) -> DataKind:
    """The kind of what `EventShape.filter_data` gives."""
    if isinstance(data, dict | list):
        return DataKind.JSON
    return DataKind.TEXT if data is None or isinstance(data, str) else DataKind.BYTES


def asked_kind(path: str, form: FilterForm) -> DataKind | None:
    """The kind of data that a path is for; None: it leads to something else."""
    for data in form.paths:
        if path == data:
            return DataKind.TEXT
        if path.startswith(f"{data}."):
            return DataKind.JSON
    return None


def asked_kinds(pattern: object, form: FilterForm) -> set[DataKind]:
    """The kinds of data that a pattern is made for; none if it asks nothing of it. Raises InvalidPattern."""
    kinds = (asked_kind(path, form) for rule in parse(pattern) for path in rule)
    return {kind for kind in kinds if kind is not None}


class FilterCriteria:
    """Patterns as one test of a record's view, for each kind of data."""

    def __init__(self, patterns: Iterable[object], form: FilterForm) -> None:
        """Raises InvalidPattern."""
        self._rules = [rule for pattern in patterns for rule in parse(pattern)]
        self._form = form
        asked = {asked_kind(path, form) for rule in self._rules for path in rule}
        self.uses_data = asked != {None}
        self.uses_rest = None in asked
        """Whether a pattern looks at anything beside the data."""

    def test(self, data: object) -> Predicate:
        """The test of a record that has this data. It takes the record's view."""
        # A record's way: no call and no table that could be spared.
        if isinstance(data, dict | list):
            return self._json
        return self._text if data is None or isinstance(data, str) else self._bytes

    # Most mappings see data of one kind only.

    @cached_property
    def _json(self) -> Predicate:
        return _test(self._rules, self._form, DataKind.JSON)

    @cached_property
    def _text(self) -> Predicate:
        return _test(self._rules, self._form, DataKind.TEXT)

    @cached_property
    def _bytes(self) -> Predicate:
        return _test(self._rules, self._form, DataKind.BYTES)


def filtering(
    patterns: Sequence[object], predicate: RecordTest | None = None, read: Loads = loads
) -> Callable[[EventShape], RecordTest] | None:
    """Makes the filter of a shard out of its shape; None where nothing is to be filtered.

    A record has to fit one of the patterns, if there are any, and the predicate, if there is one. Its data is
    read once, by `read`, and only if a pattern asks for it. Raises InvalidPattern.
    """
    if not patterns:
        return None if predicate is None else lambda shape: predicate
    for pattern in patterns:
        parse(pattern)
    compiled = cache(lambda form: FilterCriteria(patterns, form))

    def make(shape: EventShape) -> RecordTest:
        fits = _of_shape(compiled(shape.filtering), shape, read)
        return fits if predicate is None else lambda record: fits(record) and predicate(record)

    return make


def _of_shape(criteria: FilterCriteria, shape: EventShape, read: Loads) -> RecordTest:
    test, data_of, view = criteria.test, shape.filter_data, shape.filter_view
    if not criteria.uses_data:
        around = test(None)
        return lambda record: around(view(record, None))
    if criteria.uses_rest:

        def fits(record: Record) -> bool:
            data = data_of(record, read)
            return test(data)(view(record, data))

        return fits
    placed = shape.filtering.placed
    nothing: dict[str, Any] = {}

    def data_fits(record: Record) -> bool:
        data = data_of(record, read)
        return test(data)(placed(nothing, data))

    return data_fits


def _test(all_rules: Iterable[Rule], form: FilterForm, kind: DataKind) -> Predicate:
    """Whether a record with data of that kind fits one of the rules."""
    left = (_for_kind(rule, form, kind) for rule in all_rules)
    tests = [rule_test(rule) for rule in left if rule is not None]
    if len(tests) == 1:
        return tests[0]
    return lambda view: any(test(view) for test in tests)


def _for_kind(rule: Rule, form: FilterForm, kind: DataKind) -> Rule | None:
    """What a rule asks of a record with data of that kind, nothing perhaps; None: what it cannot have."""
    kept = {path: leaf for path, leaf in rule.items() if asked_kind(path, form) in (None, kind)}
    return kept if form.ignores_other_kinds or len(kept) == len(rule) else None
