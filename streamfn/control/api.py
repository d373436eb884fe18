"""The Lambda API as one function from request to answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from streamfn.control.constraints import Constraints
from streamfn.control.errors import ApiError, invalid
from streamfn.control.parsing import RequestParser
from streamfn.control.rendering import ResponseRenderer, refusal
from streamfn.control.routing import Router
from streamfn.control.service import service_model
from streamfn.core.admission import InvalidConcurrency
from streamfn.core.versions import PreconditionFailed
from streamfn.errors import ConfigurationError, InvalidRequestContent, PayloadTooLarge, TooManyRequests
from streamfn.telemetry import logger

if TYPE_CHECKING:
    from streamfn.control.messages import HttpRequest, HttpResponse
    from streamfn.control.plane import Identity, Operation, Operations, Params
    from streamfn.control.routing import Route
    from streamfn.control.service import OperationModel

_LARGE: Final = 1 << 20
"""Bytes of a body from which it is read beside the loop: zip files in JSON take their time."""
_REMEMBERED: Final = 256
"""Heads of requests that are known at a time."""
_MEMORABLE: Final = 1024
"""Characters of what is remembered of one."""


class _Endpoint:
    """One operation with what reads its requests and writes its answers."""

    def __init__(self, model: OperationModel, operation: Operation) -> None:
        self._model = model
        self._operation = operation
        self._parser = RequestParser(model)
        self._constraints = Constraints(model)
        self._renderer = ResponseRenderer(model)
        self._blob = self._parser.blob
        self._known: dict[tuple[str | bool | None, ...], Params] = {}
        """What heads of requests say, where the body says nothing but itself: invocations are alike."""

    async def answer(self, route: Route, request: HttpRequest) -> HttpResponse:
        if self._blob is not None:
            params = self._with_blob(self._blob, route, request)
        elif len(request.body) < _LARGE:
            params = self._params(route, request)
        else:
            params = await anyio.to_thread.run_sync(self._params, route, request)
        return self._renderer.render(await self._operation(params))

    def _params(self, route: Route, request: HttpRequest) -> Params:
        params = self._parser.parse(route.values, route.query, request.headers, request.body)
        self._constraints.check(params)
        return params

    def _with_blob(self, blob: str, route: Route, request: HttpRequest) -> Params:
        texts = map(request.headers.get, self._parser.headers)
        key = (request.path, request.query, not request.body, *texts)
        params = self._known.get(key)
        if params is None:
            params = self._params(route, request)
            if sum(len(text) for text in key if isinstance(text, str)) <= _MEMORABLE:
                if len(self._known) == _REMEMBERED:
                    self._known.clear()
                self._known[key] = {name: value for name, value in params.items() if name != blob}
            return params
        return {**params, blob: request.body} if request.body else params


class LambdaApi:
    """Answers requests to Lambda's API: a Handler.

    Whatever is asked is answered: what is wrong with it in AWS's words, and what breaks here is logged and
    answered by ServiceException. Raises MissingExtra where botocore is not installed.
    """

    def __init__(self, operations: Operations, identity: Identity) -> None:
        models = service_model().operations
        self.identity = identity
        self._router = Router(models.values())
        # An older botocore does not know the newest operations.
        known = operations.keys() & models.keys()
        self._endpoints = {name: _Endpoint(models[name], operations[name]) for name in known}

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            route = self._router.route(request.method, request.path, request.query)
            name = route.operation.name
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                raise invalid(f"{name} is not supported by streamfn.")
            return await endpoint.answer(route, request)
        except Exception as error:  # noqa: BLE001 - an answer is owed, and none is lost: see said
            return refusal(said(error, request))


def said(error: Exception, request: HttpRequest) -> ApiError:
    """What the client is told of an error. One that nobody foresaw is logged."""
    match error:
        case ApiError():
            return error
        case ConfigurationError():
            return invalid(_sentence(error))
        case InvalidConcurrency():
            return invalid(str(error))
        case PreconditionFailed():
            return ApiError("PreconditionFailedException", str(error))
        case InvalidRequestContent():
            return ApiError("InvalidRequestContentException", str(error))
        case PayloadTooLarge():
            return ApiError("RequestTooLargeException", str(error))
        case TooManyRequests():
            return _throttled(error)
        case OSError():
            logger()[0].warning("%s %s: %s", request.method, request.path, error)
            return ApiError("ServiceException", f"Something could not be stored or reached: {error}")
        case _:
            pass
    logger()[0].error("%s %s has failed", request.method, request.path, exc_info=error)
    return ApiError("ServiceException", f"{type(error).__name__} in the service; its log says more.")


def _sentence(error: ConfigurationError) -> str:
    """The problem alone where it is a sentence of AWS's; what only continues the name of a field has it."""
    if error.field and error.problem[:1].islower():
        return f"{error.field}: {error.problem}"
    return error.problem


def _throttled(error: TooManyRequests) -> ApiError:
    members: dict[str, Any] = {}
    if error.retry_after:
        members["retryAfterSeconds"] = math.ceil(error.retry_after)
    if error.reason:
        members["Reason"] = error.reason
    return ApiError("TooManyRequestsException", str(error), **members)
