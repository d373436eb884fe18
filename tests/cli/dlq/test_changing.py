"""`streamfn dlq redrive`, `purge`, `export`, `import` and `audit`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from streamfn.core.letters import REDRIVES
from streamfn.ports import Message
from tests.cli.conftest import Start, Streamfn, until
from tests.cli.dlq.conftest import DEAD, All, Put, ids
from tests.letters.made import metadata, of_queue, of_stream


def test_all_go_back_to_where_they_came_from(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream({"n": 1}), of_queue("two"))
    would = dlq("redrive", "--dry-run").stdout
    assert "        1 to local:orders\n" in would
    assert "        2 would be redriven\n" in would
    assert len(all_of(DEAD)) == 2
    done = dlq("redrive")
    assert (done.returncode, done.stderr) == (0, "")
    assert "        1 to local:queue/parcels\n        2 redriven\n" in done.stdout
    assert f"        0 in {DEAD} now\n" in done.stdout
    assert [stored.body for stored in all_of("local:orders")] == [b'{"n":1}']
    assert [stored.body for stored in all_of("local:queue/parcels")] == [b"two"]


def test_some_go_elsewhere(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream({"n": 1}), of_queue("two"))
    one = ids(all_of)[0]
    done = dlq("redrive", DEAD, one, "--to", "local:queue/fixed", "--json")
    summary = json.loads(done.stdout)
    assert (summary["store"], summary["sent"], summary["targets"]) == (DEAD, 1, {"local:queue/fixed": 1})
    assert [stored.body for stored in all_of("local:queue/fixed")] == [b'{"n":1}']
    assert len(all_of(DEAD)) == 1


def test_the_endpoint_map_says_where_arns_lead(project: Path, put: Put, dlq: Streamfn, all_of: All) -> None:
    (project / "endpoints.yaml").write_text("- {service: '*', url: 'local:'}\n")
    stream = b"arn:aws:kinesis:us-east-1:000000000000:stream/orders"
    store = "arn:aws:sqs:us-east-1:000000000000:failed"
    put(of_stream({"n": 1}).replace(b"local:orders", stream), of_queue("2"), uri="local:queue/failed")
    where = ("--endpoints", "endpoints.yaml")
    assert dlq("ls", store, *where).stdout.count("\n") == 3
    assert dlq("redrive", store, *where, "--to", "local:queue/failed").returncode == 2  # its own store
    done = dlq("redrive", store, *where)
    assert (done.returncode, done.stderr) == (0, "")
    assert [stored.body for stored in all_of("local:orders")] == [b'{"n":1}']
    assert [stored.body for stored in all_of("local:queue/parcels")] == [b"2"]
    put(of_queue("3"), uri="local:queue/failed")
    assert dlq("export", store, "kept.jsonl", *where).returncode == 0
    assert dlq("import", "kept.jsonl", store, *where).returncode == 0
    assert dlq("stats", store, *where).stdout.startswith("2 dead letters")
    assert dlq("purge", store, "--yes", *where).returncode == 0
    assert all_of("local:queue/failed") == []
    assert dlq("ls", "--endpoints", "none.yaml").returncode == 2


def test_a_worker_that_runs_says_where_arns_and_names_lead(
    project: Path, put: Put, dlq: Streamfn, all_of: All, start: Start
) -> None:
    (project / "work.py").write_text("def handler(event, context): ...\n")
    (project / "streamfn.yaml").write_text(
        "endpoints: [{service: '*', url: 'local:'}]\nfunctions: {work: 'work:handler'}\n"
        "event_source_mappings: [{function: work, source: 'local:queue/others'}]\n"
    )
    store = "arn:aws:sqs:us-east-1:000000000000:failed"
    put(of_queue("1"), of_queue("2"), uri="local:queue/failed")
    until(start("run", "streamfn.yaml").stderr, "worker_started")
    for name in (store, "sqs://failed"):
        assert dlq("ls", name).stdout.count("\n") == 3
    assert dlq("redrive", store, "--limit", "1").returncode == 0
    assert len(all_of("local:queue/parcels")) == 1
    # A file that is given goes first.
    (project / "endpoints.yaml").write_text("- {service: sqs, url: 'http://127.0.0.1:9'}\n")
    asked = dlq("ls", f"{store}?access_key_id=a&secret_access_key=b", "--endpoints", "endpoints.yaml")
    assert asked.returncode != 0
    assert "127.0.0.1:9" in asked.stderr


def test_what_is_local_is_reached_while_a_worker_does_not_answer(
    project: Path, put: Put, dlq: Streamfn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamfn.cli.dlq._ANSWERING", 0.1)
    put(of_queue("1"))
    (project / ".streamfn" / "run").mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as hangs:
        # From the project's folder, which is the present one: addresses of sockets are short.
        hangs.bind(f".streamfn/run/{os.getpid()}.sock")
        hangs.listen()
        assert dlq("ls").stdout.count("\n") == 2
        asked = dlq("ls", "sqs://failed")
    assert asked.returncode != 0
    assert "does not say its endpoints: no answer within 0.1 s; give them by --endpoints FILE" in asked.stderr


def test_what_stays_is_told_and_the_exit_code_says_so(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(b"plain", of_stream(headers=((REDRIVES, b"3"),)))
    first, second = ids(all_of)
    done = dlq("redrive")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"streamfn: {first} failed: does not say where it came from: say --to URI",
        f"streamfn: {second} refused: was redriven 3 times already: say --force to redrive it all the same",
    ]
    assert dlq("redrive", second, "--force").returncode == 0
    assert dlq("redrive", "--max-redrives", "1", "--to", "local:x").returncode == 0


def test_many_that_stay_are_told_in_part(put: Put, dlq: Streamfn) -> None:
    put(*(b"plain" for _ in range(25)))
    done = dlq("redrive")
    assert len(done.stderr.splitlines()) == 21
    assert done.stderr.splitlines()[-1] == "streamfn: and 5 more"


def test_a_log_hides_what_was_done(put: Put, dlq: Streamfn) -> None:
    put(of_stream(number=1), of_stream(number=2), uri="local:failed?shards=1")
    assert dlq("redrive", "local:failed", "0-0").returncode == 0
    assert dlq("purge", "local:failed", "0-1", "--yes").returncode == 0
    done = dlq("ls", "local:failed")
    assert done.stdout == "no dead letters in local:failed\n"
    assert done.stderr == "2 that were redriven or purged are hidden: --all shows them\n"
    rows = json.loads(dlq("ls", "local:failed", "--all", "--json").stdout)
    assert [row["done"] for row in rows] == ["redriven", "purged"]
    assert "  DONE  " in dlq("ls", "local:failed", "--all").stdout
    assert "done          redriven by run " in dlq("show", "local:failed", "0-0").stdout
    assert json.loads(dlq("stats", "local:failed", "--json").stdout)["letters"] == 0


def test_purging_asks_and_then_does_it(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream(), of_queue())
    assert dlq("purge", stdin="y\n").returncode == 2
    assert "        2 would be purged\n" in dlq("purge", "--dry-run").stdout
    done = dlq("purge", "--mapping", "pack-parcels", "--yes")
    assert (done.returncode, "        1 purged\n" in done.stdout) == (0, True)
    assert len(all_of(DEAD)) == 1
    assert dlq("purge", "--yes").returncode == 0
    assert all_of(DEAD) == []


def test_who_did_what_can_be_seen(put: Put, dlq: Streamfn, all_of: All) -> None:
    put(of_stream(), of_queue())
    one, other = ids(all_of)
    dlq("redrive", one, "--to", "local:x?shards=1")
    dlq("purge", other, "--yes")
    last, first = json.loads(dlq("audit", "--json").stdout)
    assert (first["action"], first["counts"], last["action"]) == ("redrive", {"sent": 1}, "purge")
    assert "--to local:x" in first["asked"]
    assert "shards" not in first["asked"]
    assert first["endedAt"] is not None
    (entry,) = json.loads(dlq("audit", first["run"], "--json").stdout)
    assert (entry["id"], entry["done"], entry["target"], entry["redrives"]) == (one, "redriven", "local:x", 1)
    assert f"{first['user']}@{first['host']}" in dlq("audit").stdout
    assert other in dlq("audit", last["run"]).stdout
    put(of_stream(), of_stream(), of_stream())
    dlq("redrive")
    newest = json.loads(dlq("audit", "--json", "--limit", "1").stdout)[0]["run"]
    assert dlq("audit", newest, "--limit", "2").stderr == "and more: --limit 4 shows more of them\n"


# -------------------------------------------------------------------------------------------------- moving


def test_what_is_exported_comes_back_as_it_was(project: Path, put: Put, dlq: Streamfn, all_of: All) -> None:
    put(
        of_stream({"x": "é"}, key="k\udcff"),
        Message(b"\xff\x00", "k\udcfe", (("h", b"\xff"), ("h", b""))),
        Message(b'{"a": 1}\n', None, (("é", b"1"),)),
        metadata(1, 2),
    )
    before = [(stored.body, stored.key, stored.headers) for stored in all_of(DEAD)]
    done = dlq("export", "kept.jsonl")
    assert (done.returncode, done.stderr) == (0, f"4 letters of {DEAD} to kept.jsonl\n")
    assert dlq("purge", "--yes").returncode == 0
    done = dlq("import", "kept.jsonl")
    assert (done.returncode, done.stderr) == (0, f"4 letters to {DEAD}\n")
    assert [(stored.body, stored.key, stored.headers) for stored in all_of(DEAD)] == before
    streamed = dlq("export", DEAD, "-").stdout
    assert dlq("import", "-", "local:queue/other", stdin=streamed).returncode == 0
    assert [(stored.body, stored.key, stored.headers) for stored in all_of("local:queue/other")] == before
    assert sorted(path.name for path in project.glob("*.jsonl*")) == ["kept.jsonl"]


def test_lines_that_are_no_letters_are_told(dlq: Streamfn, all_of: All) -> None:
    lines = '{"headers":[],"body":1}\n\n{"a":1}\nx\n'
    done = dlq("import", "-", stdin=lines)
    assert done.returncode == 1
    assert "streamfn: line 3: not a line of `streamfn dlq export`\nstreamfn: line 4: " in done.stderr
    assert done.stderr.endswith(f"1 letters to {DEAD}\n")
    assert [stored.body for stored in all_of(DEAD)] == [b"1"]


def test_an_export_that_cannot_be_written_leaves_nothing(project: Path, put: Put, dlq: Streamfn) -> None:
    put(of_stream())
    done = dlq("export", "none/kept.jsonl")
    assert (done.returncode, "No such file or directory" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
