"""A queue of SQS as a store of dead letters."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import anyio
import structlog

from streamfn.errors import SourceError
from streamfn.options import within
from streamfn_aws.errors import ServiceError, reading
from streamfn_aws.letters.asking import Asked, patiently
from streamfn_aws.letters.naming import STORE, named, split_uri
from streamfn_aws.letters.notifications import stored_of
from streamfn_aws.options import Connection, ConnectionOptions
from streamfn_aws.sqs.queues import Queue, find_queue
from streamfn_aws.sqs.records import ReceivedMessage
from streamfn_aws.sqs.settling import ENTRIES, Settling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streamfn.core.letters import Stored
    from streamfn_aws.api import Api

_log = structlog.get_logger("streamfn.sqs")

_TYPES: Final[Mapping[str, type]] = {"visibility_timeout": int, "wait_time_seconds": int}

MOST: Final = 100_000
"""Messages in hand. SQS lets no queue have more than 120,000 of them in flight."""

_AT_ONCE: Final = 8
"""Receives under way, while messages come."""

_EMPTY: Final = 2
"""Receives in a row that brought nothing: then there is no more."""

_ANSWER: Final = 10.0
"""Seconds that an answer may take beyond what was asked to be waited for."""

_GOODBYE: Final = 30.0
"""Seconds in which what a scan had in hand is given back."""


class SqsLetters:
    """The messages of a queue, standard or FIFO, as dead letters: `sqs://NAME`, `sqs://ACCOUNT/NAME` or its
    ARN.

    SQS shows messages only by handing them out. What a scan has in hand is hidden from all others for
    `visibility_timeout` seconds, which is better longer than the work on it takes, or until `close` gives it
    back. Each scan counts as a receive: a queue that has a redrive policy of its own moves messages on that
    were looked at too often. `wait_time_seconds`: how long each receive waits; twice nothing is the end.

    A scan has 100,000 letters in hand at most. Of a FIFO queue it sees what SQS hands out, which of a group
    with messages in hand is no more until those are removed: a redrive looks again then. What a scan could
    not see, and what is hidden when the first one begins, is told of in the log.

    Letters that came by a topic of SNS are seen as they were before that: see `letters.notifications`.
    """

    removes = True

    def __init__(
        self,
        queue: str,
        *,
        visibility_timeout: int = 600,
        wait_time_seconds: int = 1,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self._resource = named(queue, "sqs", STORE)
        self._hidden = int(within("visibility_timeout", visibility_timeout, 1, 43_200))
        self._wait = int(within("wait_time_seconds", wait_time_seconds, 0, 20))
        self._asked = Asked(Connection.of(connection, self._resource.region), "sqs", self.name)
        self._queue: Queue | None = None
        self.saw_all = True
        """Whether the last scan has shown all there was."""
        self._looked = False
        self._held: dict[str, str] = {}
        """What was received and is neither removed nor given back: the receipts, the newest of each."""

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, object]) -> Self:
        """`sqs://NAME`, `sqs://ACCOUNT/NAME` or the ARN, with the options of the class as `?option=value`.

        Raises ConfigurationError naming the option and the fix.
        """
        place, given = split_uri(uri, STORE, _TYPES)
        return cls(place, **given)

    @property
    def name(self) -> str:
        return f"sqs://{self._resource.name}"

    def __repr__(self) -> str:
        return f"<SqsLetters {self.name}>"

    async def scan(self) -> AsyncIterator[Stored]:
        """All letters, each once; with a standard queue in no order. Raises SourceError."""
        self.saw_all = True
        api, queue = await self._found()
        await self._give_back(api, queue)
        if not self._looked:
            self._looked = True
            await self._look_for_hidden(api, queue)
        seen: set[str] = set()
        at_once, empty = 1, 0
        while empty < _EMPTY:
            if len(self._held) >= MOST:
                self.saw_all = False
                reason = f"{len(self._held)} letters are in hand, of which SQS allows no more"
                _tell_unseen(self.name, reason, "remove or redrive those in hand, and scan again")
                return
            received = await self._receive(api, queue, at_once)
            # One receive after the other keeps the order that a FIFO queue has.
            at_once = min(2 * at_once, _AT_ONCE) if received and not queue.fifo else 1
            empty = 0 if received else empty + 1
            for message in received:
                if message.id not in seen:
                    seen.add(message.id)
                    yield stored_of(message)
        if queue.fifo and self._held:
            await self._look_behind(api, queue)

    async def remove(self, letters: Sequence[Stored]) -> None:
        """Deletes letters of a scan; durable when it returns. Raises SourceError."""
        api, queue = await self._found()
        receipts = [self._held.get(letter.id, letter.receipt) for letter in letters]
        deletes = Settling(api, "DeleteMessageBatch", queue.url, self.name)
        await deletes.do([{"ReceiptHandle": receipt} for receipt in receipts])
        for letter in letters:
            self._held.pop(letter.id, None)

    async def purge(self) -> None:
        """Deletes all messages, those that others have in hand too; SQS does not tell how many. It takes up
        to a minute, in which some may still be seen. Raises SourceError.
        """
        api, queue = await self._found()
        with reading(self.name):
            try:
                await patiently(partial(api.call, "PurgeQueue", {"QueueUrl": queue.url}))
            except ServiceError as error:
                if error.code != "PurgeQueueInProgress":
                    raise
                raise SourceError(
                    f"{self.name}: it was purged less than 60 seconds ago, which is how often SQS does so. "
                    "Fix: try again in a minute"
                ) from error
        self._held.clear()

    async def close(self) -> None:
        """Gives back what a scan had in hand, to be received by others at once, and lets connections go.

        What cannot be given back is told of in the log: it comes when its visibility timeout is over.
        """
        with anyio.CancelScope(shield=True):
            reason = f"not within {_GOODBYE:g} s"
            try:
                with anyio.move_on_after(_GOODBYE):
                    if self._held:
                        await self._give_back(*await self._found())
            except SourceError as error:
                reason = str(error)
            if self._held:
                _log.warning("letters_stay_hidden", queue=self.name, seconds=self._hidden, reason=reason)
                self._held.clear()
            await self._asked.close()

    async def _found(self) -> tuple[Api, Queue]:
        api = await self._asked.api()
        if self._queue is None:
            with reading(self.name):
                self._queue = await patiently(partial(find_queue, api, self._resource))
        return api, self._queue

    async def _give_back(self, api: Api, queue: Queue) -> None:
        releases = Settling(api, "ChangeMessageVisibilityBatch", queue.url, self.name)
        held = self._held.values()
        await releases.do([{"ReceiptHandle": receipt, "VisibilityTimeout": 0} for receipt in held])
        self._held.clear()

    async def _receive(self, api: Api, queue: Queue, at_once: int) -> list[ReceivedMessage]:
        """What some receives bring, all of them at the same time."""
        received: list[ReceivedMessage] = []
        errors: list[Exception] = []

        async def receive() -> None:
            try:
                received.extend(await patiently(partial(self._receive_some, api, queue)))
            except (ServiceError, OSError) as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(receive)
        if errors:
            with reading(self.name):
                raise errors[0]
        return received

    async def _receive_some(self, api: Api, queue: Queue) -> list[ReceivedMessage]:
        asked: dict[str, Any] = {
            "QueueUrl": queue.url,
            "MaxNumberOfMessages": ENTRIES,
            "VisibilityTimeout": self._hidden,
            "WaitTimeSeconds": self._wait,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        if queue.fifo:
            # An answer that got lost is given again, and its groups are not blocked meanwhile.
            asked["ReceiveRequestAttemptId"] = str(uuid.uuid4())
        # What SQS hands to a call that was cancelled would stay hidden.
        with anyio.CancelScope(shield=True):
            answer = await api.call("ReceiveMessage", asked, patience=self._wait + _ANSWER)
        messages = [ReceivedMessage(message) for message in answer.get("Messages") or ()]
        self._held |= {message.id: message.receipt for message in messages}
        return messages

    async def _look_behind(self, api: Api, queue: Queue) -> None:
        left = await self._number(api, queue, "ApproximateNumberOfMessages")
        if left:
            self.saw_all = False
            reason = f"some {left} letters wait behind those of their groups that are in hand"
            _tell_unseen(self.name, reason, "remove or redrive those in hand, and scan again")

    async def _look_for_hidden(self, api: Api, queue: Queue) -> None:
        """What is in flight before we have looked: of a process that was killed, above all."""
        hidden = await self._number(api, queue, "ApproximateNumberOfMessagesNotVisible")
        if hidden:
            reason = f"some {hidden} letters are in the hands of others, or of a scan that was killed"
            _tell_unseen(self.name, reason, "scan again when their visibility timeout is over")

    async def _number(self, api: Api, queue: Queue, name: str) -> int:
        asked = {"QueueUrl": queue.url, "AttributeNames": [name]}
        with reading(self.name):
            answer = await patiently(partial(api.call, "GetQueueAttributes", asked))
        return int(answer["Attributes"][name])


def _tell_unseen(name: str, reason: str, fix: str) -> None:
    _log.warning("letters_not_seen", queue=name, reason=reason, fix=fix)
