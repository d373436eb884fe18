"""What is printed and written."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.scenario import Result, Settings

_PACKAGES = (
    "streamfn",
    "aiokafka",
    "aiobotocore",
    "aiohttp",
    "anyio",
    "pydantic",
    "orjson",
    "structlog",
    "uvloop",
)
_COLUMNS = ("scenario", "figure", "unit", "bare", "ratio", "target", "holds")


def machine(settings: Settings) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "loop": "uvloop" if settings.loop_factory is not None else "asyncio",
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def document(results: Sequence[Result], settings: Settings) -> dict[str, Any]:
    """The whole run, for a file."""
    return {
        "machine": machine(settings),
        "settings": {"quick": settings.quick, "repeat": settings.repeat},
        "scenarios": [result.as_json() for result in results],
    }


def show(results: Sequence[Result]) -> None:
    """A table; without a terminal, lines of columns."""
    rows = [_row(result) for result in results]
    if sys.stdout.isatty():
        table = Table()
        for column in _COLUMNS:
            right = column in ("figure", "bare", "ratio")
            table.add_column(column, justify="right" if right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row, style="red" if row[-1] == "no" else None)
        Console().print(table)
    else:
        widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
        for row in (_COLUMNS, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for result in results:
        if result.skipped is not None:
            print(f"{result.scenario.name} was not measured: {result.skipped}")


def as_markdown(results: Sequence[Result]) -> str:
    """The table as documentation has it."""
    lines = ["| scenario | figure | bare | ratio | target | holds |", "| --- | --: | --: | --: | --- | --- |"]
    for result in results:
        name, figure, unit, *others, holds = _row(result)
        shown = f"{figure} {unit}" if figure else "not measured"
        cells = [name, shown, *others, "**no**" if holds == "no" else holds]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    target = result.scenario.target
    return (
        result.scenario.name,
        _number(result.figure),
        result.scenario.unit,
        _number(result.bare),
        "" if result.ratio is None else f"{result.ratio:.2f}",
        "" if target is None else str(target),
        {True: "yes", False: "no", None: ""}[result.holds],
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as facts:
            names = (line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
            return next(names, "") or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
