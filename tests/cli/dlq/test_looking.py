"""`streamfn dlq ls`, `show`, `stats`, `stores`, and what is told of mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from streamfn import cli
from streamfn.core.letters import REDRIVES
from streamfn.core.outcomes import Failed
from streamfn.local import LocalSequences
from streamfn.ports import Message, Parked
from tests.cli.conftest import Streamfn, environment
from tests.cli.dlq.conftest import DEAD, All, Put, ids
from tests.letters.made import metadata, of_invocation, of_queue, of_stream


def test_no_dead_letters_and_nothing_is_made(project: Path, dlq: Streamfn) -> None:
    for arguments in (("ls",), ("stats",), ("stores",), ("audit",), ("export",), ("redrive", "--dry-run")):
        done = dlq(*arguments)
        assert (done.returncode, done.stderr.startswith("streamfn")) == (0, False), arguments
    assert dlq("ls").stdout == f"no dead letters in {DEAD}\n"
    assert dlq("ls", "--error", "X").stdout == f"no dead letters in {DEAD} that fit\n"
    assert dlq("ls", "--json").stdout == "[]\n"
    assert not (project / ".streamfn").exists()


def test_they_are_listed(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream({"city": "Porto"}, error=Failed("ValueError", "no \x1b[31m\n" + "x" * 90)), b"plain \xff")
    done = dlq("ls")
    heads, first, second = done.stdout.splitlines()
    assert heads.split() == ["ID", "AGE", "FUNCTION", "MAPPING", "ERROR", "ATTEMPTS", "REDRIVES", "MESSAGE"]
    one, other = ids(all_of)
    assert first.split()[0] == one
    assert [word for word in first.split() if word.isalpha()][:3] == ["d", "ship", "ValueError"]
    assert first.endswith("xxx...")
    assert "\\x1b[31m" in first
    assert second.split()[0] == other
    assert second.endswith("plain �")
    rows = json.loads(dlq("ls", "--json").stdout)
    assert [row["id"] for row in rows] == [one, other]
    assert rows[0]["errorType"] == "ValueError"


def test_so_many_are_shown_and_the_rest_is_counted(put: Put, dlq: Streamfn) -> None:
    put(*(of_stream(number=number) for number in range(7)))
    done = dlq("ls", "--limit", "3")
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == "and 4 more: --limit 7 shows them\n"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ((), 4),
        (("--error", "ValueError"), 3),
        (("--error", "KeyError", "--error", "ValueError"), 4),
        (("--mapping", "pack-parcels"), 1),
        (("--function", "resize"), 1),
        (("--condition", "RetriesExhausted"), 1),
        (("--since", "1h"), 0),
        (("--until", "1h"), 4),
        (("--since", "2023-11-14", "--until", "2023-11-15T00:00:00Z"), 4),
        (("--match", '{"data": {"city": ["Porto"]}}'), 1),
        (("--match", "@pattern.json"), 1),
        (("--match", '{"event": {"image": [{"exists": true}]}}'), 1),
    ],
)
def test_letters_are_selected(
    project: Path, put: Put, dlq: Streamfn, arguments: tuple[str, ...], count: int
) -> None:
    (project / "pattern.json").write_text('{"data": {"city": ["Porto"]}}')
    put(
        of_stream({"city": "Porto"}),
        of_stream({"city": "Lagos"}, error=Failed("KeyError", "")),
        of_queue(),
        of_invocation({"image": 1}),
    )
    assert len(json.loads(dlq("ls", "--json", *arguments).stdout)) == count
    assert json.loads(dlq("stats", "--json", *arguments).stdout)["letters"] == count
    assert len(dlq("export", *arguments).stdout.splitlines()) == count
    summary = json.loads(dlq("purge", "--dry-run", "--json", *arguments).stdout)
    assert summary["purged"] == count
    assert json.loads(dlq("redrive", "--dry-run", "--json", *arguments).stdout)["sent"] == count


def test_one_is_shown_with_all_that_is_known(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream({"city": "Porto"}, key="k\udcff", headers=(("colour", b"red"), (REDRIVES, b"2"))))
    (one,) = ids(all_of)
    done = dlq("show", one)
    assert done.returncode == 0, done.stderr
    for line in (
        "function      ship",
        "mapping       ship-orders",
        "source        local:orders",
        "attempts      3",
        "redrives      2",
        "key           k?",
        "header        colour: red",
        "ValueError: no such city",
        "      raise ValueError",
        '  "city": "Porto"',
        '      "eventSource": "aws:kinesis",',
    ):
        assert line in done.stdout.splitlines()
    whole = json.loads(dlq("show", DEAD, one, "--json").stdout)
    assert (whole["data"], whole["deadLetter"]["redrives"], whole["stored"]["id"]) == (
        {"city": "Porto"},
        2,
        one,
    )


def test_letters_of_all_forms_can_be_shown(put: Put, dlq: Streamfn, all_of: All) -> None:
    dead = (("RequestID", b"r-1"), ("ErrorCode", b"200"), ("ErrorMessage", b"it broke"))
    put(metadata(3, 5), b"plain", of_invocation(None), Message(b'{"a":1}', headers=dead))
    shown = [dlq("show", one).stdout for one in ids(all_of)]
    assert "KinesisBatchInfo, to be fetched back" in shown[0]
    assert shown[1].endswith("\nbody\nplain\n")
    assert "function      resize" in shown[2]
    assert "error: it broke" in shown[3]
    for one in ids(all_of):
        assert dlq("show", one, "--json").returncode == 0


def test_counts(put: Put, dlq: Streamfn) -> None:
    put(of_stream(), of_stream(), of_queue())
    text = dlq("stats").stdout
    assert text.startswith(f"3 dead letters in {DEAD}: the oldest ")
    assert "\nship-orders         2\npack-parcels        1\n" in text
    assert "\n2023-11-14T22Z        3\n" in text


def test_stores_that_hold_dead_letters(put: Put, dlq: Streamfn) -> None:
    put(b"x", uri="local:queue/orders?max_receive_count=1&dead_letter=unshipped")
    put(b"x", uri="local:queue/unshipped")
    put(of_stream(), of_queue(), uri="local:failed?shards=2")
    put(b"x", uri="local:orders")
    put(of_stream())
    rows = json.loads(dlq("stores", "--json").stdout)
    assert {row["store"]: (row["letters"], row["of"]) for row in rows} == {
        DEAD: (1, []),
        "local:queue/unshipped": (1, ["local:queue/orders"]),
        "local:failed": (2, []),
    }
    assert "local:queue/unshipped" in dlq("stores").stdout


def test_sequences_are_stores_too(project: Path, dlq: Streamfn) -> None:
    async def close_a_key() -> None:
        sequences = LocalSequences(project / ".streamfn", lambda: 1_700_000_000.0, "shop.ship-orders", 10)
        letters = [Parked("k", number, 1.0, of_stream(number=number)) for number in range(3)]
        async with sequences.open():
            await sequences.bury("s", letters[:1])
            await sequences.park("s", letters[1:])

    anyio.run(close_a_key)
    (row,) = json.loads(dlq("stores", "--json").stdout)
    assert (row["store"], row["letters"], row["behind"]) == ("sequence:shop.ship-orders", 1, 2)
    store = row["store"]
    assert "  BEHIND  MESSAGE\n" in dlq("ls", store).stdout
    assert (
        "behind        2\n"
        in dlq("show", store, json.loads(dlq("ls", store, "--json").stdout)[0]["id"]).stdout
    )
    assert "2 records wait behind them\n" in dlq("stats", store).stdout
    assert f"        1 to {store}\n" in dlq("redrive", store).stdout
    (row,) = json.loads(dlq("stores", "--json").stdout)
    assert (row["letters"], row["behind"]) == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ls", "local:queue/none"), 2, "there is no local:queue/none. Fix: `streamfn dlq stores` lists"),
        (("ls", "nowhere:x"), 2, "Store: there is no store of dead letters of kind 'nowhere': known are "),
        (("ls", "--match", "{"), 2, "Event pattern is not valid."),
        (("ls", "--match", "@none.json"), 2, "none.json: cannot be read: No such file"),
        (("ls", "--since", "lately"), 2, "--since: 'lately' is no time. Fix: write "),
        (("ls", "--since", "1h", "--until", "2h"), 2, "nothing is between --since and --until"),
        (("ls", "unknown"), 1, f"there is no letter unknown in {DEAD}"),
        (("stats", "unknown"), 1, f"there is no letter unknown in {DEAD}"),
        (("export", "--id", "unknown"), 1, f"there is no letter unknown in {DEAD}"),
        (("redrive", "unknown"), 1, f"there is no letter unknown in {DEAD}"),
        (("purge", "unknown", "--yes"), 1, f"there is no letter unknown in {DEAD}"),
        (("show", "unknown"), 1, f"there is no letter unknown in {DEAD}"),
        (("show",), 2, "one letter is shown at a time. Fix: write its id"),
        (("show", "a", "b"), 2, "one letter is shown at a time"),
        (("purge",), 2, f"all dead letters of {DEAD} would be gone for good. Fix: say --yes"),
        (("purge", "--error", "E"), 2, f"these dead letters of {DEAD} would be gone"),
        (("redrive", "--to", DEAD), 2, "--to: letters would be redriven into their own store"),
        (("redrive", "--to", "nowhere:x"), 2, "there is no destination of kind 'nowhere'"),
        (("redrive", "--rate", "0"), 2, "argument --rate: invalid number above 0 value: '0'"),
        (("redrive", "--max-redrives", "x"), 2, "invalid number from 1"),
        (("export", DEAD, "a", "b"), 2, "there is one file to write"),
        (("import", "none.jsonl"), 2, "none.jsonl: cannot be read: No such file"),
        (("audit", "none"), 1, "there is no run none"),
    ],
)
def test_what_is_wrong_is_told(dlq: Streamfn, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = dlq(*arguments)
    assert done.returncode == code, done
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_damaged_is_told_in_one_line(project: Path, dlq: Streamfn) -> None:
    (project / ".streamfn").mkdir()
    (project / ".streamfn/local.sqlite3").write_bytes(b"no database, " * 100)
    done = dlq("ls")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is damaged" in done.stderr


def test_an_audit_that_is_damaged_ends_the_run_before_anything_is_sent(
    project: Path, put: Put, dlq: Streamfn, all_of: All
) -> None:
    put(of_queue("1"))
    (project / ".streamfn/letters.sqlite3").write_bytes(b"no database, " * 100)
    for action in (("redrive",), ("purge", "--mapping", "pack-parcels", "--yes")):
        done = dlq(*action)
        assert (done.returncode, "is damaged" in done.stderr) == (1, True)
        assert "stopped: run it again for the rest" in done.stdout
    assert len(all_of(DEAD)) == 1


def test_help_is_there_for_every_action() -> None:
    parser = cli._parser()
    actions = ("ls", "show", "stats", "stores", "redrive", "purge", "export", "import", "audit")
    for action in actions:
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(["dlq", action, "--help"])
        assert ended.value.code == 0


def test_help_of_all_does_not_learn_these_options() -> None:
    code = (
        "import sys; from streamfn import cli; cli._parser(); print([m for m in sys.modules if 'dlq' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
