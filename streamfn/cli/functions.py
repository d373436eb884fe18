"""`streamfn functions`: what functions running workers have; versions, aliases and shifts of traffic."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.cli import CLEAN, CUT_OFF, endpoint, remote
from streamfn.cli.control import ask
from streamfn.cli.table import table
from streamfn.errors import ConfigurationError, StreamfnError

if TYPE_CHECKING:
    from streamfn.cli import _Parser

_HEADS = (
    "NAME", "VERSION", "ALIASES", "RUNTIME", "MEMORY", "TIMEOUT", "IN USE", "IDLE", "PROVISIONED", "PID",
)  # fmt: skip
_LONGEST = 7 * 86_400.0
"""Seconds that a shift of traffic may take."""


def add_to(parser: _Parser) -> None:
    """The actions and their options."""
    _common(parser)
    actions = parser.add_subparsers(metavar="ACTION", parser_class=type(parser))
    show = _action(actions, "show", "streamfn.cli.functions:show", "one function, its versions and aliases")
    show.add_argument("--values", action="store_true", help="print the values of its variables, too")
    publish = _action(actions, "publish", "streamfn.cli.functions:publish", "make a version of what is there")
    publish.add_argument("--description", default="", metavar="TEXT")
    alias = _action(actions, "alias", "streamfn.cli.functions:alias", "make, change or remove an alias")
    alias.add_argument("alias", metavar="ALIAS")
    alias.add_argument("--version", metavar="V", help="the published version that it stands for")
    alias.add_argument(
        "--weight", metavar="V=SHARE", type=_weight, help="a second version and its share, such as 2=0.1"
    )
    alias.add_argument("--delete", action="store_true", help="remove it")
    shift = _action(
        actions, "shift", "streamfn.cli.functions:shift", "move an alias to a version, step by step"
    )
    shift.add_argument("alias", metavar="ALIAS")
    shift.add_argument("--to", metavar="V", required=True, help="the version that it will stand for")
    shift.add_argument(
        "--type",
        default="Canary10Percent5Minutes",
        metavar="NAME",
        help="as CodeDeploy: AllAtOnce, CanaryNPercentMMinutes, LinearNPercentEveryMMinutes "
        "(Canary10Percent5Minutes)",
    )
    shift.add_argument(
        "--max-error-rate",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="of the new version's invocations; above it the alias goes back (0.05)",
    )


def ls(options: argparse.Namespace) -> int:
    """All functions of all workers."""
    if options.endpoint:
        return remote.functions(options)
    answers = ask(_folder(options), {"op": "functions"})
    rows = _rows(answers)
    if options.json:
        print(orjson.dumps(rows).decode())
        return CLEAN
    sys.stdout.write(table(_HEADS, [line for row in rows for line in _lines(row)]))
    return CLEAN


def show(options: argparse.Namespace) -> int:
    """One function, whole. The values of its variables are there only where they are asked for."""
    if options.endpoint:
        return remote.show(options)
    answers = ask(_folder(options), {"op": "functions", "values": options.values})
    rows = [row for row in _rows(answers) if row["name"] == options.name]
    if not rows:
        raise ConfigurationError(f"Function not found: {options.name}", field="FunctionName")
    if options.json:
        print(orjson.dumps(rows).decode())
        return CLEAN
    for row in rows:
        print(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
    return CLEAN


def publish(options: argparse.Namespace) -> int:
    """Prints the number of the version: the last one, where nothing has changed since."""
    if options.endpoint:
        return remote.publish(options)
    request = {"op": "publish", "name": options.name, "description": options.description}
    answer = _first(options, request)
    print(orjson.dumps(answer).decode() if options.json else answer["version"])
    return CLEAN


def alias(options: argparse.Namespace) -> int:
    """Takes effect with the next invocation, in all workers within a second."""
    if options.endpoint:
        return remote.alias(options)
    request: dict[str, Any] = {"name": options.name, "alias": options.alias}
    if options.delete:
        request["op"] = "delete_alias"
    elif options.version is None:
        raise ConfigurationError("is required", field="--version", fix="write --version V, or --delete")
    else:
        weights = dict([options.weight]) if options.weight else {}
        request |= {"op": "alias", "version": options.version, "weights": weights}
    answer = _first(options, request)
    print(orjson.dumps(answer).decode() if options.json else f"{options.name}:{options.alias}")
    return CLEAN


def shift(options: argparse.Namespace) -> int:
    """Waits until the shift is done. Exit code 1: it was rolled back."""
    if options.endpoint:
        raise ConfigurationError(
            "Lambda's API has no shifts of traffic", field="--endpoint", fix="use alias with --weight"
        )
    request = {
        "op": "shift",
        "name": options.name,
        "alias": options.alias,
        "to": options.to,
        "type": options.type,
        "max_error_rate": options.max_error_rate,
    }
    answer = _first(options, request)
    print(orjson.dumps(answer).decode() if options.json else answer["result"])
    return CLEAN if answer["succeeded"] else CUT_OFF


def _first(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of one worker: what they share is in their state directory."""
    answers = ask(_folder(options), request, wait=_LONGEST, first=True)
    if "error" in answers[-1]:
        raise StreamfnError("; ".join(sorted({str(answer["error"]) for answer in answers})))
    return answers[-1]


def _rows(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for answer in answers:
        if "error" in answer:
            sys.stderr.write(f"streamfn: worker {answer.get('pid', '?')}: {answer['error']}\n")
    rows = [{"pid": answer["pid"], **row} for answer in answers for row in answer.get("functions", ())]
    return sorted(rows, key=lambda row: (row["name"], row["pid"]))


def _lines(row: dict[str, Any]) -> list[tuple[object, ...]]:
    """A line for each version that has environments, or is `$LATEST`."""
    lines: list[tuple[object, ...]] = []
    for version in row["versions"]:
        aliases = ", ".join(name for name, alias in row["aliases"].items() if version["version"] in alias)
        lines.append(
            (
                row["name"],
                version["version"],
                aliases or "-",
                row["runtime"],
                row["memory_size"],
                f"{row['timeout']:g}",
                version["in_use"],
                version["idle"],
                version["provisioned"] or "-",
                str(row["pid"]),
            )
        )
    return lines


def _folder(options: argparse.Namespace) -> Path:
    return Path(options.state_dir or ".streamfn") / "run"


def _common(parser: _Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    endpoint.add_to(parser)


def _action(actions: Any, name: str, command: str, text: str) -> _Parser:
    parser: _Parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    parser.add_argument("name", metavar="NAME", help="the function")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    parser.add_argument(
        "--endpoint", metavar="URL", default=argparse.SUPPRESS, help="speak to Lambda's API there instead"
    )
    parser.add_argument(
        "--state-dir", metavar="DIR", default=argparse.SUPPRESS, help="where workers keep their state"
    )
    return parser


def _weight(text: str) -> tuple[str, float]:
    version, _, share = text.partition("=")
    return version, _share(share)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


_share.__name__ = _weight.__name__ = "share from 0 to 1"
