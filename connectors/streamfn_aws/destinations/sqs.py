"""An SQS queue as a destination."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from streamfn.core.lineage import TRACE_HEADER
from streamfn.options import text
from streamfn_aws.destinations.destination import AwsDestination, format_of, named
from streamfn_aws.destinations.sending import Entry, Fault, Limits, faults_of
from streamfn_aws.destinations.texts import text_entry, traced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Message
    from streamfn_aws.api import Api
    from streamfn_aws.options import ConnectionOptions

_LARGEST = 2**20
"""Bytes of a message and of a call (SendMessageBatch)."""


class SqsDestination(AwsDestination):
    """Sends to a queue, standard or FIFO: `sqs://NAME`, `sqs://ACCOUNT/NAME` or its ARN.

    Headers become message attributes, but for `AWSTraceHeader`, which is a system attribute and is not one of
    the ten. `ErrorCode` is a number where it looks like one, as in Lambda's dead-letter queues. A message's
    key, or else `group`, is its MessageGroupId, by which FIFO queues keep order; without either all are one
    group there. A header `MessageDeduplicationId` is that; without one it is the SHA-256 of the body, as with
    ContentBasedDeduplication: of equal bodies within five minutes one arrives.

    `failure_format`: metadata, as on AWS, payload or record. On AWS no FIFO queue can take failures,
    nor records of asynchronous invocations.
    """

    service = "sqs"
    limits = Limits(count=10, size=_LARGEST)
    option_types: ClassVar[Mapping[str, type]] = {"group": str, "failure_format": str}

    def __init__(
        self,
        queue: str,
        *,
        group: str | None = None,
        failure_format: str = "metadata",
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(named(queue, "sqs", "queue"), timeout, connection)
        self.failure_format = format_of(failure_format)
        self._group = None if group is None else text("group", group)
        self._fifo = self._resource.name.endswith(".fifo")

    @property
    def name(self) -> str:
        return f"sqs://{self._resource.name}"

    def _entry(self, index: int, message: Message) -> Entry:
        trace, headers = traced(message.headers)
        entry = text_entry(
            index,
            replace(message, headers=headers),
            body="MessageBody",
            group=self._group,
            fifo=self._fifo,
            largest=_LARGEST,
        )
        if trace is None:
            return entry
        attribute = {"DataType": "String", "StringValue": trace}
        system = {"MessageSystemAttributes": {TRACE_HEADER: attribute}}
        return replace(entry, request={**entry.request, **system})

    async def _find(self, api: Api) -> str:
        asked: dict[str, Any] = {"QueueName": self._resource.name}
        if self._resource.account is not None:
            asked["QueueOwnerAWSAccountId"] = self._resource.account
        url: str = (await api.call("GetQueueUrl", asked))["QueueUrl"]
        return url

    async def _look(self, api: Api, address: str) -> None:
        """To have found it is enough."""

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        sent = {"QueueUrl": address, "Entries": [entry.request for entry in batch]}
        answer = await api.call("SendMessageBatch", sent)
        return faults_of(self.name, "SendMessage", answer.get("Failed", ()))
