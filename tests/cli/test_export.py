"""`streamfn export`, and templates as TARGET."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfn.cli.export import export
from streamfn.templates import load
from tests.cli.conftest import ROOT, Start, Streamfn, until

FILE = """
functions:
  here: "handlers:here"
  ship:
    inline_code: "def handler(event, context): pass"
    handler: index.handler
    runtime: python3.12
event_source_mappings:
  - {function: ship, source: "sqs://orders", batch_size: 5}
  - {function: here, source: "local:queue/orders"}
"""


def options(target: str, form: str, **more: Any) -> argparse.Namespace:
    given = {"endpoints": None, "secrets": None, "settings": [], "parameter": [], "state_dir": None}
    given |= {"region": "us-east-1", "account": "000000000000"}
    return argparse.Namespace(form=form, target=target, **(given | {"json": False} | more))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "handlers.py").write_text("def here(event, context): pass")
    (tmp_path / "streamfn.yaml").write_text(FILE)
    return str(tmp_path / "streamfn.yaml")


@pytest.mark.parametrize("form", ["sam", "cloudformation"])
@pytest.mark.parametrize("as_json", [False, True], ids=["yaml", "json"])
def test_an_app_is_printed_as_a_template(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, as_json: bool
) -> None:
    assert export(options(file, form, json=as_json)) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "streamfn: function here: runs in this process, so AWS has no code of it",
        "streamfn: mapping here-orders: its function here is left out",
    ]
    data = json.loads(printed.out) if as_json else yaml.safe_load(printed.out)
    assert ("Transform" in data) == (form == "sam")
    path = tmp_path / "template.yaml"
    path.write_text(printed.out)
    template = load(path)
    assert list(template.functions) == ["ship"]
    (mapping,) = template.mappings
    assert (mapping.name, mapping.source, mapping.batch_size) == (
        "ship-orders", "arn:aws:sqs:us-east-1:000000000000:orders", 5,
    )  # fmt: skip


def test_a_template_runs_with_its_queues_in_the_embedded_broker(
    project: Path, streamfn: Streamfn, start: Start
) -> None:
    shutil.copytree(ROOT / "examples" / "sam", project / "sam")
    (project / "endpoints.yaml").write_text('endpoints: [{service: sqs, url: "local:"}]')
    worker = start("run", "sam/template.yaml", "--endpoints", "endpoints.yaml", "--parameter", "Stage=prod")
    until(worker.stderr, "worker_started")
    sent = streamfn("put", "local:queue/orders-prod", stdin='{"item": "tea", "city": "Porto"}\n')
    assert sent.returncode == 0, sent.stderr
    assert until(worker.stderr, "shipping tea to Porto")
