"""The AWS SDKs for JavaScript and Java, and a daemon that wants signatures. Each program asserts what it is
about.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.clients import sdks
from tests.clients.daemon import Daemon
from tests.servers.aws import KEY, SECRET
from tests.servers.aws_process import found
from tests.servers.aws_ways import Way

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

Command: TypeAlias = Callable[[Path], tuple[Sequence[str], Mapping[str, str]]]

CODE = """
import time

def handler(event, context):
    if event.get("do") == "fail":
        raise ValueError("no: ü")
    if event.get("do") == "large":
        return "x" * event["size"]
    print("a line")
    return {"event": event, "arn": context.invoked_function_arn}
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip file with `index.py`."""
    path = tmp_path_factory.mktemp("sdks") / "code.zip"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(zipfile.ZipInfo("index.py"), CODE)
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that wants signatures, with a TARGET."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text(json.dumps([{"access_key_id": KEY, "secret_access_key": SECRET}]))
    keys.chmod(0o600)
    with Daemon(str(Path(__file__).with_name("sdk_app.py")), "--api-keys", str(keys)) as running:
        yield running
        assert running.drain() == 0, running.log_tail()


@pytest.mark.parametrize(
    ("find", "command"),
    [(sdks.find_javascript, sdks.javascript), (sdks.find_java, sdks.java)],
    ids=["javascript", "java"],
)
def test_an_sdk(signed: Daemon, code: Path, find: Callable[[], Way | str], command: Command) -> None:
    if command is sdks.java and not sdks.has_compiler():
        pytest.skip("no JDK: a JRE has no compiler")
    words, more = command(found(find()).program)
    runtime = f"python3.{sys.version_info.minor}"
    ended, said = sdks.run(words, signed.clients(CODE=str(code), RUNTIME=runtime, **more))
    assert ended == 0, f"{said}\n{signed.log_tail(20)}"
    assert said.count("ok check_") > 5, said
    # What the daemon has no answer for it logs, and answers with 500.
    assert [event for event in signed.events() if event.get("level") == "error"] == []
