"""`streamfn run`: exit codes, signals, logs, and the socket that `mappings` talks to."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from .conftest import Start, Streamfn, add, until

MAPPING = "app.event_source_mapping({}, Five(), name='m')"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_exit_code_is_0(project: Path, start: Start, number: signal.Signals) -> None:
    add(project, MAPPING.format("waits_for_a_line"))
    process = start("run", "app:app", "--log-format", "json")
    until(process.stdout, "got 5")
    process.send_signal(number)
    until(process.stderr, "drain_begun")
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "committed 4\n")
    assert json.loads(err.splitlines()[-1])["clean"] is True


def test_what_outlives_the_grace_is_cut_off_and_the_exit_code_is_1(project: Path, start: Start) -> None:
    add(project, MAPPING.format("never_ends"))
    process = start("run", "app.py", "--grace", "0.1")
    until(process.stdout, "got 5")
    process.terminate()
    out, _ = process.communicate()
    assert (process.returncode, out) == (1, "committed -1\n")


def test_a_second_signal_cuts_off_at_once(project: Path, start: Start) -> None:
    add(project, MAPPING.format("never_ends"))
    process = start("run", "app.py:app", "--grace", "3600")
    until(process.stdout, "got 5")
    process.terminate()
    until(process.stderr, "drain_begun")
    process.terminate()
    out, _ = process.communicate()
    assert (process.returncode, out) == (1, "committed -1\n")


def test_a_mapping_that_crashes_ends_nothing_else(project: Path, start: Start) -> None:
    broken = "type('Broken', (Five,), {'name': 'five:broken', 'shards': lambda self, s: 1 / 0})()"
    add(project, f"app.event_source_mapping(work, {broken}, name='broken')")
    add(project, MAPPING.format("waits_for_a_line"))
    process = start("run", "app:app", "--log-format", "json")
    crash = json.loads(until(process.stderr, "mapping_crashed"))
    assert crash["mapping"] == "broken"
    assert "ZeroDivisionError" in crash["exception"]
    until(process.stdout, "got 5")
    process.terminate()
    process.communicate("\n")
    assert process.returncode == 0


def test_a_batch_is_logged_at_debug_and_a_failure_always(project: Path, start: Start) -> None:
    add(
        project,
        "app.event_source_mapping(fails, Five(), name='m', maximum_retry_attempts=0, on_failure='log:')",
    )
    process = start("run", "app:app", "--log-format", "json", "--log-level", "warning")
    failed = json.loads(until(process.stderr, "batch_delivered"))
    assert (failed["level"], failed["mapping"], failed["records"]) == ("warning", "m", 5)
    assert (failed["error"], failed["message"]) == ("ValueError", "no")
    letter = json.loads(until(process.stderr, '"RetryAttemptsExhausted"'))
    assert letter["body"]["requestContext"]["condition"] == "RetryAttemptsExhausted"
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 0
    assert "drain_begun" not in err


def test_the_app_may_stop_itself(project: Path, streamfn: Streamfn) -> None:
    add(
        project,
        "@app.function(batch=True)\n"
        "async def last(batch):\n"
        "    global end\n"
        "    end = asyncio.ensure_future(app.stop())\n" + MAPPING.format("last"),
    )
    done = streamfn("run", "app:app")
    assert (done.returncode, done.stdout) == (0, "committed 4\n")


def test_an_app_without_mappings_waits_for_a_signal(start: Start) -> None:
    process = start("run", "app:app")
    until(process.stderr, "worker_started")
    process.terminate()
    process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        (
            "app:app",
            "app.event_source_mapping(work, Five(), batch_size=0)",
            "BatchSize: must be 1 to 10000, not 0",
        ),
        (
            "app:app",
            "app.event_source_mapping(work, Five(), retry_delay=1)",
            "RetryDelay: Unsupported RetryDelay",
        ),
        (
            "app:app",
            "app.event_source_mapping(work, 'nowhere:x')",
            "Source: there is no source of kind 'nowhere'",
        ),
        (
            "app:app",
            "app.event_source_mapping(work, Five(), on_failure='nowhere:')",
            "no destination of kind",
        ),
        ("app:ap", "", "app has no 'ap'. Fix: did you mean app?"),
        ("nothing.py", "", "nothing.py: no such file"),
        ("streamfn.yaml", "", "streamfn.yaml: no such file"),
    ],
)
def test_bad_configuration_is_told_in_one_line_and_the_exit_code_is_2(
    project: Path, streamfn: Streamfn, target: str, code: str, message: str
) -> None:
    add(project, code)
    done = streamfn("run", target)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("streamfn: ")
    assert message in line


def test_a_mistake_in_an_app_is_told_with_its_line(project: Path, streamfn: Streamfn) -> None:
    add(project, "app.event_source_mapping(work, Five(), batch_size=0)")
    number = (project / "app.py").read_text().count("\n")
    assert (
        streamfn("run", "app:app").stderr
        == f"streamfn: app.py:{number}: BatchSize: must be 1 to 10000, not 0\n"
    )


def test_a_yaml_file_runs(project: Path, start: Start) -> None:
    (project / "code.py").write_text("def work(batch):\n    print('got', len(batch), flush=True)\n")
    (project / "streamfn.yaml").write_text(
        "name: flights\n"
        "state_dir: state\n"
        "functions:\n  work: {handler: code:work, batch: true}\n"
        "logging: {level: warning, format: json}\n"
    )
    process = start("run", "streamfn.yaml")
    while not list((project / "state" / "run").glob("*.sock")):
        assert process.poll() is None
    process.terminate()
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


def test_records_go_from_a_file_through_the_broker_to_the_dead_letters(
    project: Path, start: Start, streamfn: Streamfn
) -> None:
    (project / "flights.csv").write_text("carrier,delay\nUA,2\nAA,\n")
    assert streamfn("put", "local:flights", "flights.csv", "--key", "carrier").returncode == 0
    add(
        project,
        "@app.function(each=dict)\n"
        "def delays(record):\n"
        "    print(record['carrier'], float(record['delay']), flush=True)\n"
        "app.event_source_mapping(delays, 'local:flights', maximum_retry_attempts=0,\n"
        "    on_failure='file:dead.jsonl', function_response_types=['ReportBatchItemFailures'])",
    )
    process = start("run", "app:app", "--log-format", "json")
    until(process.stderr, "records_discarded")
    process.terminate()
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "UA 2.0\n")
    (letter,) = map(json.loads, (project / "dead.jsonl").read_text().splitlines())
    assert letter["requestContext"]["condition"] == "RetriesExhausted"
    assert letter["payload"]["Records"][0]["kinesis"]["partitionKey"] == "AA"


# -------------------------------------------------------------------------------------- the socket


def test_what_the_filters_kept_away_is_counted(project: Path, start: Start, streamfn: Streamfn) -> None:
    add(project, "app.event_source_mapping(work, Five(), name='m', filters=[{'sequenceNumber': ['1', '3']}])")
    process = start("run", "app:app", "--state-dir", "state")
    until(process.stdout, "got 2")
    (row,) = json.loads(streamfn("mappings", "--json", "--state-dir", "state").stdout)
    assert row["counters"]["FilteredOutEventCount"] == 3
    heads, line = streamfn("mappings", "--state-dir", "state").stdout.splitlines()
    assert "IN FLIGHT  FILTERED  SHARDS" in heads
    assert line.split()[-5:-1] == ["0", "3", "1", "OK"]
    process.terminate()
    process.communicate()


def test_running_mappings_are_shown_paused_and_resumed(
    project: Path, start: Start, streamfn: Streamfn
) -> None:
    add(project, MAPPING.format("work"))
    process = start("run", "app:app", "--state-dir", "state")
    until(process.stdout, "got 5")
    (row,) = json.loads(streamfn("mappings", "--json", "--state-dir", "state").stdout)
    assert (row["name"], row["function"], row["source"], row["app"]) == ("m", "work", "five:records", "test")
    assert (row["state"], row["lag"], row["shards"], row["pid"]) == ("Enabled", 0, 1, process.pid)
    paused = streamfn("mappings", "pause", "m", "--state-dir", "state", "--json")
    assert json.loads(paused.stdout)[0]["state"] == "Disabled"
    until(process.stdout, "committed 4")
    table = streamfn("mappings", "--state-dir", "state").stdout.splitlines()
    assert table[0].split() == [
        "NAME",
        "STATE",
        "FUNCTION",
        "SOURCE",
        "LAG",
        "IN",
        "FLIGHT",
        "SHARDS",
        "LAST",
        "RESULT",
        "PID",
    ]
    assert table[1].split() == f"m Disabled work five:records - 0 0 OK {process.pid}".split()
    assert "FILTERED" not in table[0]
    resumed = streamfn("mappings", "resume", "m", "--state-dir", "state", "--json")
    assert json.loads(resumed.stdout)[0]["state"] in ("Enabling", "Enabled")
    until(process.stdout, "got 5")
    unknown = streamfn("mappings", "pause", "x", "--state-dir", "state")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no mapping named 'x'" in unknown.stderr
    process.terminate()
    process.communicate()
    assert process.returncode == 0
    assert list((project / "state" / "run").iterdir()) == []


def test_without_a_worker_there_is_nothing_to_show(streamfn: Streamfn) -> None:
    done = streamfn("mappings")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "streamfn: no worker runs with the state directory .streamfn: start one with streamfn run TARGET\n"
    )


def test_sockets_of_dead_workers_are_removed(project: Path, streamfn: Streamfn) -> None:
    folder = project / ".streamfn" / "run"
    folder.mkdir(parents=True)
    dead = folder / "4194305.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    assert streamfn("mappings").returncode == 1
    assert not dead.exists()


def test_a_state_directory_may_lie_deep(project: Path, start: Start, streamfn: Streamfn) -> None:
    deep = str(project / ("d" * 100) / ("e" * 100))
    add(project, MAPPING.format("work"))
    process = start("run", "app:app", "--state-dir", deep)
    until(process.stderr, "worker_started")
    assert json.loads(streamfn("mappings", "--json", "--state-dir", deep).stdout)[0]["name"] == "m"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mappings", "pause"), "pause which mapping? Fix: write pause NAME"),
        (("mappings", "stop", "x"), "invalid choice: 'stop'"),
    ],
)
def test_a_wrong_request_is_refused(streamfn: Streamfn, arguments: tuple[str, ...], message: str) -> None:
    done = streamfn(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
