"""`streamfn mappings`: what running workers do, and pausing and resuming what they do."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.cli import CLEAN, remote
from streamfn.cli.control import ask
from streamfn.cli.table import table
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

_HEADS = ("NAME", "STATE", "FUNCTION", "SOURCE", "LAG", "IN FLIGHT", "SHARDS", "LAST RESULT", "PID")


def mappings(options: argparse.Namespace) -> int:
    """Shows mappings of all workers of a state directory, or changes one in all of them."""
    if options.endpoint:
        if options.watch:
            raise ConfigurationError("--watch does not go with --endpoint", fix="leave one out")
        return remote.mappings(options)
    folder = Path(options.state_dir or ".streamfn") / "run"
    if options.action:
        return _change(folder, options)
    if options.name:
        raise ConfigurationError("a name goes with pause or resume")
    if options.watch:
        with suppress(KeyboardInterrupt):
            _watch(folder, as_json=options.json)
        return CLEAN
    sys.stdout.write(_shown(ask(folder, {"op": "status"}), as_json=options.json))
    return CLEAN


def _change(folder: Path, options: argparse.Namespace) -> int:
    if not options.name:
        raise ConfigurationError(f"{options.action} which mapping?", fix=f"write {options.action} NAME")
    answers = ask(folder, {"op": options.action, "name": options.name})
    rows = [row for row in _rows(answers) if row["name"] == options.name]
    if not rows:
        # Workers may run different apps: one that has the mapping is enough.
        raise ConfigurationError(
            "; ".join(sorted({str(answer["error"]) for answer in answers if "error" in answer}))
        )
    sys.stdout.write(_rendered(rows, as_json=options.json))
    return CLEAN


def _watch(folder: Path, *, as_json: bool) -> None:
    """Until interrupted, or until no worker is left."""
    pause = threading.Event()
    if as_json or not sys.stdout.isatty():
        while True:
            sys.stdout.write(_shown(ask(folder, {"op": "status"}), as_json=as_json))
            sys.stdout.flush()
            pause.wait(1.0)
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while True:
            live.update(
                Text(_shown(ask(folder, {"op": "status"}), as_json=False), no_wrap=True), refresh=True
            )
            pause.wait(1.0)


def _rows(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [
        {"pid": answer["pid"], "app": answer["app"], **row}
        for answer in answers
        for row in answer.get("mappings", ())
    ]
    return sorted(rows, key=lambda row: (row["name"], row["pid"]))


def _shown(answers: list[dict[str, Any]], *, as_json: bool) -> str:
    silent = [answer for answer in answers if "error" in answer]
    for answer in silent:
        sys.stderr.write(f"streamfn: worker {answer.get('pid', '?')}: {answer['error']}\n")
    return _rendered(_rows(answers), as_json=as_json)


def _rendered(rows: list[dict[str, Any]], *, as_json: bool) -> str:
    if as_json:
        return orjson.dumps(rows).decode() + "\n"
    filtered = [row["counters"].get("FilteredOutEventCount", 0) for row in rows]
    # For the sake of those who filter, not of those who don't.
    shows = any(filtered)
    cells = [
        (
            row["name"],
            row["state"],
            row["function"],
            row["source"],
            _lag(row),
            row["in_flight"],
            *((out,) if shows else ()),
            row["shards"],
            row["last_processing_result"],
            str(row["pid"]),
        )
        for row, out in zip(rows, filtered, strict=True)
    ]
    return table((*_HEADS[:6], *(("FILTERED",) if shows else ()), *_HEADS[6:]), cells)


def _lag(row: dict[str, Any]) -> object:
    """Records, or where their number is not known the seconds that the shards are behind."""
    age = row.get("iterator_age")
    return f"{age:,.0f} s" if row["lag"] is None and age is not None else row["lag"]
