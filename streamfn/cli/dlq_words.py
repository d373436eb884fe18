"""Dead letters in words: tables, and all of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from streamfn.cli.dlq import age, clock
from streamfn.cli.table import table
from streamfn.core.letters import Form
from streamfn.core.rendering import iso_millis
from streamfn.letters.statistics import ranked

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from streamfn.core.letters import Letter
    from streamfn.letters import Found, Statistics

_WIDEST = 60
"""Characters of a message in the table, and rows of one that counts."""


def listed(shown: Sequence[Found]) -> str:
    """A line for each."""
    now = clock()
    waits = any(found.letter.behind for found in shown)
    ended = any(found.entry for found in shown)
    heads = ["ID", "AGE", "FUNCTION", "MAPPING", "ERROR", "ATTEMPTS", "REDRIVES"]
    heads += [*(("BEHIND",) if waits else ()), *(("DONE",) if ended else ()), "MESSAGE"]
    cells = [
        (
            letter.id,
            age(letter.at, now),
            letter.function,
            letter.mapping,
            letter.error,
            letter.attempts,
            letter.redrives,
            *((letter.behind,) if waits else ()),
            *((None if found.entry is None else found.entry.done.value,) if ended else ()),
            _short(letter),
        )
        for found in shown
        for letter in (found.letter,)
    ]
    return clean(table(heads, cells))


def _short(letter: Letter) -> str | None:
    """The error's message, or of a letter without one what it holds."""
    text = letter.error_message
    if text is None and letter.error is None and letter.content is not None:
        text = letter.content.value.decode("utf-8", "replace")
    if text is None:
        return None
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..."


def row(found: Found) -> dict[str, Any]:
    """What the table says, for JSON."""
    letter = found.letter
    return {
        "id": letter.id,
        "form": letter.form.value,
        "at": None if letter.at is None else iso_millis(letter.at),
        "function": letter.function,
        "mapping": letter.mapping,
        "source": letter.source,
        "condition": letter.condition,
        "errorType": letter.error_type,
        "errorMessage": letter.error_message,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "behind": letter.behind,
        "requestId": letter.request_id,
        "done": None if found.entry is None else found.entry.done.value,
    }


def whole(found: Found) -> Any:
    """What patterns see. Where that is not all, the bytes as text."""
    stored, letter = found.stored, found.letter
    return letter.view() | {
        "stored": {
            "id": stored.id,
            "storedAt": None if stored.stored_at is None else iso_millis(stored.stored_at),
            "key": None if stored.key is None else clean(stored.key),
            "headers": [[clean(name), value.decode("utf-8", "replace")] for name, value in stored.headers],
            "cameFrom": stored.came_from,
        },
        **({} if letter.document is not None else {"body": stored.body.decode("utf-8", "replace")}),
    }


def readable(found: Found) -> str:
    """All of a letter, for people."""
    letter = found.letter
    said = row(found)
    lines = [
        f"{name:<13} {value}"
        for name, value in (
            ("id", letter.id),
            ("form", said["form"]),
            ("given up", said["at"]),
            ("function", letter.function),
            ("mapping", letter.mapping),
            ("source", letter.source),
            ("condition", letter.condition),
            ("attempts", letter.attempts),
            ("redrives", letter.redrives or None),
            ("behind", letter.behind or None),
            ("request id", letter.request_id),
            ("done", _done(found)),
            *_envelope(letter.document),
            *_content(letter),
        )
        if value is not None
    ]
    if letter.error_type or letter.error_message:
        lines += ["", f"{letter.error_type or 'error'}: {letter.error_message or ''}".rstrip()]
        lines += [f"  {line}" for frame in _stack(letter.document) for line in frame.splitlines()]
    if letter.batch_info is not None and letter.event is None:
        lines += ["", f"{letter.batch_info[0]}, to be fetched back", pretty(letter.batch_info[1])]
    if letter.event is not None:
        lines += ["", "event", pretty(letter.event)]
    elif letter.document is None and letter.content is not None:
        lines += ["", "body", letter.content.value.decode("utf-8", "replace")]
    if letter.contents() and letter.form is not Form.MESSAGE:
        lines += ["", "data", pretty(letter.view()["data"])]
    return "\n".join(clean(line) for line in lines) + "\n"


def _done(found: Found) -> str | None:
    entry = found.entry
    return None if entry is None else f"{entry.done.value} by run {entry.run} at {iso_millis(entry.at)}"


def _envelope(document: Any) -> list[tuple[str, Any]]:
    dead = document.get("deadLetter") if isinstance(document, dict) else None
    dead = dead if isinstance(dead, dict) else {}
    return [
        ("app", dead.get("app")),
        ("shard", dead.get("shard")),
        ("record", dead.get("recordId")),
        ("arrived", dead.get("arrivedAt")),
        ("trace", dead.get("trace")),
    ]


def _content(letter: Letter) -> list[tuple[str, Any]]:
    if letter.content is None:
        return []
    headers = [
        ("header", f"{name}: {value.decode('utf-8', 'replace')}") for name, value in letter.content.headers
    ]
    return [("key", letter.content.key), *headers]


def _stack(document: Any) -> list[str]:
    if not isinstance(document, dict):
        return []
    for place in (document.get("deadLetter"), document.get("responsePayload")):
        error = place.get("error", place) if isinstance(place, dict) else None
        stack = error.get("stackTrace") if isinstance(error, dict) else None
        if isinstance(stack, list) and stack:
            return [str(frame) for frame in stack]
    return []


def counts(counted: Statistics, store: str) -> str:
    """A table for each thing that is counted by."""
    now = clock()
    text = f"{counted.letters:,} dead letter{'' if counted.letters == 1 else 's'} in {store}"
    if counted.oldest is not None and counted.newest is not None:
        text += f": the oldest {age(counted.oldest, now)} old, the newest {age(counted.newest, now)}"
    parts = [text + "\n"]
    if counted.behind:
        parts.append(
            f"{counted.behind:,} {'record waits' if counted.behind == 1 else 'records wait'} behind them\n"
        )
    if counted.letters:
        for head, counter in (
            ("ERROR", counted.by_error),
            ("FUNCTION", counted.by_function),
            ("MAPPING", counted.by_mapping),
            ("SOURCE", counted.by_source),
        ):
            parts.append("\n" + table((head, "LETTERS"), _ranked(counter)))
        hours = sorted(counted.by_hour.items(), key=lambda item: item[0] or "")
        parts.append("\n" + table(("HOUR (UTC)", "LETTERS"), hours))
    return "".join(parts)


def _ranked(counter: Counter[str | None]) -> list[tuple[str | None, int]]:
    rows = ranked(counter)
    if len(rows) > _WIDEST:
        rest = sum(number for _, number in rows[_WIDEST:])
        rows = [*rows[:_WIDEST], (f"and {len(rows) - _WIDEST:,} more", rest)]
    return rows


def pretty(value: Any) -> str:
    """JSON over many lines."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if _is_text(text) else json.dumps(value, indent=2)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """Text that any terminal takes: what is no Unicode becomes a question mark, controls are escaped."""
    shown = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in shown)
