"""What a caller sends along with a synchronous invocation, as Lambda's Python runtime has it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import orjson

T = TypeVar("T")


@dataclass(slots=True)
class Client:
    """The caller's program. What was not sent is None."""

    installation_id: Any = None
    app_title: Any = None
    app_version_name: Any = None
    app_version_code: Any = None
    app_package_name: Any = None


@dataclass(slots=True)
class ClientContext:
    """The parts of a client context. What was not sent is None."""

    custom: Any = None
    env: Any = None
    client: Client | None = None


def client_context_of(text: str) -> ClientContext | None:
    """A client context out of its JSON; None where there is none. Raises ValueError for what is no JSON."""
    sent = orjson.loads(text) if text else None
    if sent is None:
        return None
    found = _made(ClientContext, sent)
    if found.client is not None:
        found.client = _made(Client, found.client)
    return found


def _made(of: type[T], sent: Any) -> T:
    """Its own members; others are nobody's business."""
    known = sent if isinstance(sent, dict) else {}
    return of(**{field.name: known.get(field.name) for field in fields(of)})  # type: ignore[arg-type]
