"""An SNS topic as a destination."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Unpack

from streamfn.core.envelopes import without_payload
from streamfn.options import text, within
from streamfn_aws.api import Api
from streamfn_aws.destinations.destination import AwsDestination, format_of, named
from streamfn_aws.destinations.sending import Entry, Fault, Limits, faults_of
from streamfn_aws.destinations.texts import text_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.ports import Message
    from streamfn_aws.options import ConnectionOptions

_LARGEST = 262_144
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
"""By the beginning of their regions' names; all other regions are of `aws`."""


class SnsDestination(AwsDestination):
    """Sends to a topic, standard or FIFO: `sns://ACCOUNT/TOPIC` or its ARN. `sns://TOPIC` asks STS for the
    account.

    Headers, keys, `group` and `failure_format` as with `SqsDestination`, but that `AWSTraceHeader` is an
    attribute like others: topics have no system attributes. An on-failure record above `max_message_size`
    goes without its payloads, as on AWS; so does one of a success, which AWS would lose. Raise that size, to
    1 MiB at most, where the topic's MaximumMessageSize is above 256 KiB.
    """

    service = "sns"
    option_types: ClassVar[Mapping[str, type]] = {
        "group": str,
        "failure_format": str,
        "max_message_size": int,
    }

    def __init__(
        self,
        topic: str,
        *,
        group: str | None = None,
        failure_format: str = "metadata",
        max_message_size: int = _LARGEST,
        timeout: float = 15.0,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__(named(topic, "sns", "topic"), timeout, connection)
        self.failure_format = format_of(failure_format)
        self._group = None if group is None else text("group", group)
        self._fifo = self._resource.name.endswith(".fifo")
        self._largest = int(within("max_message_size", max_message_size, 1024, 2**20))
        self.limits = Limits(count=10, size=self._largest)

    @property
    def name(self) -> str:
        return f"sns://{self._resource.name}"

    def _entry(self, index: int, message: Message) -> Entry:
        if len(message.body) > self._largest:
            bare = without_payload(message.body, self._largest)
            message = message if bare is None else replace(message, body=bare)
        return text_entry(
            index, message, body="Message", group=self._group, fifo=self._fifo, largest=self._largest
        )

    async def _find(self, api: Api) -> str:
        if self._resource.arn is not None:
            return self._resource.arn
        account = self._resource.account or await self._account()
        return f"arn:{_partition(api.region)}:sns:{api.region}:{account}:{self._resource.name}"

    async def _account(self) -> str:
        elsewhere = self._connection.sts_endpoint_url or self._connection.endpoint_url
        async with Api.shared(replace(self._connection, endpoint_url=elsewhere), "sts") as sts:
            account: str = (await sts.call("GetCallerIdentity", {}))["Account"]
            return account

    async def _look(self, api: Api, address: str) -> None:
        await api.call("GetTopicAttributes", {"TopicArn": address})

    async def _post(self, api: Api, address: str, batch: Sequence[Entry]) -> Mapping[int, Fault]:
        sent = {"TopicArn": address, "PublishBatchRequestEntries": [entry.request for entry in batch]}
        answer = await api.call("PublishBatch", sent)
        return faults_of(self.name, "Publish", answer.get("Failed", ()))


def _partition(region: str) -> str:
    for prefix, partition in _PARTITIONS.items():
        if region.startswith(prefix):
            return partition
    return "aws"
