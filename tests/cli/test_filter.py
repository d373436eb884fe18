"""`streamfn filter`: what it prints, what it says of one event, and its exit code."""

from __future__ import annotations

import gzip
import io
import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from streamfn.cli import main

from .conftest import Streamfn

PATTERN = '{"kind": ["a"], "n": [{"numeric": [">", 1]}]}'
LINES = '{"kind": "a", "n": 2}\n\n  {"n":3,"kind":"a"}  \n{"kind": "a", "n": 1}\n[1]\n'


class Filter:
    """The command in this process: its exit code, and what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> tuple[int, str, str]:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(["filter", *arguments])
        return (code, *self._capsys.readouterr())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Filter:
    return Filter(capsys, monkeypatch)


def test_lines_that_match_are_printed_as_they_are(streamfn: Streamfn) -> None:
    done = streamfn("filter", PATTERN, stdin=LINES)
    assert done.stdout == '{"kind": "a", "n": 2}\n{"n":3,"kind":"a"}\n'
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_pattern_and_lines_come_from_files(run: Filter, tmp_path: Path, name: str) -> None:
    events, pattern = tmp_path / name, tmp_path / "pattern.json"
    pattern.write_text(PATTERN)
    events.write_bytes(gzip.compress(LINES.encode()) if name.endswith("gz") else LINES.encode())
    code, out, err = run(f"@{pattern}", str(events))
    assert (code, out.count("\n"), err) == (0, 2, "")


def test_none_of_many_is_1(run: Filter) -> None:
    assert run('{"kind": ["b"]}', stdin=LINES) == (1, "", "streamfn: none of 4 events matches\n")
    assert run('{"kind": ["b"]}') == (1, "", "streamfn: none of 0 events matches\n")


def test_of_one_event_it_says_which_key_and_which_value(run: Filter) -> None:
    code, out, err = run(PATTERN, stdin='{"kind": "b", "n": 1}')
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "streamfn: the event does not match",
        '  kind: wanted ["a"], found "b"',
        '  n: wanted [{"numeric": [">", 1]}], found 1',
    ]
    assert "  n: wanted" in run(PATTERN, stdin='{"kind": "a"}')[2]


@pytest.mark.parametrize(("event", "found"), [("[1]", "an array"), ("3", "3"), ('"a"', '"a"')])
def test_of_an_event_that_is_no_object_it_says_so(run: Filter, event: str, found: str) -> None:
    said = f"streamfn: the event does not match\n  the event: wanted an object, found {found}\n"
    assert run(PATTERN, stdin=event) == (1, "", said)


def test_one_event_may_stand_on_many_lines(run: Filter) -> None:
    event = json.dumps({"kind": "a", "n": 2}, indent=2)
    assert run(PATTERN, stdin=event) == (0, '{"kind":"a","n":2}\n', "")
    assert "kind: wanted" in run(PATTERN, stdin=event.replace('"a"', '"b"'))[2]


def test_as_json_it_counts(run: Filter) -> None:
    def told(stdin: str) -> tuple[int, Any]:
        code, out, err = run(PATTERN, "--json", stdin=stdin)
        assert err == ""
        return code, json.loads(out)

    assert told(LINES) == (0, {"events": 4, "matched": 2, "why_not": []})
    assert told('{"kind": "a", "n": 0}\n[1]') == (1, {"events": 2, "matched": 0, "why_not": []})
    why_not = [{"path": "n", "wanted": '[{"numeric": [">", 1]}]', "found": "0"}]
    assert told('{"kind": "a", "n": 0}') == (1, {"events": 1, "matched": 0, "why_not": why_not})


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (
            ('{"kind": "a"}',),
            "",
            'kind: Event pattern is not valid. Reason: "kind" must be an object or an array',
        ),
        (("{",), "", "line 1, column 2: Event pattern is not valid. Reason: "),
        (("@nothing.json",), "", "nothing.json: cannot be read: No such file or directory"),
        ((f"@{sys.executable}",), "", f"{sys.executable}: cannot be read: not UTF-8 text"),
        ((PATTERN, "nothing.jsonl"), "", "nothing.jsonl: cannot be read: No such file or directory"),
        ((PATTERN,), "{}\n\n{oops\n", "standard input:3: not JSON: "),
        ((PATTERN,), "{oops\n{}\n", "standard input:1: not JSON: "),
        ((PATTERN,), '{}\n{\n"kind": "b"}', "standard input:2: not JSON: "),
        ((PATTERN,), b"\xff\n", "standard input:1: not JSON: "),
        (
            (PATTERN, "--source", "sqs"),
            "3",
            "standard input:1: no record of sqs. Fix: give records as a function",
        ),
        ((PATTERN, "--source", "sqs"), '{"body": 3}', "standard input:1: no record of sqs"),
        ((PATTERN, "--source", "sqs"), '{"Records": [3]}', "standard input:1: no record of sqs"),
        ((PATTERN, "--source", "kinesis"), '\n{"data": {}}', "with kinesis.data in them"),
        ((PATTERN, "--source", "kafka"), '{"value": "no base64"}', "standard input:1: no record of kafka"),
        ((PATTERN, "--source", "dynamodb"), '{"dynamodb": 3}', "standard input:1: no record of dynamodb"),
        (
            ('{"data": ["a"]}', "--source", "kinesis"),
            "",
            "data: data of kinesis is matched as JSON only. Fix: write an object below it",
        ),
    ],
)
def test_what_is_not_valid_is_2_and_named(
    run: Filter, arguments: tuple[str, ...], stdin: str | bytes, message: str
) -> None:
    code, out, err = run(*arguments, stdin=stdin)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("streamfn: ")
    assert message in err


def test_a_file_that_breaks_off_is_2(run: Filter, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.gz"
    file.write_bytes(gzip.compress(LINES.encode() * 1000)[:-20])
    code, _, err = run(PATTERN, str(file))
    assert code == 2
    assert f"{file}:" in err
    assert "cannot be read from here on: " in err


# --------------------------------------------------------------------------------- by the rules of a source


def sqs(body: str) -> dict[str, Any]:
    return {"messageId": "m", "body": body}


def kinesis(data: bytes) -> dict[str, Any]:
    return {"kinesis": {"partitionKey": "k", "data": b64encode(data).decode()}, "eventSource": "aws:kinesis"}


def kafka(value: bytes | None) -> dict[str, Any]:
    return {"topic": "t", "offset": 1, "value": None if value is None else b64encode(value).decode()}


CHANGE = {"eventName": "INSERT", "dynamodb": {"Keys": {"Id": {"N": "101"}}}}


@pytest.mark.parametrize(
    ("source", "pattern", "record", "code"),
    [
        ("sqs", {"body": {"kind": ["a"]}}, sqs('{"kind": "a"}'), 0),
        ("sqs", {"body": {"kind": [{"exists": False}]}}, sqs("plain"), 1),
        ("sqs", {"body": ["plain"], "messageId": ["m"]}, sqs("plain"), 0),
        ("kinesis", {"data": {"kind": ["a"]}}, kinesis(b'{"kind": "a"}'), 0),
        ("kinesis", {"data": {"kind": ["a"]}}, kinesis(b"plain"), 1),
        ("kinesis", {"partitionKey": ["k"]}, kinesis(b"plain"), 0),
        ("dynamodb", {"dynamodb": {"Keys": {"Id": {"N": ["101"]}}}}, CHANGE, 0),
        ("dynamodb", {"dynamodb": {"Keys": {"Id": {"N": [101]}}}}, CHANGE, 1),
        ("kafka", {"value": {"kind": ["a"]}}, kafka(b'{"kind": "b"}'), 1),
        ("kafka", {"value": {"kind": ["a"]}}, kafka(b"plain"), 0),
        ("kafka", {"value": [None]}, kafka(None), 0),
    ],
)
def test_records_are_filtered_as_their_source_does(
    run: Filter, source: str, pattern: dict[str, Any], record: dict[str, Any], code: int
) -> None:
    line = json.dumps(record)
    ended, out, err = run(json.dumps(pattern), "--source", source, stdin=line)
    assert (ended, out) == (code, "" if code else line + "\n")
    assert bool(err) is bool(code)


def test_whole_events_are_taken_apart(run: Filter) -> None:
    of_queue = json.dumps({"Records": [sqs('{"n": 1}'), sqs("plain"), sqs('{"n": 2}')]}, indent=1)
    code, out, _ = run('{"body": {"n": [2]}}', "--source", "sqs", stdin=of_queue)
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, [sqs('{"n": 2}')])
    of_topic = json.dumps({"records": {"t-0": [kafka(b'{"n": 1}')], "t-1": [kafka(b'{"n": 2}')], "t-2": 3}})
    code, out, _ = run('{"value": {"n": [2]}}', "--source", "kafka", stdin=of_topic)
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, [kafka(b'{"n": 2}')])


def test_of_data_of_another_kind_it_says_which_was_wanted(run: Filter) -> None:
    _, _, err = run('{"body": {"n": [{"exists": false}]}}', "--source", "sqs", stdin=json.dumps(sqs("plain")))
    assert err.splitlines()[1:] == ["  body: wanted JSON, found plain text"]
    pattern = '{"body": {"n": [1]}, "messageId": ["n"]}'
    _, _, err = run(pattern, "--source", "sqs", stdin=json.dumps(sqs("plain")))
    assert err.splitlines()[1:] == [
        "  body: wanted JSON, found plain text",
        '  messageId: wanted ["n"], found "m"',
    ]
    pattern = '{"body": {"n": [{"exists": false}]}, "messageId": ["n"]}'
    assert run(pattern, "--source", "sqs", stdin=json.dumps(sqs("plain")))[2] == err.replace(
        '"n": [1]', '"n": [{"exists": false}]'
    )
    either = '{"$or": [{"body": {"n": [1]}}, {"body": ["other"]}]}'
    _, _, err = run(either, "--source", "sqs", stdin=json.dumps(sqs("plain")))
    assert err.splitlines()[1:] == ["  body: wanted JSON, found plain text"]
    either = '{"$or": [{"body": ["other"]}, {"body": {"n": [1]}}]}'
    _, _, err = run(either, "--source", "sqs", stdin=json.dumps(sqs("plain")))
    assert err.splitlines()[1:] == ['  body: wanted ["other"], found "plain"']


def test_of_kafka_what_is_left_out_is_no_reason(run: Filter) -> None:
    pattern = '{"value": {"n": [1]}, "topic": ["other"]}'
    _, _, err = run(pattern, "--source", "kafka", stdin=json.dumps(kafka(b"plain")))
    assert err.splitlines()[1:] == ['  topic: wanted ["other"], found "t"']
