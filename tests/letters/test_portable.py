"""Letters as lines, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.core.letters import Stored
from streamfn.letters.portable import line_of, message_of
from streamfn.ports import Message
from tests.letters.made import AT, of_stream

texts = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
bodies = st.one_of(
    st.binary(max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40).map(str.encode),
    st.dictionaries(st.text(max_size=4), st.integers() | st.floats()).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from([b'{"a":1}', b'{"a": 1}', b'{"a":1,"a":2}', b"1e3", b"-0.0", b'"\\u0041"', b"1" * 40]),
)
headers = st.lists(
    st.tuples(texts | st.sampled_from(["bytes:", "bytes:é"]), st.binary(max_size=20)), max_size=3
).map(tuple)


@given(bodies, st.none() | texts, headers)
def test_a_line_gives_the_same_bytes_again(body: bytes, key: str | None, given_headers: Message) -> None:
    line = line_of(Stored("1", body, key, given_headers, AT))  # type: ignore[arg-type]
    assert b"\n" not in line
    assert message_of(line) == Message(body, key, given_headers)  # type: ignore[arg-type]


def test_letters_are_readable() -> None:
    stored = Stored("1", of_stream({"x": 1}), "k", (("h", b"1"),), AT, "arn:x")
    line = json.loads(line_of(stored))
    assert line["body"]["deadLetter"]["mapping"] == "ship-orders"
    assert [line[name] for name in ("id", "storedAt", "cameFrom", "key", "headers")] == [
        "1",
        "2023-11-14T22:13:20.000Z",
        "arn:x",
        "k",
        [["h", "MQ=="]],
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"headers":[]}',
        b'{"headers":[1],"body":1}',
        b'{"headers":[["a"]],"body":1}',
        b'{"headers":[["a","!"]],"body":1}',
        b'{"headers":[[1,"MQ=="]],"body":1}',
        b'{"headers":[],"bodyBase64":"!"}',
        b'{"headers":[],"bodyText":1}',
        b'{"headers":[],"body":1,"key":2}',
        b'{"headers":[],"body":1,"keyBase64":2}',
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        message_of(line)
