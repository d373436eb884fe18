"""Requests as SDKs send them, answers as they read them: botocore's own serializer and parser, no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from botocore.awsrequest import HeadersDict
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from streamfn.control.messages import Handler, HttpRequest, HttpResponse


@cache
def botocore_model() -> ServiceModel:
    """Lambda's service model, as boto3 has it."""
    return ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")


class Calls:
    """Calls operations of an API: `await call("GetFunction", FunctionName="f")`.

    Gives what boto3 would give, streams read to their end; raises ClientError. Nothing is validated here.
    """

    def __init__(self, api: Handler) -> None:
        self.api = api

    async def __call__(self, operation: str, /, **params: Any) -> dict[str, Any]:
        model = botocore_model().operation_model(operation)
        return await parsed(await self.api(request_of(operation, params)), model)

    async def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """A request as it is, for what no SDK would send."""
        return await self.api(HttpRequest(method, path, query, headers or {}, body))


def request_of(operation: str, params: Mapping[str, Any]) -> HttpRequest:
    """What boto3 sends for it."""
    model = botocore_model().operation_model(operation)
    serializer = create_serializer("rest-json", include_validation=False)
    made = serializer.serialize_to_request(params, model)
    path, _, query = made["url_path"].partition("?")
    given = urlencode(made["query_string"], doseq=True, quote_via=quote)
    headers = {name.lower(): str(value) for name, value in made["headers"].items()}
    body = made["body"]
    return HttpRequest(
        made["method"],
        path,
        "&".join(filter(None, (query, given))),
        headers,
        body if isinstance(body, bytes) else str(body).encode(),
    )


async def parsed(response: HttpResponse, model: OperationModel) -> dict[str, Any]:
    """What boto3 makes of an answer. Raises ClientError."""
    body = response.body
    if isinstance(body, AsyncIterator):
        body = b"".join([part async for part in body])
    fine = response.status < 300
    streamed = fine and model.has_event_stream_output
    # Of such a body the parser gives what it is given; boto3 hands it a stream.
    whole = fine and model.has_streaming_output
    found = {
        "status_code": response.status,
        "headers": HeadersDict(dict(response.headers)),
        "body": _Raw(body) if streamed else b"" if whole else body,
        "context": {"operation_name": model.name},
    }
    parser = create_parser("rest-json")
    answer: dict[str, Any] = parser.parse(found, model.output_shape)
    if not fine:
        shape = botocore_model().shape_for_error_code(answer["Error"]["Code"])
        if shape is not None:
            answer.update(parser.parse(found, shape))
        raise ClientError(answer, model.name)
    if streamed:
        answer["EventStream"] = list(answer["EventStream"])
    elif whole:
        answer[model.output_shape.serialization["payload"]] = body
    return answer


class _Raw:
    """The body of an answer as the parser of event streams reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass
