"""The command line: `streamfn run`, `check`, `put`, `filter`, `mappings`, `functions`, `invoke`, `dlq`,
`demo`.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from streamfn.errors import StreamfnError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLEAN: Final = 0
CUT_OFF: Final = 1
BAD_CONFIGURATION: Final = 2

_TARGET = "module:app, path/to/file.py[:app], a streamfn.yaml, or a SAM or CloudFormation template"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code: 0 all well, 1 cut off or not all done, 2 misconfigured."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["demo"]:
            # It has options of its own, and may be left out of an installation.
            return _loaded("streamfn.demo:main")(given[1:]) or CLEAN
        options = _parser().parse_args(given)
        return _loaded(options.command)(options) or CLEAN
    except StreamfnError as error:
        return complain(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough: what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLEAN
    except KeyboardInterrupt:
        return CUT_OFF


def complain(error: StreamfnError) -> int:
    """Says what is wrong, one line a problem and no traceback of ours, and gives the exit code."""
    from streamfn.errors import ConfigurationError

    lines = [str(error)]
    if isinstance(error, ConfigurationError):
        from streamfn.config.errors import problems

        if trace := getattr(error, "trace", ""):
            sys.stderr.write(trace)
        lines = [str(problem) for problem in problems(error)]
    for line in lines:
        sys.stderr.write(f"streamfn: {line}\n")
    return BAD_CONFIGURATION if isinstance(error, ConfigurationError) else CUT_OFF


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamfn",
        description="AWS Lambda's event source mappings without AWS.",
        epilog="Exit codes: 0 all well; 1 something was cut off, or not all was done, or nothing matched; "
        "2 bad configuration.",
    )
    parser.add_argument("--version", action=_Version, help="show the version and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    run = _command(commands, "run", "streamfn.cli.run:run", "run functions until told to stop")
    run.add_argument("target", metavar="TARGET", nargs="?", help=f"{_TARGET}; not needed with --api")
    run.add_argument(
        "--grace",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="time for batches in flight to end (30)",
    )
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(info)")
    run.add_argument("--log-format", choices=("json", "console"), help="(console on a terminal, else json)")
    run.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="for development: drain and start again when a file of the app changes",
    )
    run.add_argument(
        "--reload-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="with --reload: watch this folder too, all files in it; may be given again",
    )
    run.learn_from("streamfn.cli.run_options:add_to")
    _state_dir(run)

    check = _command(
        commands, "check", "streamfn.cli.check:check", "validate the configuration and reach every end"
    )
    check.add_argument("target", metavar="TARGET", help=_TARGET)
    check.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="for each source and destination (10)",
    )
    check.add_argument("--json", action="store_true", help="print JSON, not a table")
    check.learn_from("streamfn.cli.run_options:add_target")
    _state_dir(check)

    put = _command(commands, "put", "streamfn.cli.put:put", "send JSON lines or CSV to a destination")
    put.add_argument(
        "destination", metavar="DESTINATION", help="a URI, such as local:flights or kafka://host:9092/topic"
    )
    put.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="may be .gz, or .zip of one file; - reads standard input (default)",
    )
    put.add_argument("--format", choices=("jsonl", "csv"), help="(by the file's name, else jsonl)")
    put.add_argument("--key", metavar="FIELD", help="field whose value becomes the record's key")
    put.add_argument("--batch", type=_count, default=500, metavar="N", help="records sent at once (500)")
    _state_dir(put)

    trial = _command(
        commands,
        "filter",
        "streamfn.cli.filter:filter_lines",
        "try an event pattern on JSON lines, and learn why it does not match",
    )
    trial.add_argument("pattern", metavar="PATTERN", help='JSON, such as {"kind": ["a"]}, or @FILE')
    trial.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="one event a line; may be .gz, or .zip of one file; - reads standard input (default)",
    )
    trial.add_argument(
        "--source",
        choices=("sqs", "kinesis", "dynamodb", "kafka"),
        help="the lines are events or records of it: filter them as a mapping of it does",
    )
    trial.add_argument("--json", action="store_true", help="print JSON that says how many match, not lines")

    mappings = _command(
        commands,
        "mappings",
        "streamfn.cli.mappings:mappings",
        "show what running workers do; pause and resume",
    )
    mappings.add_argument("action", nargs="?", choices=("pause", "resume"), help="(show them)")
    mappings.add_argument("name", metavar="NAME", nargs="?", help="the mapping to pause or resume")
    mappings.add_argument("--json", action="store_true", help="print JSON, not a table")
    mappings.add_argument("--watch", action="store_true", help="show again every second")
    mappings.learn_from("streamfn.cli.endpoint:add_to")
    _state_dir(mappings)

    invoke = _command(
        commands,
        "invoke",
        "streamfn.cli.invoke:invoke",
        "invoke a function of a running worker and print its answer, or queue an event for it",
    )
    invoke.add_argument("function", metavar="FUNCTION", help="its name, or NAME:QUALIFIER")
    invoke.add_argument(
        "payload",
        metavar="PAYLOAD",
        nargs="?",
        default="{}",
        help="JSON, or @FILE; - reads standard input ({})",
    )
    invoke.add_argument(
        "--async",
        dest="asynchronous",
        action="store_true",
        help="queue an event and print its request id: return when it is durable",
    )
    invoke.add_argument("--qualifier", metavar="NAME", help="a version or an alias of the function")
    invoke.add_argument("--log", action="store_true", help="print the last 4 KB of its log too, to stderr")
    invoke.add_argument("--json", action="store_true", help="print what AWS's Invoke answers, as JSON")
    invoke.learn_from("streamfn.cli.endpoint:add_to")
    _state_dir(invoke)

    functions = _command(
        commands,
        "functions",
        "streamfn.cli.functions:ls",
        "show functions of running workers; publish versions, set aliases, shift traffic",
    )
    functions.learn_from("streamfn.cli.functions:add_to")
    _state_dir(functions)

    seal = _command(
        commands, "seal", "streamfn.cli.seal:seal", "encrypt the value of a function's variable, for a file"
    )
    seal.add_argument("name", metavar="NAME", help="the variable: under another name it does not open")
    seal.add_argument(
        "--key", metavar="URI", help="file:PATH, env:NAME or a KMS key (the state directory's own)"
    )
    _state_dir(seal)

    dlq = _command(
        commands,
        "dlq",
        "streamfn.cli.dlq_show:ls",
        "look through dead letters; redrive, purge, export and import them",
    )
    dlq.learn_from("streamfn.cli.dlq_options:add_to")

    export = _command(
        commands,
        "export",
        "streamfn.cli.export:export",
        "write an app as a SAM or CloudFormation template",
    )
    export.learn_from("streamfn.cli.export:add_to")
    _state_dir(export)

    _command(commands, "schema", "streamfn.cli.schema:schema", "print the JSON schema of streamfn.yaml")

    _command(commands, "demo", "streamfn.demo:main", "stream real records through the embedded broker")
    return parser


def _loaded(command: str) -> Callable[[Any], Any]:
    """What a command runs, imported now: `module:function`."""
    module, _, name = command.partition(":")
    function: Callable[[Any], Any] = getattr(import_module(module), name)
    return function


class _Parser(argparse.ArgumentParser):
    """A parser that may learn its options when it is asked for them: the help of others need not wait.

    Options may stand between the other words of a command, where argparse would take an optional word for
    left out.
    """

    _lesson = ""
    _within = False

    def learn_from(self, lesson: str) -> None:
        """`module:function`, which adds the options."""
        self._lesson = lesson

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        lesson, self._lesson = self._lesson, ""
        if lesson:
            _loaded(lesson)(self)
        has_commands = any(action.nargs == argparse.PARSER for action in self._get_positional_actions())
        if has_commands or self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


def _command(commands: argparse._SubParsersAction[_Parser], name: str, command: str, text: str) -> _Parser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        default=os.environ.get("STREAMFN_STATE_DIR") or None,
        help="where workers keep their state (STREAMFN_STATE_DIR, else what the app says, else .streamfn)",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


_seconds.__name__ = "number of seconds"
_count.__name__ = "number from 1"


class _Version(argparse.Action):
    """Prints the version without having imported it for every other command."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> NoReturn:
        from streamfn import __version__

        sys.stdout.write(f"streamfn {__version__}\n")
        parser.exit()
