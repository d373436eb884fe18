"""`streamfn put`: files of all forms into destinations, and what is told of lines that are not taken."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamfn import plugins
from streamfn.cli import put as command
from streamfn.cli.reading import Line, format_of, lines, opened
from streamfn.errors import ConfigurationError, PayloadTooLarge, SourceError
from streamfn.ports import Message, SendFailure

from .conftest import Streamfn

CSV = "carrier,delay\nUA,2\nAA,\n"
ROWS = [{"carrier": "UA", "delay": "2"}, {"carrier": "AA", "delay": None}]


def packed(path: Path, text: str, members: int = 1) -> None:
    match path.suffix:
        case ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        case ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for number in range(members):
                    archive.writestr(f"{number}.csv", text)
        case _:
            path.write_text(text)


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.csv.zip", "F.CSV"])
def test_a_file_goes_into_a_destination(project: Path, streamfn: Streamfn, name: str) -> None:
    packed(project / name, CSV)
    done = streamfn("put", "file:out/all.jsonl", name)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("2 records in ")
    assert done.stderr.endswith("to file:out/all.jsonl\n")
    assert [json.loads(line) for line in (project / "out/all.jsonl").read_text().splitlines()] == ROWS


def test_lines_come_from_standard_input(project: Path, streamfn: Streamfn) -> None:
    assert streamfn("put", "file:out.jsonl", stdin='{"a":1}\n\n  [2]\n').returncode == 0
    assert (project / "out.jsonl").read_text() == '{"a":1}\n[2]\n'
    assert streamfn("put", "file:csv.jsonl", "-", "--format", "csv", stdin="a\n1\n").returncode == 0
    assert (project / "csv.jsonl").read_text() == '{"a":"1"}\n'


def test_the_embedded_broker_takes_them_too(streamfn: Streamfn) -> None:
    done = streamfn(
        "put", "local:flights", "--key", "carrier", "--state-dir", "st", stdin='{"carrier":"UA"}\n'
    )
    assert (done.returncode, done.stderr.partition(" in ")[0]) == (0, "1 records")


def test_lines_that_are_no_records_are_told_and_the_rest_goes(project: Path, streamfn: Streamfn) -> None:
    done = streamfn("put", "file:out.jsonl", stdin='{"a":1}\n{oops\n{"a":2}\n')
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith("streamfn: line 2: not JSON: ")
    assert last.endswith("to file:out.jsonl; 1 lines were not taken")
    assert (project / "out.jsonl").read_text() == '{"a":1}\n{"a":2}\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere:x",), "Destination: there is no destination of kind 'nowhere': known are "),
        (("fil:x",), "Fix: did you mean file:?"),
        (("file:out.jsonl", "missing.csv"), "missing.csv: cannot be read: No such file or directory"),
        (("file:out.jsonl", "app.zip"), "app.zip: cannot be read: "),
        (
            ("file:out.jsonl", "two.zip"),
            "two.zip: holds 2 files, not one. Fix: unpack it and name one of them",
        ),
        (("file:out.jsonl", "f.csv", "--key", "carier"), "--key: there is no column 'carier'"),
        (("file:out.jsonl", "--batch", "0"), "argument --batch: invalid number from 1 value: '0'"),
    ],
)
def test_a_wrong_request_is_2(
    project: Path, streamfn: Streamfn, arguments: tuple[str, ...], message: str
) -> None:
    (project / "app.zip").write_text("x")
    (project / "f.csv").write_text(CSV)
    packed(project / "two.zip", CSV, members=2)
    done = streamfn("put", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------- reading


def records(text: str | bytes, form: Any = "jsonl", key: str | None = None) -> list[Line]:
    data = text.encode() if isinstance(text, str) else text
    return list(lines(io.BytesIO(data), form, key))


@pytest.mark.parametrize(
    ("value", "key"),
    [('"UA"', "UA"), ("7", "7"), ("true", "true"), ("null", None), ('{"b":1}', '{"b":1}')],
)
def test_a_field_becomes_the_key(value: str, key: str | None) -> None:
    (line,) = records(f'{{"k":{value}}}', key="k")
    assert line.message is not None
    assert line.message.key == key


@pytest.mark.parametrize("text", ['{"a":1}', "[1]", "3"])
def test_a_record_without_the_field_has_no_key(text: str) -> None:
    assert records(text, key="k") == [Line(1, Message(text.encode()))]


def test_lines_of_csv_are_counted_as_an_editor_does() -> None:
    text = 'a,b\n1,"x\ny"\n2,z\n3\n4,5,6\n'
    first, second, short, long = records(text, "csv")
    assert (first.number, second.number, short.number, long.number) == (2, 4, 5, 6)
    assert first.message == Message(b'{"a":"1","b":"x\\ny"}')
    assert (short.problem, long.problem) == (
        "has 1 fields, the first line has 2",
        "has 3 fields, the first line has 2",
    )


def test_a_byte_order_mark_is_not_part_of_a_name() -> None:
    assert records("\ufeffa\n1\n", "csv")[0].message == Message(b'{"a":"1"}')


def test_text_that_is_not_utf_8_is_told() -> None:
    assert records(b"a\n\xff\n2\n", "csv") == [
        Line(2, None, "not UTF-8 text"),
        Line(3, Message(b'{"a":"2"}')),
    ]


def test_an_archive_that_breaks_off_is_told_after_what_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n' * 10_000)[:-20])
    with opened(str(path)) as source:
        *good, last = lines(source.stream, "jsonl", None)
        assert source.read == source.size
    assert all(line.message is not None for line in good)
    assert last.problem.startswith("cannot be read from here on: ")


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("a.CSV.ZIP", "csv"), ("a.jsonl", "jsonl"), ("a.json.gz", "jsonl"), ("-", "jsonl")],
)
def test_the_name_tells_the_format(name: str, form: str) -> None:
    assert format_of(name) == form


# ------------------------------------------------------------------------------------------- sending


class Scripted:
    """A destination that answers as told, then takes everything."""

    name = "scripted:"

    def __init__(self, *answers: Sequence[SendFailure] | Exception) -> None:
        self.answers = list(answers)
        self.sends: list[list[bytes]] = []
        self.closed = False

    async def send(self, messages: Sequence[Message]) -> Sequence[SendFailure]:
        self.sends.append([message.body for message in messages])
        answer = self.answers.pop(0) if self.answers else ()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Puts three records into a destination, without waiting between tries."""

    def run(destination: Scripted, *, size: int = 10) -> tuple[int, str]:
        async def at_once(seconds: float) -> None: ...

        monkeypatch.setattr(plugins, "destination", lambda uri, options: destination)
        monkeypatch.setattr(command.anyio, "sleep", at_once)
        monkeypatch.setattr(command.logs, "configure", lambda level: None)
        file = tmp_path / "in.jsonl"
        file.write_text("1\n2\n3\n")
        options = argparse.Namespace(
            destination="scripted:", file=str(file), format=None, key=None, batch=size, state_dir=None
        )
        code = command.put(options)
        assert destination.closed
        return code, capsys.readouterr().err

    return run


def test_what_fails_is_sent_again(sent: Any) -> None:
    destination = Scripted([SendFailure(1, "busy")], OSError("gone"), [])
    assert sent(destination)[0] == 0
    assert destination.sends == [[b"1", b"2", b"3"], [b"2"], [b"2"]]


def test_what_is_refused_is_told_with_its_line(sent: Any) -> None:
    destination = Scripted([SendFailure(1, "never", retryable=False)])
    code, said = sent(destination)
    assert code == 1
    assert said.splitlines()[0] == "streamfn: line 2: never"
    assert said.splitlines()[1].startswith("2 records in ")


def test_what_fails_again_and_again_is_told_with_its_line(sent: Any) -> None:
    destination = Scripted([SendFailure(2, "busy")], *([[SendFailure(0, "busy")]] * 5))
    code, said = sent(destination)
    assert (code, len(destination.sends)) == (1, command.TRIES)
    assert said.splitlines()[0] == "streamfn: line 3: busy"


def test_a_record_that_is_too_large_is_found_and_told(sent: Any) -> None:
    too_large = PayloadTooLarge("too large")
    destination = Scripted(too_large, [], too_large, [], too_large)
    code, said = sent(destination)
    assert destination.sends == [[b"1", b"2", b"3"], [b"1"], [b"2", b"3"], [b"2"], [b"3"]]
    assert (code, said.splitlines()[0]) == (1, "streamfn: line 3: too large")


def test_a_destination_out_of_reach_ends_it(sent: Any) -> None:
    destination = Scripted([], *([OSError("gone")] * command.TRIES))
    code, said = sent(destination, size=1)
    assert code == 1
    assert said.splitlines()[0] == "streamfn: line 2: scripted: cannot be reached: gone"
    assert said.splitlines()[1].endswith("to scripted:; nothing from line 2 on was confirmed")


def test_what_only_a_person_can_mend_ends_it_at_once(sent: Any) -> None:
    destination = Scripted(SourceError("no such queue. Fix: create it", retryable=False))
    code, said = sent(destination)
    assert (code, len(destination.sends)) == (1, 1)
    assert "no such queue. Fix: create it" in said.splitlines()[0]


def test_a_file_that_cannot_be_read_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"), opened("/nowhere/at/all"):
        pass
