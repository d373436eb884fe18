"""The Runtime API as awslambdaric asks for it, where its own compiled client fits no Python of this version.

Runs within functions, on Python 3.9 and later, with the standard library alone.
"""

from __future__ import annotations

import os
import socket
from typing import IO

_ROOT = "/2018-06-01/runtime/invocation/"
_NAMES = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Lambda-Runtime-Invoked-Function-Arn",
    "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id",
    "Content-Type",
)

_agent = ""
_connections: dict[int, tuple[socket.socket, IO[bytes]]] = {}


def initialize_client(user_agent: str) -> None:
    global _agent
    _agent = user_agent


def next() -> tuple[bytes, dict[str, object]]:  # noqa: A001 - awslambdaric's name for it
    """Waits for an invocation: its event, and the headers that say what it is."""
    status, headers, body = _request("GET", "next", b"", {})
    if status != 200:
        raise RuntimeError(f"Failed to get next invocation. Http Response code: {status}")
    found: dict[str, object] = {name: headers.get(name.lower()) for name in _NAMES}
    found["Lambda-Runtime-Deadline-Ms"] = int(headers["lambda-runtime-deadline-ms"])
    return body, found


def post_invocation_result(
    invoke_id: str, result_data: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    _post(f"{invoke_id}/response", result_data, {"Content-Type": content_type}, invocation_id)


def post_error(
    invoke_id: str,
    error_response_data: str | bytes,
    xray_fault: str,
    invocation_id: str | None = None,
) -> None:
    data = error_response_data if isinstance(error_response_data, bytes) else error_response_data.encode()
    headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-XRay-Error-Cause": xray_fault}
    _post(f"{invoke_id}/error", data, headers, invocation_id)


def _post(path: str, data: bytes, headers: dict[str, str], invocation_id: str | None) -> None:
    if invocation_id:
        headers["Lambda-Runtime-Invocation-Id"] = invocation_id
    status, _, _ = _request("POST", path, data, headers)
    if not 200 <= status < 300:
        raise RuntimeError(f"Failed to post handler success response. Http response code: {status}.")


def _request(
    method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    address = os.environ["AWS_LAMBDA_RUNTIME_API"]
    lines = [f"{method} {_ROOT}{path} HTTP/1.1", f"Host: {address}", f"User-Agent: {_agent}"]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection, reader = _connected(address)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return _answer(reader)


def _connected(address: str) -> tuple[socket.socket, IO[bytes]]:
    # One for each process: forks must not share a connection.
    pid = os.getpid()
    if pid not in _connections:
        _connections.clear()
        host, _, port = address.partition(":")
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _connections[pid] = connection, connection.makefile("rb")
    return _connections[pid]


def _answer(reader: IO[bytes]) -> tuple[int, dict[str, str], bytes]:
    first = reader.readline()
    if not first:
        raise RuntimeError("No Response from endpoint")
    headers: dict[str, str] = {}
    for line in iter(reader.readline, b"\r\n"):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return int(first.split()[1]), headers, reader.read(int(headers["content-length"]))
