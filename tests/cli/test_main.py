"""The command line as such: help, version, time to start, logs."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import structlog

from streamfn import __version__
from streamfn.cli import _parser, logs, main
from streamfn.cli.table import table

from .conftest import Streamfn, command, environment


def test_help_names_every_command(streamfn: Streamfn) -> None:
    said = streamfn("--help").stdout
    assert all(name in said for name in ("run", "check", "put", "filter", "mappings", "demo"))


@pytest.mark.parametrize("name", ["run", "check", "put", "mappings"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "--state-dir" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"streamfn {__version__}\n"


def test_the_demo_gets_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    module = ModuleType("streamfn.demo")
    monkeypatch.setattr(module, "main", given.append, raising=False)
    monkeypatch.setitem(sys.modules, "streamfn.demo", module)
    assert main(["demo", "--fast", "--help"]) == 0
    assert given == [["--fast", "--help"]]


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["check"], ["run", "a", "--grace", "-1"]])
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("invoke {o} f 1", {"function": "f", "payload": "1"}),
        ("invoke f {o} 1", {"function": "f", "payload": "1"}),
        ("invoke f {o}", {"function": "f", "payload": "{}"}),
        ("put local:s {o} -", {"destination": "local:s", "file": "-"}),
        ("put local:s {o} -- --file", {"destination": "local:s", "file": "--file"}),
        ("mappings pause {o} orders", {"action": "pause", "name": "orders"}),
        ("mappings {o}", {"action": None, "name": None}),
        ("dlq show local:dead {o} 1 2", {"places": ["local:dead", "1", "2"]}),
        ("dlq import letters {o} local:dead", {"file": "letters", "store": "local:dead"}),
        ("run {o} app.py", {"target": "app.py"}),
    ],
)
def test_options_may_stand_anywhere(words: str, said: dict[str, object]) -> None:
    options = vars(_parser().parse_args(words.replace("{o}", "--state-dir here").split()))
    assert {"state_dir": "here", **said}.items() <= options.items()


def test_help_loads_nothing_heavy() -> None:
    heavy = ("pydantic", "structlog", "rich", "yaml", "aiokafka")
    code = (
        "import sys\nfrom streamfn.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print('loaded:', *sorted(set({heavy}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.slow
@pytest.mark.skipif("coverage" in sys.modules, reason="coverage measures every program, which takes its time")
def test_help_answers_within_200_ms() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command("--help"), env=environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, and the best of several: other work on the machine only ever adds to it.
    assert min(seconds() for _ in range(7)) < 0.2


# ---------------------------------------------------------------------------------------------- logs


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, {n: logging.getLogger(n).level for n in ("aiokafka", "asyncio")}
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("restored")
def test_a_line_of_json_holds_anything(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger().info("said", number=1, data=b"\xff", thing=object, names={1: "a"})
    structlog.get_logger().debug("unsaid")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["number"], line["names"]) == ("said", "info", 1, {"1": "a"})
    assert line["timestamp"].endswith("Z")


@pytest.mark.usefixtures("restored")
def test_libraries_log_through_the_same_place(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("acme.orders").warning("hello %s", "there")
    logging.getLogger("aiokafka.consumer").info("chatter")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["logger"], line["level"]) == ("hello there", "acme.orders", "warning")


@pytest.mark.usefixtures("restored")
def test_lines_for_people_show_tracebacks_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    try:
        raise ValueError("no")
    except ValueError as error:
        structlog.get_logger().error("crashed", mapping="m", exc_info=error)
    said = capsys.readouterr().err
    assert "crashed" in said
    assert "mapping=m" in said
    assert said.splitlines()[-1] == "ValueError: no"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("terminal", "start"), [(True, "20"), (False, "{")])
def test_the_format_follows_the_terminal(
    terminal: bool, start: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure()
    structlog.get_logger().info("said")
    assert capsys.readouterr().err.replace("\x1b[2m", "").startswith(start)


def test_a_table_sets_numbers_to_the_right() -> None:
    assert table(("NAME", "LAG"), [("a", 12_345), ("long\nname", None)]) == (
        "NAME          LAG\na          12,345\nlong name       -\n"
    )
