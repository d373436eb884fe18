"""The one place where logging is set up: structlog, and the standard library's loggers through it."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("json", "console")

_CHATTY: Final = ("aiokafka", "botocore", "aiobotocore", "asyncio", "urllib3")
"""Libraries whose `info` is for their own developers."""


def configure(level: str = "info", form: str | None = None) -> None:
    """Sends every log line to standard error: JSON, one object a line, or for people.

    Without a format it is `console` on a terminal and `json` elsewhere.
    """
    import structlog

    threshold = logging.getLevelNamesMapping()[level.upper()]
    console = (form or ("console" if sys.stderr.isatty() else "json")) == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    render = _for_people() if console else _as_json()
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    standard = logging.StreamHandler(sys.stderr)
    standard.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [standard]
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _as_json() -> list[Processor]:
    import structlog

    return [structlog.processors.format_exc_info, _json]


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    import orjson

    options = orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(event, default=_plain, option=options).decode()
    except TypeError:
        # A line that cannot be rendered would be lost with what it had to say.
        return orjson.dumps(_renderable(event), default=_plain, option=options).decode()


def _renderable(value: Any) -> Any:
    """The value, with what JSON encoders refuse as text: integers beyond 64 bits, lone surrogates."""
    match value:
        case dict():
            return {_renderable(name): _renderable(part) for name, part in value.items()}
        case list() | tuple():
            return [_renderable(part) for part in value]
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case _:
            return value


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def _for_people() -> list[Processor]:
    import structlog

    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # rich's tracebacks show local variables: slow, and not for logs.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]
