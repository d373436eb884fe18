"""`functions`, `mappings` and `invoke` over Lambda's API, and how `run` serves it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streamfn.cli import main
from streamfn.cli.endpoint import Endpoint, of_function
from streamfn.errors import StreamfnError
from tests.cli.conftest import Start, Streamfn, until

CODE = """
def handler(event, context):
    print("called by", context.function_version)
    if event.get("fail"):
        raise ValueError("not today")
    return event
"""
FILE = """
functions:
  declared: work:handler
"""


@pytest.fixture
def socket(project: Path, start: Start) -> str:
    (project / "work.py").write_text(CODE)
    (project / "code").mkdir()
    (project / "code" / "app.py").write_text(CODE)
    (project / "streamfn.yaml").write_text(FILE)
    (project / "endpoints.yaml").write_text('- {service: sqs, url: "local:"}\n')
    words = ("--api", "unix:api.sock", "--endpoints", "endpoints.yaml", "--code-dir", "code")
    until(start("run", "streamfn.yaml", *words).stderr, "worker_started")
    return f"unix:{project / 'api.sock'}"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_daemon_is_driven_over_its_socket(
    socket: str, project: Path, streamfn: Streamfn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    api = Endpoint(socket)
    code = {"S3Bucket": "__local__", "S3Key": str(project / "code")}
    made = {"FunctionName": "made", "Runtime": "python3.11", "Handler": "app.handler", "Code": code}
    made |= {"Role": "arn:aws:iam::000000000000:role/r", "Timeout": 10, "Publish": True}
    made["Environment"] = {"Variables": {"SECRET": "s"}}
    api.call("POST", "/2015-03-31/functions", body=json.dumps(made).encode())
    over = ("--endpoint", socket)

    listed = [each["FunctionName"] for each in json.loads(streamfn("functions", "--json", *over).stdout)]
    assert sorted(listed) == ["declared", "made"]
    assert streamfn("functions", *over).stdout.splitlines()[0].split()[:3] == ["NAME", "RUNTIME", "HANDLER"]
    done = streamfn("invoke", "made", '{"a": 1}', "--log", *over)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"a": 1})
    assert "called by $LATEST" in done.stderr
    assert streamfn("invoke", "made", '{"fail": 1}', *over).returncode == 1
    assert json.loads(streamfn("invoke", "made", "--async", "--json", *over).stdout)["StatusCode"] == 202

    assert streamfn("functions", "publish", "made", *over).stdout == "1\n"
    assert streamfn("functions", "alias", "made", "prod", "--version", "1", *over).stdout == "made:prod\n"
    shown = json.loads(streamfn("functions", "show", "made", "--json", *over).stdout)
    assert shown["Versions"] == ["$LATEST", "1"]
    assert [each["Name"] for each in shown["Aliases"]] == ["prod"]
    assert shown["Environment"]["Variables"] == {"SECRET": "***"}
    answer = json.loads(streamfn("invoke", "made:prod", "--json", *over).stdout)
    assert (answer["ExecutedVersion"], answer["Payload"]) == ("1", "{}")
    assert streamfn("functions", "alias", "made", "prod", "--delete", *over).returncode == 0
    assert "has no shifts" in streamfn("functions", "shift", "made", "prod", "--to", "1", *over).stderr

    mapping = {"FunctionName": "made", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:orders"}
    uuid = api.call("POST", "/2015-03-31/event-source-mappings", body=json.dumps(mapping).encode()).document[
        "UUID"
    ]
    paused = json.loads(streamfn("mappings", "pause", uuid, "--json", *over).stdout)
    assert [each["State"] for each in paused] in (["Disabling"], ["Disabled"])
    assert uuid in streamfn("mappings", *over).stdout
    assert "does not go with --endpoint" in streamfn("mappings", "--watch", *over).stderr

    assert "ResourceNotFoundException" in streamfn("invoke", "nobody", *over).stderr
    with pytest.raises(StreamfnError, match="declared by the app that runs here"):
        api.call("DELETE", of_function("declared", "2015-03-31"))


def test_nobody_there_and_no_address_are_told(streamfn: Streamfn, project: Path) -> None:
    assert "no answer" in streamfn("functions", "--endpoint", f"unix:{project / 'nothing.sock'}").stderr
    assert "is no address" in streamfn("functions", "--endpoint", "localhost").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is nothing to run"),
        (("--api", "0.0.0.0:9999"), "can be reached by others, and no keys are asked for"),
        (("--api", "127.0.0.1:0", "--api-cert", "c.pem"), "a certificate goes with its private key"),
        (("--api", "127.0.0.1:0", "--code-dir", "nowhere"), "nowhere is no folder"),
        (("--api", "127.0.0.1:0", "--account", "12"), "'12' is no account"),
        (("--api", "127.0.0.1:0", "--region", "here"), "'here' is no region"),
        (
            ("--api", "127.0.0.1:0", "--set", "async.first_retry_dely=1"),
            "did you mean async.first_",
        ),
    ],
)
def test_what_cannot_be_served_is_told(
    words: tuple[str, ...], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(project)
    assert main(["run", *words]) == 2
    assert said in capsys.readouterr().err
