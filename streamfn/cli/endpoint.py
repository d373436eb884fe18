"""A client of Lambda's API, for the commands that take `--endpoint`."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import orjson

from streamfn.errors import ConfigurationError, MissingExtra, StreamfnError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

_LONGEST = 1000.0
"""Seconds that an answer is waited for: a function's 15 minutes, and its start."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The option."""
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="speak to Lambda's API there instead: http://HOST:PORT, or unix:PATH; requests are signed where "
        "AWS_ACCESS_KEY_ID is set",
    )


class Answer(NamedTuple):
    """What the API answered."""

    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = orjson.loads(self.body)
        return found


class Endpoint:
    """Calls operations by their paths, one connection a call."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError for what is no address."""
        parts = urlsplit(url)
        self._path = url.removeprefix("unix:") if url.startswith("unix:") else None
        if self._path is None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ConfigurationError(
                f"{url!r} is no address", field="--endpoint", fix="write http://HOST:PORT, or unix:PATH"
            )
        self._url = "http://localhost" if self._path is not None else url.rstrip("/")
        self._parts = parts

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises StreamfnError with AWS's code and message where it says no, and where nobody answers."""
        target = path + (f"?{urlencode(query)}" if query else "")
        sent = {"content-type": "application/json", **(headers or {})}
        sent |= _signature(method, self._url + target, body, sent)
        connection = self._connection()
        try:
            connection.request(method, target, body, sent)
            response = connection.getresponse()
            answer = Answer({k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise StreamfnError(f"{self._path or self._url}: no answer: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise _refused(answer, response.status)
        return answer

    def pages(
        self, path: str, member: str, query: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """All that a listing has, page by page."""
        asked = dict(query or {})
        while True:
            page = self.call("GET", path, query=asked).document
            yield from page.get(member, ())
            if not page.get("NextMarker"):
                return
            asked["Marker"] = page["NextMarker"]

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _UnixConnection(self._path)
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
            return http.client.HTTPSConnection(host, port, timeout=_LONGEST, context=context)
        return http.client.HTTPConnection(host, port, timeout=_LONGEST)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_LONGEST)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def of_function(name: str, version: str, rest: str = "") -> str:
    """The path of a function's operation; `version`: the date that stands before it."""
    return f"/{version}/functions/{quote(name, safe='')}{rest}"


def _signature(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of a signed request; none where the environment holds no key."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return {}
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "signing needs botocore", field="--endpoint", fix="pip install 'streamfn[api]'"
        ) from error
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    request = AWSRequest(method, url, dict(headers), body)
    SigV4Auth(Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN")), "lambda", region).add_auth(
        request
    )
    signed: dict[str, str] = {name: value for name, value in request.headers.items() if name not in headers}
    return signed


def _refused(answer: Answer, status: int) -> StreamfnError:
    code = answer.headers.get("x-amzn-errortype", f"HTTP {status}").partition(":")[0]
    try:
        document = answer.document
        message = document.get("message") or document.get("Message") or ""
    except (orjson.JSONDecodeError, AttributeError):
        message = answer.body[:200].decode("utf-8", "replace")
    return StreamfnError(f"{code}: {message}")
