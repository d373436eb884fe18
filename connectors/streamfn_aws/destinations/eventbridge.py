"""An event bus of EventBridge as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Unpack

import orjson

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

_OF_THE_SERVICE: Final = frozenset({"InternalFailure", "InternalException", "ThrottlingException"})


class EventBridgeDestination(AwsDestination):
    """Puts events on a bus: `eventbridge://BUS` (or `events://BUS`) or its ARN.

    A message's body is the `detail` and has to be a JSON object; `source` and `detail_type` are those of all
    events. Neither keys nor headers have a place in an event.
    """

    service = "events"
    limits = Limits(count=10, size=_LARGEST)
    option_types: ClassVar[Mapping[str, type]] = {"source": str, "detail_type": str}
    failure_format = FailureFormat.RECORD

    def __init__(
        self,
        bus: str,
        *,
        source: str = "streamfn",
        detail_type: str = "Record",
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(named(bus, "events", "event bus", "event-bus/"), timeout, connection)
        self._source = text("source", source)
        self._detail_type = text("detail_type", detail_type)
        self._around = len(self._source.encode()) + len(self._detail_type.encode())

    @property
    def name(self) -> str:
        return f"eventbridge://{self._resource.name}"

    def _entry(self, index: int, message: Message) -> Entry:
        try:
            is_object = isinstance(orjson.loads(message.body), dict)
        except orjson.JSONDecodeError:
            is_object = False
        if not is_object:
            raise Refused("the body is no JSON object, which the detail of an event has to be")
        size = self._around + len(message.body)
        if size > _LARGEST:
            raise Refused(f"{size} bytes, above the {_LARGEST} that are taken")
        event = {"Source": self._source, "DetailType": self._detail_type, "Detail": message.body.decode()}
        return Entry(index, event, size)

    async def _look(self, api: Api, address: str) -> None:
        await api.call("DescribeEventBus", {"Name": address})

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        events = [{**entry.request, "EventBusName": address} for entry in batch]
        answer = await api.call("PutEvents", {"Entries": events})
        return {
            entry.index: fault_of(self.name, _error(said))
            for entry, said in zip(batch, answer["Entries"], strict=True)
            if said.get("ErrorCode")
        }


def _error(said: Mapping[str, str]) -> ServiceError:
    code = said["ErrorCode"]
    status = 500 if code in _OF_THE_SERVICE else 400
    return ServiceError("PutEvents", code, said.get("ErrorMessage", ""), status)
