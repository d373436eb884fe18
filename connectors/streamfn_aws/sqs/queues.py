"""Finding a queue: its address, its ARN, and for how long it hides what was received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamfn_aws.api import Api
    from streamfn_aws.options import Resource


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as SQS knows it."""

    url: str
    arn: str
    visibility_timeout: float
    """Seconds."""

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def fifo(self) -> bool:
        return self.arn.endswith(".fifo")


async def find_queue(api: Api, resource: Resource) -> Queue:
    """The queue that a name stands for, in another's account where one is given.

    Raises ServiceError, OSError.
    """
    asked: dict[str, Any] = {"QueueName": resource.name}
    if resource.account is not None:
        asked["QueueOwnerAWSAccountId"] = resource.account
    url: str = (await api.call("GetQueueUrl", asked))["QueueUrl"]
    wanted = {"QueueUrl": url, "AttributeNames": ["QueueArn", "VisibilityTimeout"]}
    attributes = (await api.call("GetQueueAttributes", wanted))["Attributes"]
    return Queue(url, attributes["QueueArn"], float(attributes["VisibilityTimeout"]))
