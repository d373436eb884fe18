"""The demo, here and on Kafka: every flight is where a plain loop over the table says it is."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streamfn.cli import main
from streamfn.demo import dataset, flights, play
from streamfn.demo.dataset import NoFlights
from streamfn.demo.play import Carrier, Counts
from streamfn.demo.screen import Screen
from tests.servers.kafka import create_topic, run_kafka, topic_name

ROOT = Path(__file__).resolve().parents[2]
FEW = 5_000
COLUMNS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,"
    "tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first flights; where the data was never fetched, made-up ones of the same form."""
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    if dataset.is_cached():
        with zipfile.ZipFile(dataset.cached()) as archive, archive.open("flights.csv") as file:
            path.write_bytes(b"".join(islice(file, FEW + 1)))
        return path
    chance = random.Random(0)
    with path.open("w", encoding="utf-8") as made:
        made.write(COLUMNS + "\n")
        for number in range(FEW):
            late = chance.randint(-30, 90)
            arrived, departed = chance.random() > 0.03, chance.random() > 0.02
            delays = f"{late if departed else 'NA'},830,819,{late if arrived and departed else 'NA'}"
            carrier = chance.choice(["UA", "B6", "EV", "9E"])
            made.write(f"2013,1,1,517,515,{delays},{carrier},{number},N1,EWR,IAH,227,1400,5,15,Z\n")
    return path


@pytest.fixture(scope="module")
def all_flights() -> Path:
    try:
        return dataset.fetch()
    except NoFlights as error:
        pytest.skip(str(error))


def rows(path: Path) -> Iterator[dict[str, str]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
            yield from csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
    else:
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def expected(path: Path) -> list[dict[str, Any]]:
    """The same numbers, by a loop."""
    delays: defaultdict[str, list[int]] = defaultdict(list)
    missing: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows(path):
        if row["arr_delay"] != "NA":
            delays[row["carrier"]].append(int(row["arr_delay"]))
        else:
            missing[row["carrier"]]["cancelled" if row["dep_delay"] == "NA" else "diverted"] += 1
    found = [
        {
            "code": code,
            "arrived": len(delays[code]),
            "mean_delay": sum(delays[code]) / len(delays[code]) if delays[code] else None,
            "late": sum(delay >= 15 for delay in delays[code]),
            **{what: missing[code][what] for what in ("cancelled", "diverted")},
        }
        for code in {*delays, *missing}
    ]
    return sorted(found, key=lambda one: str(one["code"]))


def in_short(carriers: Sequence[Carrier]) -> list[dict[str, Any]]:
    names = ("code", "arrived", "mean_delay", "late", "cancelled", "diverted")
    found = [{name: getattr(carrier, name) for name in names} for carrier in carriers]
    return sorted(found, key=lambda one: str(one["code"]))


def demo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return streamfn("demo", *arguments, **variables)


def streamfn(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    here = os.pathsep.join((str(ROOT), str(ROOT / "connectors")))
    return subprocess.run(
        [sys.executable, "-m", "streamfn", *arguments],
        env=os.environ | {"PYTHONPATH": here} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_flight_is_accounted_for(few: Path, tmp_path: Path) -> None:
    done = demo("--json", "--file", str(few), "--state-dir", str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    names = ("code", "arrived", "mean_delay", "late", "cancelled", "diverted")
    assert sorted(
        ({name: carrier[name] for name in names} for carrier in said["carriers"]), key=lambda one: one["code"]
    ) == expected(few)
    poison = sum(row["arr_delay"] == "NA" for row in rows(few))
    assert said["accounted_for"] is True
    assert (said["written"], said["processed"], said["dead_letters"]) == (FEW, FEW - poison, poison)
    assert said["redriven"] == poison
    assert said["bisections"] > 0
    assert said["dead_letter"]["responsePayload"]["errorType"] == "ValueError"


def test_the_dead_letters_are_the_poison_and_nothing_else(few: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert demo("--json", "--file", str(few), "--state-dir", state).returncode == 0
    exported = streamfn("dlq", "export", flights.DEAD_LETTERS, "-", "--state-dir", state)
    assert exported.returncode == 0
    letters = [json.loads(line)["body"] for line in exported.stdout.splitlines()]
    dead = [flight for letter in letters for flight in flights.originals(letter)]
    poison = [row for row in rows(few) if row["arr_delay"] == "NA"]
    assert all(letter["requestContext"]["condition"] == "RetriesExhausted" for letter in letters)
    assert sorted(map(sorted_items, dead)) == sorted(map(sorted_items, poison))


def sorted_items(row: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(row.items())


def test_without_a_terminal_there_are_plain_lines(few: Path) -> None:
    done = demo("--file", str(few), "--records", "500")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "written     500  resolved     500" in done.stdout
    assert "Every flight is accounted for" in done.stdout
    assert "streamfn dlq stats local:flights-dead --state-dir DIR" in done.stdout


def test_a_state_that_is_there_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "local.sqlite3").touch()
    done = demo("--state-dir", str(tmp_path), "--file", "any.csv")
    assert done.returncode == 2
    assert "--state-dir: holds the state of something already" in done.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n", "there is no column 'carrier'"),
        ("carrier,b\nUA,2\n", "has no column arr_delay"),
        (COLUMNS + "\n", "has no flights"),
        (COLUMNS + "\n1,2\n", "has 2 fields"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(text)
    done = demo("--file", str(file))
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = demo(XDG_CACHE_HOME=str(tmp_path), PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="", **nowhere)
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
    assert "--file flights.csv.zip" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_cache_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset.cached().parent.mkdir(parents=True)
    dataset.cached().write_bytes(b"half a file")
    assert not dataset.is_cached()


def test_sums_that_do_not_agree_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts(written=10, all_written=True, processed=8, dead_letters=1, redriven=1, seconds=1.0)
    assert not counts.accounted_for
    Screen().accounts(counts, 10, [Carrier("UA", 8, 1.0, 0, 1, 0)], good=False)
    said = capsys.readouterr().out
    assert "8 processed  +      1 dead letters  is not      10 written" in said
    assert "The sums do not agree" in said


def test_the_demo_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    assert "--state-dir" in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_the_same_app_on_kafka_with_all_flights(all_flights: Path, tmp_path: Path) -> None:
    local = asyncio.run(played("local:flights", all_flights, tmp_path))
    here = in_short(play.carriers())
    with run_kafka() as server:
        topic = topic_name("flights")
        for name in (topic, f"{topic}-dead"):
            asyncio.run(create_topic(server.bootstrap, name, partitions=4))
        kafka = asyncio.run(played(f"kafka://{server.bootstrap}/{topic}", all_flights, tmp_path))
        there = in_short(play.carriers())
    for counts in (local, kafka):
        assert counts.accounted_for
        assert (counts.written, counts.processed, counts.dead_letters) == (336_776, 327_346, 9_430)
    assert there == here == expected(all_flights)


async def played(source: str, file: Path, state_dir: Path) -> Counts:
    """The whole demo but for its words, on a source of one's choice."""
    play.fresh(source)
    flights.app.state_dir = state_dir
    async with flights.app:
        counts = await play.stream(str(file), state_dir, None, lambda counts: None)
        await play.redrive(counts, lambda counts: None)
    return counts
