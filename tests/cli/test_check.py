"""`streamfn check`: what it reaches, what it says, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Streamfn, add


def test_all_well_is_a_table_and_0(project: Path, streamfn: Streamfn) -> None:
    add(project, "app.event_source_mapping(work, Five(), name='m', on_failure='file:dead/letters.jsonl')")
    add(project, "app.event_source_mapping(fails, 'local:flights', on_failure='local:queue/dead')")
    done = streamfn("check", "app:app")
    assert done.stdout.splitlines() == [
        "MAPPING        WHAT        NAME                     RESULT",
        "m              source      five:records             ok",
        "m              on failure  file:dead/letters.jsonl  ok",
        "fails-flights  source      local:flights            ok",
        "fails-flights  on failure  local:queue/dead         ok",
    ]
    assert (done.returncode, done.stderr) == (0, "")
    assert not (project / "dead").exists()


def test_filters_are_shown_and_those_that_the_source_does_not_take_refused(
    project: Path, streamfn: Streamfn
) -> None:
    pattern = '{"data":{"kind":["a","b","c"],"number":[{"numeric":[">",10]}]}}'
    options = f"Five(), name='m', filters=[{{'partitionKey': ['k']}}, {pattern!r}]"
    add(project, f"app.event_source_mapping(work, {options})")
    done = streamfn("check", "app:app")
    assert done.returncode == 0
    assert [line.rstrip() for line in done.stdout.splitlines()[2:]] == [
        'm        filter  {"partitionKey":["k"]}                                        ok',
        f"m        filter  {pattern[:57]}...  ok",
    ]
    assert json.loads(streamfn("check", "app:app", "--json").stdout)[2]["name"] == pattern
    add(project, "app.event_source_mapping(work, Five(), name='n', filters=[{'data': ['a']}])")
    done = streamfn("check", "app:app")
    assert done.returncode == 2
    assert (
        "Filters[0]: Invalid filter pattern definition. The data of a stream is matched as JS" in done.stdout
    )


def test_what_cannot_be_reached_is_2_and_told_with_file_field_and_fix(
    project: Path, streamfn: Streamfn
) -> None:
    add(project, "from streamfn.errors import SourceError")
    add(project, "app.event_source_mapping(work, Five(SourceError('no broker answers')), name='a')")
    add(project, "app.event_source_mapping(work, Five(), name='b', on_failure='file:app.py/dead')")
    line = (project / "app.py").read_text().count("\n")
    done = streamfn("check", "app:app", "--json")
    source, well, letters = json.loads(done.stdout)
    assert done.returncode == 2
    assert source == {
        "mapping": "a",
        "role": "source",
        "name": "five:records",
        "ok": False,
        "problem": "no broker answers",
        "field": "Source",
        "where": f"app.py:{line - 1}",
        "fix": "see that it runs, and that this machine may reach it",
    }
    assert (well["mapping"], well["ok"]) == ("b", True)
    assert (letters["role"], letters["ok"], letters["where"]) == ("on failure", False, f"app.py:{line}")
    assert letters["problem"] == f"file:app.py/dead: {project}/app.py is not a folder"


def test_what_does_not_answer_in_time_is_told(project: Path, streamfn: Streamfn) -> None:
    add(project, "class Deaf(Five):\n    async def check(self): await asyncio.Event().wait()")
    add(project, "app.event_source_mapping(work, Deaf(), name='a')")
    done = streamfn("check", "app:app", "--timeout", "0.05")
    assert done.returncode == 2
    assert "Source: no answer within 0.05 s. Fix: see that it runs" in done.stdout


def test_all_that_is_wrong_with_an_app_is_told_at_once(project: Path, streamfn: Streamfn) -> None:
    (project / "streamfn.yaml").write_text(
        "functions:\n"
        "  work: app:work\n"
        "event_source_mappings:\n"
        "  - function: work\n"
        "    source: nowhere:x\n"
        "    on_failure: alsonowhere:x\n"
        "  - function: work\n"
        "    source: local:queue/orders\n"
        "    bisect_batch_on_function_error: true\n"
        "    maximum_retry_attempts: 3\n"
    )
    done = streamfn("check", "streamfn.yaml", "--json")
    assert done.returncode == 2
    assert [(f["where"], f["field"]) for f in json.loads(done.stdout)] == [
        ("streamfn.yaml:5", "Source"),
        ("streamfn.yaml:6", "Destination"),
        ("streamfn.yaml:9", "BisectBatchOnFunctionError"),
        ("streamfn.yaml:10", "MaximumRetryAttempts"),
    ]


def test_a_target_that_does_not_load_is_told_in_either_form(project: Path, streamfn: Streamfn) -> None:
    plain, as_json = streamfn("check", "app:nope"), streamfn("check", "app:nope", "--json")
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr == "streamfn: app:nope: app has no 'nope'. Fix: name one of its Apps: app\n"
    assert as_json.returncode == 2
    assert json.loads(as_json.stdout)[0]["problem"] == "app has no 'nope'"


def test_an_app_without_mappings_is_said_to_have_none(streamfn: Streamfn) -> None:
    done = streamfn("check", "app:app")
    assert (done.returncode, done.stdout) == (0, "app:app: nothing is declared that could be reached\n")
