"""The exceptions of streamfn.

StreamfnError
├─ ConfigurationError      your configuration is wrong: names the place, the field and the fix
│  ├─ MissingExtra         a connector's client library is not installed
│  └─ InvalidPattern       an event pattern is not valid: says what, in AWS's words, and where
├─ ShardLost               a shard is no longer this worker's: nothing more may be committed
├─ ShardClosed             a shard has ended: all its records were read
├─ SourceError             a source cannot be read; says whether to try again
│  └─ PositionLost         records between the checkpoint and the oldest kept one are gone
├─ PreconditionFailed      a version or an alias was changed by somebody else since it was read
├─ InvalidRequestContent   what a function is to be invoked with is no JSON
├─ PayloadTooLarge         a payload is above what the destination, or an invocation, takes
├─ SequenceFull            as many records as may be wait behind dead letters of their keys
└─ TooManyRequests         an invocation could not begin: try later; functions may raise it, too
"""

from __future__ import annotations


class StreamfnError(Exception):
    """All errors of streamfn."""


class ConfigurationError(StreamfnError):
    """Something in the configuration is wrong.

    `where` is the place (file and line, or the call), `field` the option in AWS's spelling, `fix` what to do.
    """

    def __init__(self, problem: str, *, field: str = "", where: str = "", fix: str = "") -> None:
        self.problem, self.field, self.where, self.fix = problem, field, where, fix
        line = "".join(f"{part}: " for part in (where, field) if part) + " ".join(problem.split())
        if fix:
            line += f"{'' if line.endswith(('.', ':', '?')) else '.'} Fix: {fix}"
        super().__init__(line)


class MissingExtra(ConfigurationError):
    """A connector needs a package that is not installed."""


class UnknownKind(ConfigurationError):
    """A URI or an ARN names a kind that no installed package offers."""


class InvalidPattern(ConfigurationError):
    """An event pattern is not valid: `reason` says why, in AWS's words where AWS has some.

    `place` is the path of the key (`detail.state`), or line and column where the text is not JSON; `problem`
    is the whole sentence as EventBridge answers it.
    """

    def __init__(self, reason: str, place: str = "") -> None:
        self.reason, self.place = reason, place
        super().__init__(f"Event pattern is not valid. Reason: {reason}", field=place)


class ShardLost(StreamfnError):
    """The shard belongs to another worker now: stop at once and commit nothing."""


class ShardClosed(StreamfnError):
    """The end of a shard: every record it will ever have was read."""


class SourceError(StreamfnError):
    """A source cannot be read."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(message)


class PositionLost(SourceError):
    """The records after the checkpoint were removed before they were read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class InvalidRequestContent(StreamfnError):
    """A payload is no JSON."""


class PayloadTooLarge(StreamfnError):
    """A payload is larger than its destination, or an invocation, takes."""


class SequenceFull(StreamfnError):
    """No more records may wait behind dead letters of their keys."""


class TooManyRequests(StreamfnError):
    """Raise it from a function that cannot begin now: the batch comes again later and no attempt is spent.

    Synchronous invocations raise it where no place is free.
    """

    def __init__(
        self, message: str = "Rate Exceeded.", *, retry_after: float = 0.0, reason: str = ""
    ) -> None:
        self.retry_after = retry_after
        self.reason = reason
        """Lambda's word for what was exceeded, where a synchronous invocation found no place."""
        super().__init__(message)
