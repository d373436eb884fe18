"""Event patterns: one event after the other against one pattern, as filters of a mapping do it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from typing import Any

from benchmarks.scenario import Scenario, Settings, Side, Target
from streamfn import compile_pattern, matches

_EVENT: dict[str, Any] = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "111122223333",
    "time": "2017-12-22T18:43:48Z",
    "region": "us-west-1",
    "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
    "detail": {
        "instance-id": "i-1234567890abcdef0",
        "state": "running",
        "size": 301.8,
        "count": 5,
        "ip": "10.0.0.33",
        "volumes": [{"device": "/dev/sda1", "size": 8}, {"device": "/dev/sdb", "size": 100}],
        "note": "x" * 430,
    },
}
"""1 KB as JSON."""

_TWO_FIELDS = {"source": ["aws.ec2"], "detail": {"state": ["pending", "running"]}}

_BY_OPERATOR: dict[str, dict[str, Any]] = {
    "equals": {"detail": {"state": ["pending", "running"]}},
    "number": {"detail": {"count": [4, 5]}},
    "prefix": {"time": [{"prefix": "2017-12"}]},
    "suffix": {"source": [{"suffix": "ec2"}]},
    "prefix-ignore-case": {"source": [{"prefix": {"equals-ignore-case": "AWS."}}]},
    "suffix-ignore-case": {"source": [{"suffix": {"equals-ignore-case": ".EC2"}}]},
    "equals-ignore-case": {"source": [{"equals-ignore-case": "AWS.EC2"}]},
    "wildcard": {"resources": [{"wildcard": "arn:*:instance/*abc*"}]},
    "numeric": {"detail": {"size": [{"numeric": [">", 0, "<=", 500]}]}},
    "anything-but": {"detail": {"state": [{"anything-but": ["pending", "stopped"]}]}},
    "anything-but-prefix": {"detail": {"state": [{"anything-but": {"prefix": ["p", "st"]}}]}},
    "anything-but-wildcard": {"detail": {"state": [{"anything-but": {"wildcard": ["p*g", "*st*"]}}]}},
    "exists": {"detail": {"state": [{"exists": True}], "error": [{"exists": False}]}},
    "cidr": {"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}},
    "or": {
        "source": ["aws.ec2"],
        "$or": [{"region": ["eu-west-1"]}, {"detail": {"state": ["stopped"]}}, {"detail": {"count": [5]}}],
    },
    "array": {"detail": {"volumes": {"device": [{"prefix": "/dev"}], "size": [{"numeric": [">", 99]}]}}},
    "array-absent": {"detail": {"volumes": {"device": ["/dev/sdb"], "label": [{"exists": False}]}}},
    "array-absent-first": {"detail": {"volumes": {"alias": [{"exists": False}], "size": [100]}}},
    "dots": {"detail.state": ["running"]},
}

_OTHER = "event-ruler" if find_spec("event_ruler") else None
"""What PyPI has: a matcher written in Go, which takes pattern and event as text each time."""


class _Patterns:
    """Ways of asking whether the event fits."""

    def __init__(
        self,
        sides: Mapping[str, Callable[[], Callable[[Any], object]]],
        events: Mapping[str, Any],
        *scenarios: Scenario,
    ) -> None:
        self._sides = sides
        self._events = events
        self.scenarios: Sequence[Scenario] = scenarios

    def repeats(self, settings: Settings) -> int:
        return settings.repeat

    @contextmanager
    def prepared(self, settings: Settings) -> Iterator[Mapping[str, Side]]:
        times = settings.size(200_000, 200)
        yield {name: _rate(make(), self._events[name], times) for name, make in self._sides.items()}


def _rate(fits: Callable[[Any], object], event: Any, times: int) -> Side:
    """Events per second."""

    def side() -> float:
        assert fits(event)
        began = time.perf_counter()
        for each in repeat(event, times):
            fits(each)
        return times / (time.perf_counter() - began)

    return side


def _other() -> Callable[[str], object]:
    test_event_pattern = import_module("event_ruler").test_event_pattern
    pattern = json.dumps(_TWO_FIELDS)
    return lambda event: test_event_pattern(event, pattern)


_TEXT = json.dumps(_EVENT)

GROUPS = (
    _Patterns(
        {
            "compiled": lambda: compile_pattern(_TWO_FIELDS),
            "matches": lambda: lambda event: matches(_TWO_FIELDS, event),
            "json": lambda: compile_pattern(_TWO_FIELDS),
            **({_OTHER: _other} if _OTHER else {}),
        },
        {"compiled": _EVENT, "matches": _EVENT, "json": _TEXT.encode(), "event-ruler": _TEXT},
        Scenario(
            "pattern-object", "compiled pattern of two fields, event of 1 KB as a dict", "events/s",
            "compiled", _OTHER, Target("figure", at_least=500_000),
        ),
        Scenario(
            "pattern-matches", "the same by `matches`, with the pattern as a dict each time", "events/s",
            "matches", _OTHER,
        ),
        Scenario(
            "pattern-json", "the same from JSON", "events/s",
            "json", _OTHER, Target("figure", at_least=150_000),
        ),
    ),
    *(
        _Patterns(
            {name: lambda pattern=pattern: compile_pattern(pattern)},  # type: ignore[misc]
            {name: _EVENT},
            Scenario(
                f"pattern-{name}", f"`{json.dumps(pattern)}`", "events/s",
                name, None, Target("figure", at_least=100_000),
            ),
        )
        for name, pattern in _BY_OPERATOR.items()
    ),
)  # fmt: skip
