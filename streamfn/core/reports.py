"""What the platform writes into a function's log: INIT_START, START, END, REPORT. Pure.

As text the lines are Lambda's, tabs and the one at the end included; as JSON they are its platform events.
(Developer Guide: lambda-runtime-environment, monitoring-cloudwatchlogs-logformat.)
"""

from __future__ import annotations

import json
from math import ceil
from typing import Final, NamedTuple

from streamfn.core.rendering import iso_millis

JSON: Final = "JSON"
SUCCESS: Final = "success"
ERROR: Final = "error"
TIMEOUT: Final = "timeout"
_MEBIBYTE: Final = 1_048_576


class Report(NamedTuple):
    """What an invocation took. Durations in seconds."""

    request_id: str
    duration: float
    memory_size: int
    """MB."""
    max_memory_used: int
    """Bytes."""
    init_duration: float | None = None
    """Of the cold start that came before it; None if there was none."""
    status: str = SUCCESS
    error_type: str = ""


class InitReport(NamedTuple):
    """What an initialisation took that is told of on its own: one that failed, or of a provisioned one."""

    duration: float
    """Seconds."""
    initialization_type: str
    phase: str = "init"
    """`invoke` when it came within an invocation."""
    status: str = SUCCESS
    error_type: str = ""


class Platform:
    """Renders the platform's lines for one version of a function. Instants are in epoch seconds."""

    def __init__(self, function: str, version: str, runtime: str, log_format: str) -> None:
        self._function = function
        self._version = version
        self._runtime = runtime
        self._json = log_format == JSON

    def init_start(self, now: float, initialization_type: str, phase: str = "init") -> str:
        """An environment begins to be initialised."""
        if not self._json:
            return f"INIT_START Runtime Version: {self._runtime}"
        return _event(
            now,
            "initStart",
            initializationType=initialization_type,
            phase=phase,
            runtimeVersion=self._runtime,
            functionName=self._function,
            functionVersion=self._version,
        )

    def init_report(self, now: float, report: InitReport) -> str:
        """An initialisation is over."""
        if not self._json:
            status = _status(report.status, report.error_type)
            return (
                f"INIT_REPORT Init Duration: {report.duration * 1000:.2f} ms\tPhase: {report.phase}{status}"
            )
        return _event(
            now,
            "initReport",
            initializationType=report.initialization_type,
            phase=report.phase,
            status=report.status,
            **_error(report.error_type),
            metrics={"durationMs": _millis(report.duration)},
        )

    def start(self, now: float, request_id: str) -> str:
        """An invocation begins."""
        if not self._json:
            return f"START RequestId: {request_id} Version: {self._version}"
        return _event(now, "start", requestId=request_id, version=self._version)

    def end(self, now: float, report: Report) -> str:
        """An invocation is over: END and REPORT, two lines, or one in JSON."""
        if self._json:
            return _event(now, "report", **_record(report))
        milliseconds = report.duration * 1000
        line = (
            f"END RequestId: {report.request_id}\n"
            f"REPORT RequestId: {report.request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {_billed(report)} ms\tMemory Size: {report.memory_size} MB\t"
            f"Max Memory Used: {ceil(report.max_memory_used / _MEBIBYTE)} MB\t"
        )
        if report.init_duration is not None:
            line += f"Init Duration: {report.init_duration * 1000:.2f} ms\t"
        if report.status != SUCCESS:
            line += _status(report.status, report.error_type).removeprefix("\t") + "\t"
        return line

    def timed_out(self, now: float, request_id: str, timeout: float) -> str:
        """What people look for, before the END of an invocation; empty in JSON, where the report says it."""
        return (
            "" if self._json else f"{iso_millis(now)} {request_id} Task timed out after {timeout:.2f} seconds"
        )

    def exited(self, request_id: str, message: str, error_type: str) -> str:
        """The runtime ended in an invocation; empty in JSON, where the report says it."""
        return "" if self._json else f"RequestId: {request_id} Error: {message}\n{error_type}"


def exit_message(status: int | None, signal_name: str) -> str:
    """How a runtime ended, in Lambda's words: by a signal, named as Go names it, or with a status."""
    if status is None:
        return f"Runtime exited with error: signal: {signal_name}"
    if status:
        return f"Runtime exited with error: exit status {status}"
    return "Runtime exited without providing a reason"


def _billed(report: Report) -> int:
    return max(1, ceil(round((report.duration + (report.init_duration or 0.0)) * 1000, 6)))


def _record(report: Report) -> dict[str, object]:
    metrics: dict[str, object] = {
        "durationMs": _millis(report.duration),
        "billedDurationMs": _billed(report),
        "memorySizeMB": report.memory_size,
        "maxMemoryUsedMB": ceil(report.max_memory_used / _MEBIBYTE),
    }
    if report.init_duration is not None:
        metrics["initDurationMs"] = _millis(report.init_duration)
    return {
        "requestId": report.request_id,
        "metrics": metrics,
        "status": report.status,
        **_error(report.error_type),
    }


def _status(status: str, error_type: str) -> str:
    return f"\tStatus: {status}" + (f"\tError Type: {error_type}" if error_type else "")


def _error(error_type: str) -> dict[str, object]:
    return {"errorType": error_type} if error_type else {}


def _millis(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _event(now: float, kind: str, **record: object) -> str:
    document = {"time": iso_millis(now), "type": f"platform.{kind}", "record": record}
    return json.dumps(document, separators=(",", ":"))
