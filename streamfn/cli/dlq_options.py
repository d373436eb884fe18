"""The options of `streamfn dlq`, learned when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamfn.cli import _count, _state_dir

if TYPE_CHECKING:
    import argparse

DEFAULT_STORE: Final = "local:queue/dead-letters"
_STORE: Final = (
    "a URI or ARN, such as sqs://failed, kafka://host:9092/failed, s3://bucket/prefix, sequence:app.mapping "
    f"({DEFAULT_STORE})"
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the actions and their options."""
    parser.epilog = f"STORE is {_STORE}."
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    ls = _action(actions, "ls", "dlq_show:ls", "list dead letters, the oldest first")
    _places(ls, "ID")
    ls.add_argument(
        "--limit",
        type=_count,
        default=100,
        metavar="N",
        help="letters shown; the rest is counted (100)",
    )
    ls.add_argument("--all", action="store_true", help="show what was redriven or purged already as well")
    _selection(ls)
    _json(ls, "print JSON, not a table")

    show = _action(actions, "show", "dlq_show:show", "show all that is known of one dead letter")
    _places(show, "ID")
    _json(show, "print the whole document as JSON")

    stats = _action(actions, "stats", "dlq_show:stats", "count by error, function, mapping, source and hour")
    _places(stats, "ID")
    _selection(stats)
    _json(stats, "print JSON, not tables")

    stores = _action(
        actions, "stores", "dlq_show:stores", "list local streams and queues that hold dead letters"
    )
    _json(stores, "print JSON, not a table")

    _redrive(_action(actions, "redrive", "dlq_change:redrive", "send dead letters back, and take them out"))

    purge = _action(actions, "purge", "dlq_change:purge", "take dead letters out for good")
    _places(purge, "ID")
    _selection(purge)
    purge.add_argument("--yes", action="store_true", help="do not ask")
    purge.add_argument("--dry-run", action="store_true", help="say how many it would be, and change nothing")
    _json(purge, "print a summary as JSON")

    export = _action(actions, "export", "dlq_move:export", "write dead letters to a file, one a line")
    _places(export, "FILE", "FILE: where to write; - is standard output (default)")
    export.add_argument(
        "--id", dest="ids", action="append", default=[], metavar="ID", help="this one; several"
    )
    _selection(export)

    load = _action(actions, "import", "dlq_move:load", "put what was exported into a store")
    load.add_argument(
        "file", metavar="FILE", help="written by export; may be .gz, or .zip of one file; - is standard input"
    )
    load.add_argument("store", metavar="STORE", nargs="?", default=DEFAULT_STORE, help=f"({DEFAULT_STORE})")

    audit = _action(actions, "audit", "dlq_move:audit", "list what was redriven and purged, by whom and when")
    audit.add_argument("run", metavar="RUN", nargs="?", help="show each letter of this run")
    audit.add_argument("--limit", type=_count, default=100, metavar="N", help="lines shown (100)")
    _json(audit, "print JSON, not a table")
    for action in (ls, show, stats, stores, purge, export, load, audit):
        _state_dir(action)
    for action in (ls, show, stats, purge, export, load):
        _endpoints(action)


def _redrive(redrive: argparse.ArgumentParser) -> None:
    _places(redrive, "ID")
    redrive.add_argument(
        "--to",
        metavar="TARGET",
        help="source, function, or a URI (to its source what can go there, to its function what cannot)",
    )
    redrive.add_argument("--dry-run", action="store_true", help="say what would go where, and change nothing")
    redrive.add_argument("--rate", type=_rate, metavar="N", help="letters a second (as fast as it goes)")
    redrive.add_argument("--limit", type=_count, metavar="N", help="letters sent at most (all)")
    redrive.add_argument(
        "--max-redrives",
        type=_count,
        default=3,
        metavar="N",
        help="refuse letters that were redriven so often already (3)",
    )
    redrive.add_argument("--force", action="store_true", help="refuse none")
    _selection(redrive)
    _json(redrive, "print a summary as JSON")
    _state_dir(redrive)
    _endpoints(redrive)


def _endpoints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--endpoints",
        metavar="FILE",
        help="which server stands behind which ARN (as a worker that runs with the state directory has it)",
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=f"streamfn.cli.{command}")
    return parser


def _places(parser: argparse.ArgumentParser, what: str, text: str = "ID: this one; several") -> None:
    parser.add_argument(
        "places", metavar=f"STORE {what}", nargs="*", help=f"STORE: {_STORE.replace('%', '%%')}. {text}"
    )


def _selection(parser: argparse.ArgumentParser) -> None:
    some = parser.add_argument_group("which letters", "those that fit all of what is said; without, all")
    some.add_argument(
        "--match", metavar="PATTERN", help="an event pattern, as JSON or @FILE, for what `show --json` prints"
    )
    some.add_argument(
        "--since", metavar="TIME", help="given up then or later: ISO 8601, or an age such as 2h, 7d"
    )
    some.add_argument("--until", metavar="TIME", help="given up before then")
    some.add_argument(
        "--error", action="append", default=[], metavar="TYPE", help="the error's type; several"
    )
    some.add_argument(
        "--condition", action="append", default=[], metavar="NAME", help="why it was given up; several"
    )
    some.add_argument("--mapping", metavar="NAME", help="of this event source mapping")
    some.add_argument("--function", metavar="NAME", help="of this function")


def _json(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


_rate.__name__ = "number above 0"
