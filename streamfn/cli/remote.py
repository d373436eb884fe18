"""`functions`, `mappings` and `invoke` over Lambda's API: of a worker elsewhere, or of AWS's own service."""

from __future__ import annotations

import sys
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from streamfn.cli import CLEAN, CUT_OFF
from streamfn.cli.endpoint import Endpoint, of_function
from streamfn.cli.table import table
from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

_FUNCTIONS = "/2015-03-31/functions"
_MAPPINGS = "/2015-03-31/event-source-mappings"


def invoke(options: argparse.Namespace, function: str, payload: bytes) -> int:
    """Prints what a function answers, or with --async the request id of the event."""
    name, _, qualifier = function.partition(":")
    kind = "Event" if options.asynchronous else "RequestResponse"
    headers = {"x-amz-invocation-type": kind} | ({"x-amz-log-type": "Tail"} if options.log else {})
    answer = Endpoint(options.endpoint).call(
        "POST",
        of_function(name, "2015-03-31", "/invocations"),
        query={"Qualifier": qualifier} if qualifier else None,
        body=payload,
        headers=headers,
    )
    if options.asynchronous:
        request_id = answer.headers.get("x-amzn-requestid", "")
        print(
            orjson.dumps({"StatusCode": 202, "RequestId": request_id}).decode()
            if options.json
            else request_id
        )
        return CLEAN
    failed = answer.headers.get("x-amz-function-error")
    log = answer.headers.get("x-amz-log-result", "")
    if options.log:
        sys.stderr.write(b64decode(log).decode("utf-8", "replace"))
    text = answer.body.decode("utf-8", "replace")
    if options.json:
        shown = {"StatusCode": 200, "ExecutedVersion": answer.headers.get("x-amz-executed-version", "")}
        shown |= {"FunctionError": failed} if failed else {}
        shown |= {"LogResult": log} if options.log else {}
        print(orjson.dumps(shown | {"Payload": text}).decode())
    else:
        print(text)
    return CUT_OFF if failed else CLEAN


def functions(options: argparse.Namespace) -> int:
    """All functions."""
    found = list(Endpoint(options.endpoint).pages(_FUNCTIONS, "Functions"))
    if options.json:
        print(orjson.dumps(found).decode())
        return CLEAN
    # AWS lists no State.
    heads = ("NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "LAST MODIFIED")
    members = ("FunctionName", "Runtime", "Handler", "MemorySize", "Timeout", "LastModified")
    sys.stdout.write(table(heads, [[each.get(member) for member in members] for each in found]))
    return CLEAN


def show(options: argparse.Namespace) -> int:
    """One function, with its versions and aliases. The values of its variables only where asked for."""
    endpoint, name = Endpoint(options.endpoint), options.name
    shown = endpoint.call("GET", of_function(name, "2015-03-31", "/configuration")).document
    if not options.values:
        variables = shown.get("Environment", {}).get("Variables", {})
        if variables:
            shown["Environment"]["Variables"] = dict.fromkeys(variables, "***")
    for member, rest in (("Versions", "/versions"), ("Aliases", "/aliases")):
        pages = endpoint.pages(of_function(name, "2015-03-31", rest), member)
        shown[member] = [each["Version"] if member == "Versions" else each for each in pages]
    print(orjson.dumps(shown, option=0 if options.json else orjson.OPT_INDENT_2).decode())
    return CLEAN


def publish(options: argparse.Namespace) -> int:
    """Prints the number of the version."""
    body = orjson.dumps({"Description": options.description} if options.description else {})
    path = of_function(options.name, "2015-03-31", "/versions")
    version = Endpoint(options.endpoint).call("POST", path, body=body).document["Version"]
    print(orjson.dumps({"version": version}).decode() if options.json else version)
    return CLEAN


def alias(options: argparse.Namespace) -> int:
    """Makes, changes or removes an alias."""
    endpoint = Endpoint(options.endpoint)
    path = of_function(options.name, "2015-03-31", "/aliases")
    one = f"{path}/{quote(options.alias, safe='')}"
    if options.delete:
        endpoint.call("DELETE", one)
    else:
        if options.version is None:
            raise ConfigurationError("is required", field="--version", fix="write --version V, or --delete")
        weights = dict([options.weight]) if options.weight else {}
        body = {"FunctionVersion": options.version, "RoutingConfig": {"AdditionalVersionWeights": weights}}
        known = {each["Name"] for each in endpoint.pages(path, "Aliases")}
        if options.alias in known:
            endpoint.call("PUT", one, body=orjson.dumps(body))
        else:
            endpoint.call("POST", path, body=orjson.dumps(body | {"Name": options.alias}))
    print(
        orjson.dumps({"alias": options.alias}).decode() if options.json else f"{options.name}:{options.alias}"
    )
    return CLEAN


def mappings(options: argparse.Namespace) -> int:
    """All event source mappings, or one of them paused or resumed."""
    endpoint = Endpoint(options.endpoint)
    if options.action:
        if not options.name:
            raise ConfigurationError(f"{options.action} which mapping?", fix=f"write {options.action} UUID")
        body = orjson.dumps({"Enabled": options.action == "resume"})
        found = [endpoint.call("PUT", f"{_MAPPINGS}/{quote(options.name, safe='')}", body=body).document]
    else:
        found = list(endpoint.pages(_MAPPINGS, "EventSourceMappings"))
    if options.json:
        print(orjson.dumps(found).decode())
        return CLEAN
    heads = ("UUID", "STATE", "FUNCTION", "SOURCE", "BATCH SIZE", "LAST RESULT")
    rows = [
        (
            each["UUID"],
            each.get("State"),
            str(each.get("FunctionArn")).partition(":function:")[2],
            each.get("EventSourceArn") or ", ".join(each.get("Topics", ())),
            each.get("BatchSize"),
            each.get("LastProcessingResult"),
        )
        for each in found
    ]
    sys.stdout.write(table(heads, rows))
    return CLEAN
