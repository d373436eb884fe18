"""What README.md and docs/ show works: Python runs, YAML loads, commands parse, tables are true."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from streamfn import cli
from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
from streamfn.config.file import load
from streamfn.demo import command
from streamfn.local import naming
from streamfn_aws import (
    EventBridgeDestination,
    KinesisDestination,
    S3Destination,
    SnsDestination,
    SqsDestination,
)
from streamfn_aws import options as aws_options
from streamfn_aws.dynamodb import source as dynamodb_source
from streamfn_aws.kinesis import source as kinesis_source
from streamfn_aws.sqs import source as sqs_source
from streamfn_kafka import destination, source
from streamfn_kafka.options import CONNECTION_TYPES

from . import options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md"] + [
    path
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path.name not in ("architecture.md", "semantics.md")
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(language: str) -> list[object]:
    """Every block of a language, with the empty lines before it that make line numbers right."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param("\n" * line + match[2], id=f"{page.name}:{line}"))
    return found


def commands() -> list[object]:
    """Every command of the blocks for a shell, one a line or a part of a pipe."""
    found = []
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match[1] == "sh":
                for part in re.split(r"[|\n]", match[2]):
                    words = shlex.split(part, comments=True)
                    if words:
                        found.append(pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}"))
    return found


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own, and no module left behind."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("shown"):
            del sys.modules[name]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block: str, elsewhere: Path) -> None:
    module = ModuleType("shown")
    sys.modules["shown"] = module
    exec(compile(block, "shown.py", "exec"), module.__dict__)
    # Tests that are shown are run, as pytest would.
    for name, value in list(vars(module).items()):
        if name.startswith("test_") and callable(value):
            run_test(value)


def run_test(test: object) -> None:
    from streamfn.testing import VirtualTimeLoop

    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(test())  # type: ignore[operator]
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_loads(block: str, elsewhere: Path) -> None:
    file = elsewhere / "streamfn.yaml"
    file.write_text(block, encoding="utf-8")
    loaded = load(file, {"KAFKA": "kafka://localhost:9092"})
    assert loaded.mappings or loaded.endpoints


@pytest.mark.parametrize("words", commands())
def test_commands_are_as_shown(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    while "=" in words[0]:
        words = words[1:]
    match words:
        case ["streamfn", "demo", *rest]:
            command._parser().parse_args(rest)
        case ["streamfn", *rest]:
            cli._parser().parse_args(rest)
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["docker", "compose", "up" | "down", *_]:
            assert (ROOT / "docker-compose.yml").is_file()
        case ["aws", "lambda", *_] | ["export", *_]:
            pass
        case ["pip", "install", *_] | ["echo" | "cat" | "kill" | "head" | "python" | "jq", *_]:
            pass
        case _:
            pytest.fail(f"nobody knows {words[0]}: add it here")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 150


def test_the_readme_shows_the_quickstart() -> None:
    example = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    code = example[example.index("import") : example.index("# $")].strip()
    assert f"```python\n{code}\n```" in PAGES[0].read_text(encoding="utf-8")


def test_every_option_is_explained() -> None:
    assert set(options.MAPPING) == set(EventSourceMapping.model_fields)
    assert set(options.INVOKING) == set(EventInvokeConfig.model_fields)
    assert set(options.FUNCTION) == set(FunctionConfig.model_fields)
    text = options.PAGE.read_text(encoding="utf-8")
    assert options.page(text) == text, "run: python tests/docs/options.py"


@pytest.mark.parametrize(
    "names",
    [
        naming._STREAM,
        naming._QUEUE,
        source._TYPES,
        destination._TYPES,
        CONNECTION_TYPES,
    ],
    ids=["local stream", "local queue", "Kafka source", "Kafka destination", "Kafka connection"],
)
def test_every_option_of_a_uri_is_named(names: dict[str, object]) -> None:
    text = options.PAGE.read_text(encoding="utf-8")
    # What the app knows and the mapping says is not written into a URI.
    unnamed = [name for name in names if f"`{name}`" not in text and name != "on_position_lost"]
    assert unnamed == []


AWS = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "names",
    [
        aws_options.CONNECTION_TYPES,
        sqs_source._TYPES,
        kinesis_source._TYPES,
        dynamodb_source._TYPES,
        *(
            kind.option_types
            for kind in (
                SqsDestination,
                SnsDestination,
                S3Destination,
                EventBridgeDestination,
                KinesisDestination,
            )
        ),
    ],
    ids=[
        "connection",
        "SQS",
        "Kinesis",
        "DynamoDB",
        "to SQS",
        "to SNS",
        "to S3",
        "to EventBridge",
        "to Kinesis",
    ],
)
def test_every_option_on_aws_is_named(names: dict[str, object]) -> None:
    assert [name for name in names if f"`{name}`" not in AWS] == []


CALLED = re.compile(r"(?:\b_?call|_write|stream|Settling|partial)\(\s*(?:api, |api\.call, )?\"([A-Z]\w+)\"")
ALLOWED_AS = {
    "HeadBucket": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "ListObjectsV2": "ListBucket",
    "GetCallerIdentity": None,
    "Invoke": "InvokeFunction",
}
"""Calls whose action is called otherwise; None: everybody may make them."""


def test_every_action_that_is_called_is_named() -> None:
    files = Path(aws_options.__file__).parent.rglob("*.py")
    called = {name for file in files for name in CALLED.findall(file.read_text(encoding="utf-8"))}
    assert {"ReceiveMessage", "DeleteMessageBatch", "SubscribeToShard", "PutItem", "PutRecords"} <= called
    actions = {ALLOWED_AS.get(name, name.removesuffix("Batch")) for name in called} - {None}
    assert actions == set(
        re.findall(r"`(?:sqs|kinesis|dynamodb|sns|s3|events|lambda|kms|secretsmanager):(\w+)`", AWS)
    )


def test_the_tests_that_hold_a_rule_are_there() -> None:
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[^`]+)`", text))
    assert len(named) > 30
    assert sorted(name for name in named if not any(ROOT.glob(name.rstrip("/")))) == []
