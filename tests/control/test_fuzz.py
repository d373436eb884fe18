"""Whatever is asked, the API answers as AWS does, and botocore can read it: no exception, no 5xx."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.control.messages import HttpRequest
from streamfn.control.rendering import ResponseRenderer
from streamfn.control.service import Shape, service_model
from tests.control.calling import Calls, botocore_model, parsed, request_of
from tests.control.function_calls import ONE, active, create
from tests.control.noting import Notes
from tests.control.shapes import JUNK, anything_like, few_of, input_of, output_of, value_of

pytestmark = pytest.mark.anyio

OPERATIONS = [botocore_model().operation_model(name) for name in sorted(botocore_model().operation_names)]

_shared = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
often = settings(max_examples=2 * settings().max_examples, suppress_health_check=_shared)
# Each one asks a source that is not there, which takes its time.
rarely = settings(max_examples=12, suppress_health_check=_shared)

inputs = st.sampled_from(OPERATIONS).flatmap(lambda model: st.tuples(st.just(model), input_of(model)))
outputs = st.sampled_from(OPERATIONS).flatmap(lambda model: st.tuples(st.just(model), output_of(model)))
attempts = st.sampled_from(OPERATIONS).flatmap(lambda model: st.tuples(st.just(model), anything_like(model)))


def patterns() -> list[Shape]:
    """All shapes of inputs that have a pattern."""
    found: dict[str, Shape] = {}
    todo = [model.input for model in service_model().operations.values()]
    while todo:
        shape = todo.pop()
        if shape.name not in found:
            found[shape.name] = shape
            todo += [member.shape for member in shape.members.values()]
            todo += [getattr(shape, name) for name in ("element", "key") if hasattr(shape, name)]
    return [shape for shape in found.values() if shape.pattern]


CREATE_MAPPING = botocore_model().operation_model("CreateEventSourceMapping")


def _value_of(member: str) -> st.SearchStrategy[Any]:
    return value_of(CREATE_MAPPING.input_shape.members[member])


# All but what would leave nothing to try it on.
lasting = [model for model in OPERATIONS if model.name not in ("DeleteFunction", "UpdateFunctionCode")]
changes = st.sampled_from(lasting).flatmap(
    lambda model: st.tuples(st.just(model), few_of(model) | anything_like(model))
)


@pytest.fixture(autouse=True)
def nobody_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources and destinations that requests make up are looked for on a closed port of this machine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def nothing_breaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What an operation did not foresee is logged as an error: there must be none."""
    with caplog.at_level(logging.ERROR):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


@often
@given(inputs)
async def test_what_botocore_sends_is_what_operations_get(each: tuple[Any, dict[str, Any]]) -> None:
    model, params = each
    notes = Notes()
    response = await notes.calls.api(request_of(model.name, params))
    assert response.status < 300, response.body
    ((name, given_params),) = notes.given
    payload = model.input_shape.serialization.get("payload") if model.input_shape is not None else None
    # A structure that is the body is written as an empty one where there is none.
    assert name == model.name
    assert given_params == params or given_params == {str(payload): {}} | params


@often
@given(outputs)
async def test_what_operations_give_is_what_botocore_reads(each: tuple[Any, dict[str, Any]]) -> None:
    model, result = each
    response = ResponseRenderer(service_model().operations[model.name]).render(result)
    answer = _plain(await parsed(response, model))
    assert {name: answer[name] for name in result} == result


def _plain(value: Any) -> Any:
    """Times as seconds, for botocore makes dates of them."""
    match value:
        case datetime():
            return value.timestamp()
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
    return value


# ------------------------------------------------------------------------------------ on a running app


@often
@given(each=attempts)
async def test_no_input_breaks_an_operation(call: Calls, each: tuple[Any, dict[str, Any]]) -> None:
    await _attempt(call, *each)


async def _attempt(call: Calls, model: Any, params: dict[str, Any]) -> None:
    try:
        request = request_of(model.name, params)
    except (AttributeError, LookupError, TypeError, ValueError, ParamValidationError):
        # What no serializer can write goes as it is.
        body = json.dumps(params, default=repr).encode()
        path = model.http["requestUri"].partition("?")[0]
        request = HttpRequest(model.http["method"], path, body=body)
    await _answered(call, request, model)


known_paths = [re.sub(r"{\w+}", "f", model.http["requestUri"]) for model in OPERATIONS]
paths = st.sampled_from(known_paths) | st.text(max_size=60)
texts = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60)


@pytest.fixture
async def furnished(call: Calls) -> Calls:
    """An API with a function `f`, its version 1, an alias of it, and a layer."""
    await create(call, "f", Publish=True)
    await active(call, "f")
    await call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    await call("PublishLayerVersion", LayerName="l", Content={"ZipFile": ONE})
    return call


@pytest.mark.slow
@often
@given(each=changes)
async def test_no_input_breaks_an_operation_on_what_there_is(
    furnished: Calls, each: tuple[Any, dict[str, Any]]
) -> None:
    await _attempt(furnished, *each)


@pytest.mark.slow
@rarely
@given(
    params=few_of(CREATE_MAPPING),
    source=_value_of("EventSourceArn"),
    position=_value_of("StartingPosition"),
)
async def test_no_mapping_breaks_the_api(
    furnished: Calls, params: dict[str, Any], source: str, position: str
) -> None:
    params |= {"FunctionName": "f", "EventSourceArn": source}
    if ":sqs:" not in source:
        params["StartingPosition"] = position
    await _attempt(furnished, CREATE_MAPPING, params)


@often
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "", "x"]),
    path=paths,
    query=texts,
    headers=st.dictionaries(
        st.sampled_from(["x-amz-invocation-type", "x-amz-log-type", "x-amz-client-context", "content-type"]),
        texts,
    ),
    body=st.binary(max_size=60) | JUNK.map(lambda value: json.dumps(value).encode()),
)
async def test_no_request_breaks_the_api(
    call: Calls, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    path, _, own = path.partition("?")
    await _answered(call, HttpRequest(method, path, own or query, headers, body), None)


async def _answered(call: Calls, request: HttpRequest, model: Any) -> None:
    response = await call.api(request)
    assert response.status < 500, (request, response.body)
    if response.status >= 400:
        assert isinstance(response.body, bytes)
        said = json.loads(response.body)
        assert dict(response.headers)["x-amzn-ErrorType"].endswith("Exception")
        assert said.get("message") or said["Message"]
    if model is not None:
        with contextlib.suppress(ClientError):
            await parsed(response, model)


@pytest.mark.parametrize("name", sorted(shape.name for shape in patterns()))
def test_no_text_keeps_a_pattern_busy(name: str) -> None:
    """The longest text of one letter, and one that fails at its end, are told within a moment."""
    shape = next(each for each in patterns() if each.name == name)
    assert shape.matcher is not None
    length = int(min(shape.maximum or 10_000, 10_000))
    begun = time.process_time()
    for text in (
        "a" * length,
        "1" * length,
        "a." * (length // 2),
        "a-" * (length // 2),
        "arn:" * (length // 4),
    ):
        shape.matcher.fullmatch(text + "!")
        shape.matcher.fullmatch(text + ":")
    assert time.process_time() - begun < 1
