"""Fakes with one fault each, and the tests that are to notice it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfn.errors import ShardLost

WAYS_TO_FAIL = (AssertionError, ExceptionGroup, ShardLost, LookupError, ValueError)


def breaks(faults: list[Any], target: type, attribute: str, *tests: str) -> Callable[[Any], Any]:
    """What is decorated breaks a promise in the place of an attribute, and these tests are to notice."""

    def register(instead: Any) -> Any:
        name = instead.fget.__name__ if isinstance(instead, property) else instead.__name__
        faults.extend(pytest.param(test, target, attribute, instead, id=f"{name}-{test}") for test in tests)
        return instead

    return register


async def assert_noticed(suite: Any, harness: Any, test: str) -> None:
    """It fails by an assertion, or by what the broken fake raises."""
    with pytest.raises(
        (AssertionError, pytest.fail.Exception, ExceptionGroup, ShardLost, LookupError, ValueError)
    ):
        await getattr(suite, test)(harness)
