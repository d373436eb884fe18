"""Logs of functions: which line belongs to what, how much is kept, and files."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.runtimes.process.logfiles import FolderSink
from streamfn.runtimes.process.logs import MAX_LINE, MAX_TAIL, LoggerSink, LogStream, Output
from tests.runtimes.process.environments import Lines
from tests.waiting import until

pytestmark = pytest.mark.anyio


def stream(sink: Lines | None = None) -> tuple[LogStream, Lines]:
    kept = sink or Lines()
    return LogStream(kept, "orders", "$LATEST", "2023/11/14/[$LATEST]ab"), kept


def test_lines_belong_to_the_invocation_that_runs() -> None:
    log, sink = stream()
    log.write(b"before\n")
    log.begin("id-1", "START")
    log.write(b"one\ntw")
    log.write(b"o\n")
    log.say("END\nREPORT", "id-1")
    assert log.end("id-1") == b"START\none\ntwo\nEND\nREPORT\n"
    log.write(b"after\n")
    assert sink.lines == [
        ("", "before"),
        *[("id-1", text) for text in ("START", "one", "two", "END", "REPORT")],
        ("", "after"),
    ]
    assert sink.streams == {("orders", "$LATEST", "2023/11/14/[$LATEST]ab")}


def test_where_several_run_nobody_knows_whose_line_it_is() -> None:
    log, sink = stream()
    log.begin("id-1", "START 1")
    log.begin("id-2", "START 2")
    log.write(b"whose\n")
    assert (log.end("id-1"), log.end("id-2")) == (b"START 1\n", b"START 2\n")
    assert ("", "whose") in sink.lines


@pytest.mark.parametrize("enabled", [True, False])
def test_a_line_without_an_end_gets_one_before_what_the_platform_says(enabled: bool) -> None:
    log, sink = stream()
    sink.enabled = enabled
    log.begin("id-1", "START")
    log.write(b"no end")
    log.say("END", "id-1")
    assert log.end("id-1") == b"START\nno end\nEND\n"
    assert sink.texts == (["START", "no end", "END"] if enabled else [])


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    log, sink = stream()
    log.say("")
    log.flush()
    assert sink.lines == []


def test_the_last_line_is_given_when_the_environment_ends() -> None:
    log, sink = stream()
    log.write(b"the last")
    log.flush()
    assert sink.texts == ["the last"]


def test_a_line_that_is_too_long_is_given_as_several() -> None:
    log, sink = stream()
    for _ in range(5):
        log.write(b"x" * (MAX_LINE // 2))
    log.write(b"\n")
    assert [len(text) for text in sink.texts] == [MAX_LINE, MAX_LINE, MAX_LINE // 2]


def test_what_is_no_text_is_shown_as_well_as_it_can_be() -> None:
    log, sink = stream()
    log.write(b"\xff\xfe\n")
    assert sink.texts == ["��"]


@given(st.lists(st.binary(max_size=6000), max_size=12), st.booleans())
def test_the_tail_is_the_end_of_all_that_was_written(parts: list[bytes], enabled: bool) -> None:
    log, sink = stream()
    sink.enabled = enabled
    log.begin("id-1", "START")
    for part in parts:
        log.write(part)
    log.say("END", "id-1")
    whole = b"START\n" + b"".join(parts)
    whole += b"END\n" if whole.endswith(b"\n") else b"\nEND\n"
    assert log.end("id-1") == whole[-MAX_TAIL:]


def test_the_logger_gets_lines_with_what_they_belong_to(caplog: pytest.LogCaptureFixture) -> None:
    sink = LoggerSink()
    with caplog.at_level(logging.WARNING, "streamfn.function"):
        assert not sink.enabled
    with caplog.at_level(logging.INFO, "streamfn.function"):
        assert sink.enabled
        sink.line("orders", "7", "stream", "id-1", "hello")
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["request_id"]) == ("orders: hello", "id-1")
    sink.close()


# ------------------------------------------------------------------------------------------------ output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(writing)


async def test_output_is_read_as_it_comes_and_at_once_when_asked(pipe: tuple[int, int]) -> None:
    parts: list[bytes] = []
    output = Output(pipe[0], parts.append)
    os.write(pipe[1], b"by itself")
    await until(lambda: parts)
    os.write(pipe[1], b"when asked")
    output.drain()
    os.write(pipe[1], b"at the end")
    output.close()
    output.close()
    assert parts == [b"by itself", b"when asked", b"at the end"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])


async def test_output_ends_by_itself() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    parts: list[bytes] = []
    output = Output(reading, parts.append)
    os.write(writing, b"all")
    os.close(writing)
    await until(lambda: output._descriptor < 0)
    output.drain()
    assert parts == [b"all"]


# ------------------------------------------------------------------------------------------------- files

STREAM = "2023/11/14/[$LATEST]ab"


def test_files_are_named_as_cloudwatch_does(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, lambda: 1_700_000_000.125)
    assert sink.enabled
    sink.line("orders", "$LATEST", STREAM, "id-1", "hellö")
    sink.line("orders", "$LATEST", STREAM, "", "again")
    sink.close()
    path = tmp_path / "aws/lambda/orders/2023/11/14/[$LATEST]ab.log"
    assert path == sink.path("orders", STREAM)
    lines = path.read_text("utf-8").splitlines()
    assert lines == ["2023-11-14T22:13:20.125Z\thellö", "2023-11-14T22:13:20.125Z\tagain"]


def test_a_file_that_is_large_enough_makes_room(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, lambda: 0.0, max_bytes=100)
    for number in range(7):
        sink.line("orders", "1", "s", "", f"line {number} of them")
    sink.close()
    path = sink.path("orders", "s")
    assert [line.partition("\t")[2] for line in path.read_text().splitlines()] == ["line 6 of them"]
    assert path.with_name("s.log.1").read_text().count("\n") == 2


def test_only_so_many_files_are_open(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, lambda: 0.0)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for number in range(70):
            sink.line("orders", "1", f"s{number}", "", "line")
    assert len(os.listdir("/proc/self/fd")) - before == 64
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(sink.path("orders", f"s{number}").read_text().count("\n") == 2 for number in range(70))


def test_a_disk_that_takes_no_more_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "aws").write_text("in the way")
    sink = FolderSink(tmp_path, lambda: 0.0)
    for _ in range(3):
        sink.line("orders", "1", "s", "", "lost")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "lines of functions are lost"
    ]
    (tmp_path / "aws").unlink()
    sink.line("orders", "1", "s", "", "there")
    sink.close()
    assert sink.path("orders", "s").read_text().endswith("\tthere\n")
