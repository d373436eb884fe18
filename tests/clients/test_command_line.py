"""The AWS CLI drives the daemon."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.daemon import Daemon
from tests.clients.environment import run
from tests.servers.aws import ACCOUNT, REGION

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CODE = "def handler(event, context):\n    return {'answer': event['number'] + ADDED}\n\nADDED = %d\n"


@pytest.fixture
def aws_lambda(daemon: Daemon) -> Any:
    """Runs `aws lambda ...` and gives what it printed, as JSON."""

    def call(*arguments: str) -> Any:
        code, said = run(daemon.clients(), "-m", "awscli", "lambda", *arguments)
        assert code == 0, f"{said}\n{daemon.log_tail(20)}"
        return json.loads(said) if said.strip() else None

    return call


def package(folder: Path, added: int) -> str:
    path = folder / f"{added}.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("index.py", CODE % added)
    return f"fileb://{path}"


def test_from_creation_to_deletion(aws_lambda: Any, tmp_path: Path) -> None:
    runtime = f"python3.{sys.version_info.minor}"
    of = ("--function-name", "added")
    code = ("--zip-file", package(tmp_path, 1))
    role = f"arn:aws:iam::{ACCOUNT}:role/any"
    made = aws_lambda(
        "create-function", *of, *code, "--runtime", runtime, "--role", role, "--handler", "index.handler"
    )
    assert made["FunctionName"] == "added"
    aws_lambda("wait", "function-active", *of)
    out = tmp_path / "out.json"
    payload = ("--payload", '{"number": 41}', str(out))
    said = aws_lambda("invoke", *of, *payload)
    assert said["StatusCode"] == 200
    assert json.loads(out.read_text()) == {"answer": 42}

    aws_lambda("update-function-code", *of, "--zip-file", package(tmp_path, 2))
    aws_lambda("wait", "function-updated", *of)
    aws_lambda("invoke", *of, *payload)
    assert json.loads(out.read_text()) == {"answer": 43}
    changed = aws_lambda(
        "update-function-configuration", *of, "--timeout", "9", "--environment", "Variables={AB=c}"
    )
    assert changed["Timeout"] == 9

    source = ("--event-source-arn", f"arn:aws:sqs:{REGION}:{ACCOUNT}:of-the-cli")
    mapping = aws_lambda("create-event-source-mapping", *of, *source, "--batch-size", "5")
    assert mapping["BatchSize"] == 5
    assert [
        each["UUID"] for each in aws_lambda("list-event-source-mappings", *of)["EventSourceMappings"]
    ] == [mapping["UUID"]]
    assert "added" in [each["FunctionName"] for each in aws_lambda("list-functions")["Functions"]]
    assert aws_lambda("delete-event-source-mapping", "--uuid", mapping["UUID"])["State"] == "Deleting"
    aws_lambda("delete-function", *of)


def test_a_refusal_is_told_in_awss_words(daemon: Daemon) -> None:
    code, said = run(daemon.clients(), "-m", "awscli", "lambda", "get-function", "--function-name", "nobody")
    assert code != 0
    missing = f"Function not found: arn:aws:lambda:{REGION}:{ACCOUNT}:function:nobody"
    assert f"(ResourceNotFoundException) when calling the GetFunction operation: {missing}" in said
