"""`streamfn functions`, and `streamfn invoke` of what is deployed, against a running worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Streamfn, until

FILE = """
functions:
  greet:
    inline_code: |
      import os
      def handler(event, context):
          print("hello from", context.function_version)
          return os.environ["GREETING"]
    runtime: python3.11
    handler: index.handler
    timeout: 10
    environment: {GREETING: hi}
"""


@pytest.fixture
def worker(project: Path, start: Start) -> None:
    (project / "streamfn.yaml").write_text(FILE)
    until(start("run", "streamfn.yaml").stderr, "worker_started")


@pytest.mark.usefixtures("worker")
def test_a_version_is_published_pointed_to_and_invoked(streamfn: Streamfn) -> None:
    done = streamfn("invoke", "greet", "--log")
    assert (done.returncode, done.stdout) == (0, '"hi"\n')
    assert "hello from $LATEST" in done.stderr
    assert "REPORT RequestId: " in done.stderr
    assert streamfn("functions", "publish", "greet", "--description", "first").stdout == "1\n"
    assert streamfn("functions", "alias", "greet", "prod", "--version", "1").stdout == "greet:prod\n"
    shown = json.loads(streamfn("invoke", "greet:prod", "--json").stdout)
    assert (shown["ExecutedVersion"], shown["Payload"]) == ("1", '"hi"')
    table = streamfn("functions").stdout.splitlines()
    assert table[0].split()[:5] == ["NAME", "VERSION", "ALIASES", "RUNTIME", "MEMORY"]
    assert [line.split()[:7] for line in table[1:]] == [
        ["greet", "$LATEST", "-", "python3.11", "128", "10", "0"],
        ["greet", "1", "prod", "python3.11", "128", "10", "0"],
    ]
    assert streamfn("functions", "alias", "greet", "prod", "--delete").returncode == 0
    assert "no version or alias prod" in streamfn("invoke", "greet:prod").stderr


@pytest.mark.usefixtures("worker")
def test_values_of_variables_are_shown_only_where_they_are_asked_for(streamfn: Streamfn) -> None:
    (hidden,) = json.loads(streamfn("functions", "show", "greet", "--json").stdout)
    assert hidden["versions"][0]["environment"] == {"GREETING": "***"}
    (shown,) = json.loads(streamfn("functions", "show", "greet", "--json", "--values").stdout)
    assert shown["versions"][0]["environment"] == {"GREETING": "hi"}
    (listed,) = json.loads(streamfn("functions", "--json").stdout)
    assert listed["versions"][0]["environment"] == {"GREETING": "***"}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "other"), 2, "Function not found: other"),
        (("publish", "other"), 1, "other is no function that is deployed here"),
        (("alias", "greet", "prod"), 2, "write --version V, or --delete"),
        (("alias", "greet", "prod", "--version", "9"), 1, "function greet has no version 9"),
        (("alias", "greet", "p", "--version", "1", "--weight", "2=2"), 2, "share from 0 to 1"),
        (("shift", "greet", "prod", "--to", "1", "--type", "Often"), 1, "says nothing of how traffic moves"),
    ],
)
def test_what_cannot_be_done_is_said(
    streamfn: Streamfn, words: tuple[str, ...], code: int, said: str
) -> None:
    done = streamfn("functions", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_sealed_value_is_opened_for_the_function_only(
    project: Path, streamfn: Streamfn, start: Start
) -> None:
    sealed = streamfn("seal", "GREETING", stdin="hush\n").stdout.strip()
    assert sealed.startswith("sealed:v1:")
    (project / "streamfn.yaml").write_text(FILE.replace("GREETING: hi", f'GREETING: "{sealed}"'))
    until(start("run", "streamfn.yaml").stderr, "worker_started")
    assert streamfn("invoke", "greet").stdout == '"hush"\n'
    (project / "other.yaml").write_text(FILE.replace("GREETING: hi", f'OTHER: "{sealed}"'))
    done = streamfn("check", "other.yaml")
    assert done.returncode == 2
    assert "greet.Environment.OTHER: was sealed for GREETING" in " ".join(done.stdout.split())


def test_check_sees_whether_functions_can_run(project: Path, streamfn: Streamfn) -> None:
    (project / "streamfn.yaml").write_text(FILE)
    done = streamfn("check", "streamfn.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["role"], found["name"], found["ok"]) == ("function", "inline code", True)
    (project / "streamfn.yaml").write_text(FILE.replace("hi}", "hi}\n    layers: [nothing.zip]"))
    done = streamfn("check", "streamfn.yaml", "--json")
    assert done.returncode == 2
    (found,) = json.loads(done.stdout)
    assert "nothing.zip is no folder and no zip" in found["problem"]
