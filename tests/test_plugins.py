"""Sources and destinations by URI; and the destinations that need nothing installed."""

from __future__ import annotations

import errno
import json
import os
import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from streamfn import plugins
from streamfn.destinations.file import FileDestination
from streamfn.destinations.log import LogDestination
from streamfn.errors import ConfigurationError, MissingExtra
from streamfn.ports import Destination, FailureFormat, Message


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Package(Distribution):
    """An installed package that offers kinds, in memory."""

    def __init__(self, name: str, extras: tuple[str, ...] = ()) -> None:
        self._name, self._extras = name, extras

    def read_text(self, filename: str) -> str | None:
        extras = "".join(f"Provides-Extra: {extra}\n" for extra in self._extras)
        return f"Metadata-Version: 2.1\nName: {self._name}\n{extras}" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError

    def offers(self, kind: str, value: str, group: str = plugins.SOURCES) -> EntryPoint:
        point = EntryPoint(kind, value, group)
        return point._for(self)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Sets which entry points there are, and the code of the module `offered`."""

    def install(*points: EntryPoint, code: str = "") -> None:
        (tmp_path / "offered.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "offered", raising=False)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])

    return install


KIND = "class Kind:\n    @classmethod\n    def from_uri(cls, uri, options):\n        return uri, options\n"


def test_a_kind_is_found_by_its_scheme_and_gets_the_whole_uri(installed: Any) -> None:
    installed(Package("their-package").offers("theirs", "offered:Kind"), code=KIND)
    made: Any = plugins.source("theirs://host:1,host2:2/topic?a=b", {"state_dir": "x"})
    assert made == ("theirs://host:1,host2:2/topic?a=b", {"state_dir": "x"})


def test_an_arn_stands_for_the_kind_of_its_service(installed: Any) -> None:
    installed(Package("their-package").offers("sqs", "offered:Kind"), code=KIND)
    arn = "arn:aws:sqs:eu-west-1:1:orders"
    assert plugins.source(arn, {}) == (arn, {})


def test_nothing_is_imported_to_list_kinds(installed: Any) -> None:
    installed(Package("their-package").offers("theirs", "not_there_at_all:Kind"))
    assert plugins.kinds(plugins.SOURCES) == {"local": ["streamfn"], "theirs": ["their-package"]}
    assert list(plugins.kinds(plugins.DESTINATIONS)) == ["file", "function", "local", "log"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "xyzzy:x",
            "Source: there is no source of kind 'xyzzy': known are local, theirs "
            "Fix: install a package that offers 'xyzzy'",
        ),
        (
            "locl:x",
            "Source: there is no source of kind 'locl': known are local, theirs. Fix: did you mean local:?",
        ),
        ("flights", "'flights' is no URI. Fix: write its kind first, such as local:flights"),
    ],
)
def test_an_unknown_kind_is_told_with_those_there_are(installed: Any, uri: str, message: str) -> None:
    installed(Package("their-package").offers("theirs", "offered:Kind"))
    with pytest.raises(ConfigurationError) as caught:
        plugins.source(uri, {})
    assert str(caught.value).replace(".", "") == message.replace(".", "")


def test_a_kind_that_two_packages_claim_is_nobodys(installed: Any) -> None:
    installed(Package("one").offers("x", "offered:Kind"), Package("two").offers("x", "offered:Kind"))
    with pytest.raises(
        ConfigurationError, match="more than one package offers sources of kind 'x': one and two"
    ):
        plugins.source("x:", {})


def test_a_package_that_is_listed_twice_claims_once(installed: Any) -> None:
    one = Package("one")
    installed(one.offers("x", "offered:Kind"), one.offers("x", "offered:Kind"), code=KIND)
    assert plugins.source("x:", {}) == ("x:", {})


@pytest.mark.parametrize(
    ("extras", "advice"),
    [
        (("kafka",), "'streamfn[kafka]'"),
        (("offered",), "'streamfn[offered]'"),
        ((), "client_that_is_not_there"),
    ],
)
@pytest.mark.parametrize("lazily", [False, True])
def test_a_missing_client_is_told_with_what_to_install(
    installed: Any, extras: tuple[str, ...], advice: str, lazily: bool
) -> None:
    late = KIND.replace("        return", "        import client_that_is_not_there.inner\n        return")
    code = late if lazily else f"import client_that_is_not_there.inner\n{KIND}"
    installed(Package("streamfn", extras).offers("kafka", "offered:Kind"), code=code)
    with pytest.raises(MissingExtra) as caught:
        plugins.source("kafka://host/topic", {})
    assert str(caught.value) == f"'kafka' needs client_that_is_not_there: pip install {advice}"


@pytest.mark.parametrize(
    ("code", "problem"),
    [("class Kind: ...\n", "it has no from_uri()"), ("", "module 'offered' has no attribute 'Kind'")],
)
def test_a_package_that_offers_something_else_is_named(installed: Any, code: str, problem: str) -> None:
    installed(Package("their-package").offers("x", "offered:Kind"), code=code)
    with pytest.raises(ConfigurationError) as caught:
        plugins.source("x:", {})
    assert caught.value.problem == f"what their-package offers as source of kind 'x' is none: {problem}"


# ---------------------------------------------------------------------------------------------- file


def test_a_file_is_a_destination(tmp_path: Path) -> None:
    destination: Destination = FileDestination(tmp_path / "x")
    assert destination.failure_format is FailureFormat.RECORD


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:dead.jsonl", "file:dead.jsonl"),
        ("file:a/b%20c.jsonl", "file:a/b c.jsonl"),
        ("file:///var/dead.jsonl", "file:/var/dead.jsonl"),
        ("file://localhost/var/dead.jsonl", "file:/var/dead.jsonl"),
    ],
)
def test_a_uri_names_a_file(uri: str, name: str) -> None:
    assert plugins.destination(uri, {}).name == name


@pytest.mark.parametrize("uri", ["file:", "file:folder/", "file://host/x", "file:x?a=b"])
def test_a_uri_that_names_no_file_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="names"):
        plugins.destination(uri, {})


async def test_lines_are_appended_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "dead.jsonl"
    await FileDestination(path).send([Message(b'{"a":1}'), Message(b'{"a":2}', "key")])
    await FileDestination(path).send([Message(b"3")])
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n3\n'


async def test_a_body_of_several_lines_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    failures = await FileDestination(path).send([Message(b'{\n"a": 1\n}'), Message(b"a\nb"), Message(b"1")])
    assert path.read_bytes() == b'{"a":1}\n1\n'
    assert [(failure.index, failure.retryable) for failure in failures] == [(1, False)]


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    destination = FileDestination(path)
    await destination.send([Message(b"1")])
    path.rename(tmp_path / "x.1")
    await destination.send([Message(b"2")])
    assert path.read_bytes() == b"2\n"


async def test_a_line_that_was_cut_off_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"a":')
    await FileDestination(path).send([Message(b"2")])
    assert path.read_bytes() == b'{"a":\n2\n'


async def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    destination = FileDestination(path)
    await destination.send([Message(b"1")])
    write = os.write
    room = [3]

    def full(file: int, data: Any) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, bytes(data)[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        await destination.send([Message(b"12345678")])
    assert path.read_bytes() == b"1\n"


async def test_a_file_is_checked_without_being_made(tmp_path: Path) -> None:
    await FileDestination(tmp_path / "a" / "b" / "x").check()
    assert os.listdir(tmp_path) == []
    (tmp_path / "plain").write_text("")
    await FileDestination(tmp_path / "plain").check()
    with pytest.raises(ConfigurationError, match="is not a folder"):
        await FileDestination(tmp_path / "plain" / "x").check()
    with pytest.raises(ConfigurationError, match="is a folder"):
        await FileDestination(tmp_path).check()


async def test_a_file_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match="may not be written"):
        await FileDestination(tmp_path / "x").check()


# ----------------------------------------------------------------------------------------------- log


async def test_a_message_becomes_a_line_of_the_log() -> None:
    destination: Destination = LogDestination()
    assert (destination.name, destination.failure_format) == ("log:", FailureFormat.METADATA)
    with structlog.testing.capture_logs() as lines:
        await destination.send([Message(json.dumps({"a": 1}).encode(), "k"), Message(b"\xff")])
    await destination.check()
    await destination.close()
    assert lines == [
        {"event": "message", "log_level": "error", "body": {"a": 1}, "key": "k"},
        {"event": "message", "log_level": "error", "body": "\ufffd"},
    ]


async def test_the_level_can_be_chosen() -> None:
    with structlog.testing.capture_logs() as lines:
        await plugins.destination("log:?level=warning", {}).send([Message(b"1")])
    assert lines[0]["log_level"] == "warning"


@pytest.mark.parametrize("uri", ["log:x", "log://x", "log:?level=loud", "log:?colour=red"])
def test_a_log_takes_nothing_else(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        plugins.destination(uri, {})
