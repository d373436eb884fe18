"""Makes, changes and deletes one thing after the other, and says what was answered; or compares with that.

changing.py make      until nobody answers; each line is JSON: a kind, a key, and how it should look now
changing.py compare   with such lines from the file CHANGES
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import checks
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from checks import api, arn, zipped

CODE = "def handler(event, context):\n    return {!r}\n"


def say(kind: str, key: str, **expected: Any) -> None:
    checks.tell(json.dumps([kind, key, expected or None]))


def ask(kind: str, key: str) -> None:
    """Says what is about to be changed: it may be so or so when nobody answers."""
    checks.tell(json.dumps(["asked", kind, key]))


def make() -> None:
    for number in itertools.count():
        name = f"f{number}"
        ask("function", name)
        code = {"ZipFile": zipped(CODE.format(name))}
        api.create_function(
            FunctionName=name, Runtime=checks.RUNTIME, Role=checks.ROLE, Handler="index.handler", Code=code
        )
        say("function", name, answer=name, Description="")
        ask("mapping", name)
        source = arn("", f"queue{number}", "sqs")
        mapping = api.create_event_source_mapping(FunctionName=name, EventSourceArn=source)["UUID"]
        say("mapping", name, UUID=mapping, BatchSize=10)
        api.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=checks.SOON)
        ask("version", name)
        api.publish_version(FunctionName=name)
        say("version", name, Version="1")
        ask("alias", name)
        api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        say("alias", name, FunctionVersion="1")
        ask("function", name)
        api.update_function_configuration(FunctionName=name, Description="changed")
        say("function", name, answer=name, Description="changed")
        checks.updated(name)
        ask("mapping", name)
        changed(mapping)
        say("mapping", name, UUID=mapping, BatchSize=3)
        if number % 3 == 2:
            ask("mapping", name)
            settled(mapping)
            api.delete_event_source_mapping(UUID=mapping)
            say("mapping", name)
            for kind in ("function", "version", "alias"):
                ask(kind, name)
            api.delete_function(FunctionName=name)
            for kind in ("function", "version", "alias"):
                say(kind, name)


def settled(mapping: str) -> None:
    checks.until(lambda: api.get_event_source_mapping(UUID=mapping)["State"] == "Enabled")


def changed(mapping: str) -> None:
    settled(mapping)
    api.update_event_source_mapping(UUID=mapping, BatchSize=3)


def found(kind: str, key: str, expected: Any) -> Any:
    """How it looks, as far as something is expected; None where it is not there."""
    try:
        match kind:
            case "function":
                answer = dict(api.get_function_configuration(FunctionName=key))
                api.get_waiter("function_active_v2").wait(FunctionName=key, WaiterConfig=checks.SOON)
                answer["answer"] = json.loads(api.invoke(FunctionName=key)["Payload"].read())
            case "version":
                answer = api.get_function_configuration(FunctionName=key, Qualifier="1")
            case "alias":
                answer = api.get_alias(FunctionName=key, Name="live")
            case _:
                (answer,) = api.list_event_source_mappings(FunctionName=key)["EventSourceMappings"] or [None]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return None
    return answer and {name: answer.get(name) for name in expected or ["FunctionArn"]}


def compare() -> None:
    known: dict[tuple[str, str], Any] = {}
    asked: set[tuple[str, str]] = set()
    for line in Path(os.environ["CHANGES"]).read_text().splitlines():
        what, key, expected = json.loads(line)
        if what == "asked":
            asked.add((key, expected))
        else:
            known[what, key] = expected
            asked.discard((what, key))
    wrong = []
    for (kind, key), expected in known.items():
        if (kind, key) in asked:
            continue

        def as_expected(kind: str = kind, key: str = key, expected: Any = expected) -> bool:
            return found(kind, key, expected) == expected

        try:
            # A deletion goes on after its answer.
            checks.until(as_expected, 10)
        except AssertionError:
            wrong.append((kind, key, expected, found(kind, key, expected)))
    mappings = api.list_event_source_mappings()["EventSourceMappings"]
    for mapping in mappings:
        checks.until(
            lambda mapping=mapping: api.get_event_source_mapping(UUID=mapping["UUID"])["State"] == "Enabled"
        )
    assert not wrong, wrong
    checks.tell(f"{len(known)} things, {len(asked)} of them asked for; {len(mappings)} mappings")


if sys.argv[1] == "compare":
    compare()
else:
    try:
        make()
    except (EndpointConnectionError, HTTPClientError):
        sys.exit(0)
