"""The platform's lines in a function's log."""

from __future__ import annotations

import json

import pytest

from streamfn.core.reports import ERROR, TIMEOUT, InitReport, Platform, Report, exit_message

NOW = 1_700_000_000.125
TIME = "2023-11-14T22:13:20.125Z"
TEXT = Platform("orders", "$LATEST", "python:3.11.7", "Text")
RECORDS = Platform("orders", "7", "python:3.11.7", "JSON")


def read(line: str) -> tuple[str, dict[str, object]]:
    document = json.loads(line)
    assert document["time"] == TIME
    return document["type"], document["record"]


def test_start_end_and_report_as_text() -> None:
    assert TEXT.start(NOW, "id-1") == "START RequestId: id-1 Version: $LATEST"
    report = Report("id-1", 0.13361, 128, 31 * 1_048_576, init_duration=0.080)
    assert TEXT.end(NOW, report) == (
        "END RequestId: id-1\n"
        "REPORT RequestId: id-1\tDuration: 133.61 ms\tBilled Duration: 214 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 31 MB\tInit Duration: 80.00 ms\t"
    )


def test_a_warm_invocation_reports_no_init() -> None:
    line = TEXT.end(NOW, Report("id-1", 0.002, 128, 1)).splitlines()[1]
    assert line == (
        "REPORT RequestId: id-1\tDuration: 2.00 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 1 MB\t"
    )


def test_no_invocation_is_billed_with_nothing() -> None:
    assert "Billed Duration: 1 ms" in TEXT.end(NOW, Report("id-1", 0.0, 128, 0))


@pytest.mark.parametrize(
    ("status", "error_type", "end"),
    [
        (TIMEOUT, "", "\tStatus: timeout\t"),
        (ERROR, "Runtime.ExitError", "\tStatus: error\tError Type: Runtime.ExitError\t"),
    ],
)
def test_a_failure_is_reported_with_its_status(status: str, error_type: str, end: str) -> None:
    report = Report("id-1", 3.0, 128, 0, status=status, error_type=error_type)
    assert TEXT.end(NOW, report).endswith(f"Max Memory Used: 0 MB{end}")


def test_an_initialisation_as_text() -> None:
    assert TEXT.init_start(NOW, "on-demand") == "INIT_START Runtime Version: python:3.11.7"
    assert (
        TEXT.init_report(NOW, InitReport(10.0, "on-demand", status=TIMEOUT))
        == "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout"
    )
    failed = InitReport(0.5, "on-demand", "invoke", ERROR, "Runtime.ExitError")
    assert TEXT.init_report(NOW, failed) == (
        "INIT_REPORT Init Duration: 500.00 ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError"
    )


def test_a_provisioned_one_is_told_of_with_its_status_too() -> None:
    line = TEXT.init_report(NOW, InitReport(0.25, "provisioned-concurrency"))
    assert line == "INIT_REPORT Init Duration: 250.00 ms\tPhase: init\tStatus: success"


def test_the_end_of_a_runtime_as_text() -> None:
    assert TEXT.timed_out(NOW, "id-1", 3) == f"{TIME} id-1 Task timed out after 3.00 seconds"
    assert TEXT.exited("id-1", exit_message(1, ""), "Runtime.ExitError") == (
        "RequestId: id-1 Error: Runtime exited with error: exit status 1\nRuntime.ExitError"
    )


def test_records_in_json() -> None:
    assert read(RECORDS.init_start(NOW, "on-demand")) == (
        "platform.initStart",
        {
            "initializationType": "on-demand",
            "phase": "init",
            "runtimeVersion": "python:3.11.7",
            "functionName": "orders",
            "functionVersion": "7",
        },
    )
    assert read(RECORDS.init_report(NOW, InitReport(0.5, "on-demand", status=ERROR, error_type="E"))) == (
        "platform.initReport",
        {
            "initializationType": "on-demand",
            "phase": "init",
            "status": "error",
            "errorType": "E",
            "metrics": {"durationMs": 500.0},
        },
    )
    assert read(RECORDS.start(NOW, "id-1")) == ("platform.start", {"requestId": "id-1", "version": "7"})


def test_the_report_in_json_is_one_line() -> None:
    assert read(RECORDS.end(NOW, Report("id-1", 0.1, 256, 1_048_577, init_duration=0.05))) == (
        "platform.report",
        {
            "requestId": "id-1",
            "metrics": {
                "durationMs": 100.0,
                "billedDurationMs": 150,
                "memorySizeMB": 256,
                "maxMemoryUsedMB": 2,
                "initDurationMs": 50.0,
            },
            "status": "success",
        },
    )
    _, record = read(RECORDS.end(NOW, Report("id-1", 0.1, 256, 0, status=ERROR, error_type="E")))
    assert (record["status"], record["errorType"]) == ("error", "E")
    assert "initDurationMs" not in record["metrics"]  # type: ignore[operator]


def test_in_json_the_report_says_what_lines_say_in_text() -> None:
    assert RECORDS.timed_out(NOW, "id-1", 3) == ""
    assert RECORDS.exited("id-1", "gone", "Runtime.ExitError") == ""


@pytest.mark.parametrize(
    ("status", "signal", "message"),
    [
        (127, "", "Runtime exited with error: exit status 127"),
        (0, "", "Runtime exited without providing a reason"),
        (None, "segmentation fault", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_how_a_runtime_ended(status: int | None, signal: str, message: str) -> None:
    assert exit_message(status, signal) == message
