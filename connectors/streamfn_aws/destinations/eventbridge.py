"""An event bus of EventBridge as a destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import orjson

from streamfn.core.outcomes import Condition
from streamfn.options import text
from streamfn.ports import FailureFormat, Message
from streamfn_aws.destinations.destination import AwsDestination, named
from streamfn_aws.destinations.sending import Entry, Fault, Limits, Refused, fault_of
from streamfn_aws.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn_aws.api import Api
    from streamfn_aws.options import ConnectionOptions

_LARGEST: Final = 2**20
"""Bytes of an entry and of a call (PutEvents: entries of 1 MB in all)."""
_BUS_ARN: Final = 80
"""More than an ARN of a bus has beside its name, in any region: they begin like
`arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/`.
"""

_OF_THE_SERVICE: Final = frozenset({"InternalFailure", "InternalException", "ThrottlingException"})


class EventBridgeDestination(AwsDestination):
    """Puts events on a bus: `eventbridge://BUS` (or `events://BUS`) or its ARN.

    A message's body is the `detail` and has to be a JSON object. Neither keys nor headers have a place in an
    event. `source` and `detail_type` are those of all events; without them `streamfn` and `Record`, but of a
    record of an asynchronous invocation those of AWS: `lambda` and `Lambda Function Invocation Result -
    Success` or `- Failure`. Its `resources` are the bus and the function. To name the bus there, one that is
    not given as an ARN is asked for once, by DescribeEventBus.
    """

    service = "events"
    limits = Limits(count=10, size=_LARGEST)
    option_types: ClassVar[Mapping[str, type]] = {"source": str, "detail_type": str}
    failure_format = FailureFormat.RECORD

    def __init__(
        self,
        bus: str,
        *,
        source: str | None = None,
        detail_type: str | None = None,
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(named(bus, "events", "event bus", "event-bus/"), timeout, connection)
        self._source = None if source is None else text("source", source)
        self._detail_type = None if detail_type is None else text("detail_type", detail_type)
        self._arn = self._resource.arn
        self._asking = asyncio.Lock()

    @property
    def name(self) -> str:
        return f"eventbridge://{self._resource.name}"

    def _entry(self, index: int, message: Message) -> Entry:
        try:
            detail = orjson.loads(message.body)
        except orjson.JSONDecodeError:
            detail = None
        if not isinstance(detail, dict):
            raise Refused("the body is no JSON object, which the detail of an event has to be")
        function = _invoked(detail)
        source, detail_type = "streamfn", "Record"
        if function is not None:
            source, detail_type = "lambda", _detail_type(detail)
        event: dict[str, Any] = {
            "Source": self._source or source,
            "DetailType": self._detail_type or detail_type,
            "Detail": message.body.decode(),
        }
        size = sum(len(part.encode()) for part in event.values())
        if function is not None:
            event["Resources"] = [function]
            size += len(function.encode()) + len(self._arn or self._resource.name) + _BUS_ARN
        if size > _LARGEST:
            raise Refused(f"{size} bytes, above the {_LARGEST} that are taken")
        return Entry(index, event, size)

    async def _look(self, api: Api, address: str) -> None:
        await api.call("DescribeEventBus", {"Name": address})

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        events = [{**entry.request, "EventBusName": address} for entry in batch]
        for event in events:
            if "Resources" in event:
                event["Resources"] = [await self._bus_arn(api, address), *event["Resources"]]
        answer = await api.call("PutEvents", {"Entries": events})
        return {
            entry.index: fault_of(self.name, _error(said))
            for entry, said in zip(batch, answer["Entries"], strict=True)
            if said.get("ErrorCode")
        }

    async def _bus_arn(self, api: Api, address: str) -> str:
        async with self._asking:
            if self._arn is None:
                found: str = (await api.call("DescribeEventBus", {"Name": address}))["Arn"]
                self._arn = found
            return self._arn


def _invoked(detail: Mapping[str, Any]) -> str | None:
    """The function, if it is a record of an asynchronous invocation."""
    context = detail.get("requestContext")
    if not isinstance(context, dict) or "condition" not in context or "requestPayload" not in detail:
        return None
    return str(context.get("functionArn", ""))


def _detail_type(record: Mapping[str, Any]) -> str:
    succeeded = record["requestContext"]["condition"] == Condition.SUCCESS.value
    return f"Lambda Function Invocation Result - {'Success' if succeeded else 'Failure'}"


def _error(said: Mapping[str, str]) -> ServiceError:
    code = said["ErrorCode"]
    status = 500 if code in _OF_THE_SERVICE else 400
    return ServiceError("PutEvents", code, said.get("ErrorMessage", ""), status)
