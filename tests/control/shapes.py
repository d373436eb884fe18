"""Values by the shapes of botocore's model: such as hold to them, and such as may not."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

NAMES = ["f", "g", "f:live", "f:1", "arn:aws:lambda:us-east-1:000000000000:function:f", "nothing"]
_KNOWN = {
    "Arn": st.sampled_from(
        [
            "arn:aws:sqs:us-east-1:000000000000:q",
            "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000",
            "arn:aws:kafka:us-east-1:000000000000:cluster/c/0",
            "arn:aws:sns:us-east-1:000000000000:t",
        ]
    ),
    "DestinationArn": st.sampled_from(
        ["arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:lambda:us-east-1:000000000000:function:f", ""]
    ),
    "FunctionName": st.sampled_from(NAMES),
    "NamespacedFunctionName": st.sampled_from(NAMES),
    "FunctionUrlFunctionName": st.sampled_from(["f", "g", "f:live"]),
    "UnqualifiedFunctionName": st.sampled_from(["f", "g"]),
    "LayerName": st.sampled_from(["l", "arn:aws:lambda:us-east-1:000000000000:layer:l"]),
    "RoleArn": st.just("arn:aws:iam::000000000000:role/r"),
    "TagKey": st.sampled_from(["a", "größe", "aws:x", "a b"]),
    "TagValue": st.sampled_from(["", "a", "10 m²"]),
}
"""Where what a pattern gives would never be the name of anything twice."""

_TEXT = st.characters(codec="utf-8")
_HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@cache
def input_of(model: OperationModel) -> Values:
    """Inputs that hold to an operation's shape."""
    return _structure(model.input_shape, depth=0) if model.input_shape is not None else st.just({})


@cache
def few_of(model: OperationModel) -> Values:
    """Inputs with what is required and little else: more would often exclude each other."""
    if model.input_shape is None:
        return st.just({})
    required = {name for name in model.input_shape.members if _is_required(model.input_shape, name)}
    others = sorted(set(model.input_shape.members) - required)
    some = st.sets(st.sampled_from(others), max_size=2) if others else st.just(set())
    return st.builds(
        lambda params, kept: {name: each for name, each in params.items() if name in required | kept},
        input_of(model),
        some,
    )


@cache
def output_of(model: OperationModel) -> Values:
    """Outputs of an operation."""
    if model.output_shape is None or model.has_event_stream_output:
        return st.just({})
    return _structure(model.output_shape, depth=0)


@cache
def anything_like(model: OperationModel) -> Values:
    """Inputs of an operation of which members may be wrong in any way."""
    if model.input_shape is None:
        return st.just({})
    members = model.input_shape.members
    wrong = st.dictionaries(st.sampled_from(sorted(members)), JUNK, max_size=2) if members else st.just({})
    return st.builds(lambda right, other: {**right, **other}, input_of(model), wrong)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(_TEXT, max_size=80),
    st.sampled_from(["", "a" * 300, "\0", "$LATEST", "../../x", "arn:aws:sqs:us-east-1:000000000000:q"]),
)
_KEY = st.text(_TEXT, max_size=9)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEY, inner, max_size=3),
    max_leaves=6,
)


def value_of(shape: Shape) -> Values:
    """Values that hold to a shape."""
    return _value(shape, 0)


def _structure(shape: StructureShape, depth: int) -> Values:
    members = {name: _member(each, depth) for name, each in shape.members.items()}
    required = {name: each for name, each in members.items() if _is_required(shape, name)}
    optional = {name: each for name, each in members.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional if depth < 4 else {})


def _is_required(shape: StructureShape, name: str) -> bool:
    return name in shape.required_members or shape.members[name].serialization.get("location") == "uri"


def _member(shape: Shape, depth: int) -> Values:
    location = shape.serialization.get("location")
    if location == "statusCode":
        return st.sampled_from([200, 202, 204])
    if location == "querystring" and shape.type_name == "list":
        # A query cannot say that a list is empty.
        return st.lists(_value(shape.member, depth + 1), min_size=1, max_size=3)
    if location is not None and shape.type_name == "string" and not _is_limited(shape):
        return _HEADER
    return _value(shape, depth + 1)


def _is_limited(shape: Shape) -> bool:
    return bool(shape.enum or {"pattern", "min"} & shape.metadata.keys() or shape.name in _KNOWN)


def _value(shape: Shape, depth: int) -> Values:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "structure":
            return _structure(shape, depth)
        case "list":
            assert isinstance(shape, ListShape)
            return st.lists(_value(shape.member, depth), min_size=low or 0, max_size=min(high or 3, 3))
        case "map":
            assert isinstance(shape, MapShape)
            keys, values = _value(shape.key, depth), _value(shape.value, depth)
            return st.dictionaries(keys, values, min_size=low or 0, max_size=min(high or 2, 2))
        case "string":
            return _string(shape)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(-1000 if low is None else low, 10_000 if high is None else high)
        case "double" | "float":
            return st.floats(low or 0.0, high or 1.0, width=32)
        case "blob":
            return st.binary(min_size=1, max_size=20)
        case "timestamp":
            # Before and after now, in seconds: what serializers keep of a time.
            return st.integers(0, 2_000_000_000).map(float)
    raise AssertionError(shape.type_name)


def _string(shape: Shape) -> Values:
    if shape.enum:
        return st.sampled_from(shape.enum)
    if shape.name in _KNOWN:
        return _KNOWN[shape.name]
    low, high = shape.metadata.get("min", 0), min(shape.metadata.get("max", 60), 10_000)
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return st.text(_TEXT, min_size=low, max_size=max(low, min(high, 30)))
    made = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True, alphabet=_TEXT)
    return made.filter(lambda text: low <= len(text) <= high)
