"""What `local:` URIs name, and their options."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from streamfn.errors import ConfigurationError
from streamfn.local.queues import QueueOptions
from streamfn.local.schema import FILE
from streamfn.local.streams import StreamOptions

if TYPE_CHECKING:
    from streamfn.ports import Clock

_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}")


@dataclass(frozen=True, slots=True)
class Place:
    """A stream or a queue of one broker file, as a URI and the options beside it name it."""

    path: Path
    clock: Clock
    name: str
    is_queue: bool
    stream: StreamOptions
    queue: QueueOptions
    lease_time: float
    on_position_lost: str
    event_source_arn: str | None
    """What functions see as the source; None: an ARN of the broker's own."""


def parse(uri: str, options: Mapping[str, object]) -> Place:
    """`local:NAME`, `local:stream/NAME` or `local:queue/NAME`, with options behind a `?` or beside it.

    Raises ConfigurationError naming the option and the fix.
    """
    address, _, query = uri.partition("?")
    kind, slash, name = unquote(address.partition(":")[2]).rpartition("/")
    if not slash:
        kind = "stream"
    if kind not in ("stream", "queue") or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{uri!r} names no stream or queue: a name has letters, digits, dots, hyphens and underscores",
            field="Source",
            fix="write local:flights for a stream, or local:queue/orders for a queue",
        )
    given: dict[str, object] = {**options, **dict(parse_qsl(query, keep_blank_values=True))}
    path = (
        Path(str(given.pop("state_dir", None) or os.environ.get("STREAMFN_STATE_DIR") or ".streamfn")) / FILE
    )
    clock: Any = given.pop("clock", time.time)  # noqa: TID251 - where nobody gives one
    lost = str(given.pop("on_position_lost", "fail"))
    # Said to every source. Here a shard that is given back waits for its worker anyway, and the engine waits
    # for a window.
    for said in ("revoke_grace", "maximum_batching_window_in_seconds"):
        given.pop(said, None)
    known = _QUEUE if kind == "queue" else _STREAM
    values = {option: _value(uri, known, option, value) for option, value in given.items()}
    if lost not in _ON_POSITION_LOST:
        raise _wrong(uri, "on_position_lost", lost, f"one of {', '.join(_ON_POSITION_LOST)}")
    lease_time = values.pop("lease_time", 90.0)
    arn = values.pop("event_source_arn", None)
    return Place(
        path,
        clock,
        name,
        kind == "queue",
        StreamOptions() if kind == "queue" else StreamOptions(**values),
        QueueOptions(**values) if kind == "queue" else QueueOptions(),
        lease_time,
        lost,
        arn,
    )


def state_of(options: Mapping[str, object]) -> tuple[Path, Clock]:
    """The broker's file and the clock, by the options that every app gives."""
    clock: Any = options.get("clock", time.time)  # noqa: TID251 - where nobody gives one
    folder = options.get("state_dir") or os.environ.get("STREAMFN_STATE_DIR") or ".streamfn"
    return Path(str(folder)) / FILE, clock


_ON_POSITION_LOST: Final = ("fail", "trim_horizon", "latest")


def _count(value: object) -> int:
    number = int(str(value))
    if number < 1:
        raise ValueError
    return number


def _seconds(value: object) -> float:
    number = float(str(value))
    if not 0 <= number < 1e10:
        raise ValueError
    return number


def _flag(value: object) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]


def _queue_name(value: object) -> str:
    name = str(value).removeprefix("local:").removeprefix("queue/")
    if not _NAME.fullmatch(name):
        raise ValueError
    return name


def _arn(value: object) -> str:
    if len(str(value).split(":", 5)) < 6:
        raise ValueError
    return str(value)


_Reader = tuple[Callable[[object], Any], str]
_COUNT: Final[_Reader] = (_count, "a whole number above 0")
_SECONDS: Final[_Reader] = (_seconds, "seconds, as a number")
_EVENT_SOURCE_ARN: Final[Mapping[str, _Reader]] = {"event_source_arn": (_arn, "an ARN")}
_STREAM: Final[Mapping[str, _Reader]] = {
    **_EVENT_SOURCE_ARN,
    "shards": _COUNT,
    "retention": _SECONDS,
    "max_records": _COUNT,
    "max_bytes": _COUNT,
    "lease_time": (lambda value: max(0.1, _seconds(value)), "seconds, as a number"),
}
_QUEUE: Final[Mapping[str, _Reader]] = {
    **_EVENT_SOURCE_ARN,
    "visibility_timeout": _SECONDS,
    "delay": _SECONDS,
    "retention": _SECONDS,
    "max_receive_count": _COUNT,
    "dead_letter": (_queue_name, "the name of a queue"),
    "content_based_deduplication": (_flag, "true or false"),
}


def _value(uri: str, known: Mapping[str, _Reader], option: str, value: object) -> Any:
    if option not in known:
        near = get_close_matches(option, known, n=1)
        raise ConfigurationError(
            f"{uri!r} does not take the option {option!r}",
            field=option,
            fix=f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}",
        )
    read, what = known[option]
    try:
        return read(value)
    except (ValueError, KeyError) as error:
        raise _wrong(uri, option, value, what) from error


def _wrong(uri: str, option: str, value: object, what: str) -> ConfigurationError:
    return ConfigurationError(f"{uri!r}: {option} is {value!r}", field=option, fix=f"give {what}")
