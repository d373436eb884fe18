"""Signatures: the SDK's are taken, whatever differs from what was signed is refused in AWS's words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from streamfn.control.keys import AccessKey, AccessKeys
from streamfn.control.messages import HttpRequest, HttpResponse
from streamfn.control.signing import SKEW, signed
from streamfn.errors import ConfigurationError

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEYS = AccessKeys([AccessKey("AKID", "secret"), AccessKey("READER", "other", read_only=True)])
_MISMATCH = "The request signature we calculated does not match the signature you provided."


class Asked:
    """A handler behind the check: what has come through."""

    def __init__(self, now: float = NOW.timestamp()) -> None:
        self.requests: list[HttpRequest] = []
        self.now = now
        self._handle = signed(self._answer, KEYS, lambda: self.now)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        return HttpResponse(200)

    def error(self, request: HttpRequest) -> tuple[str, str]:
        """Code and message of the answer; empty if it was let through."""
        response = asyncio.run(self._handle(request))
        if response.status == 200:
            return "", ""
        assert response.status == 403
        headers = dict(response.headers)
        assert UUID(headers["x-amzn-RequestId"])
        assert isinstance(response.body, bytes)
        return headers["x-amzn-ErrorType"], orjson.loads(response.body)["message"]


def made(
    method: str = "POST",
    url: str = "http://127.0.0.1:9000/2015-03-31/functions/a/invocations",
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    *,
    key: tuple[str, str, str | None] = ("AKID", "secret", None),
    region: str = "us-east-1",
    service: str = "lambda",
    presigned: int | None = None,
) -> HttpRequest:
    """A request as botocore signs and sends it."""
    prepared: Any = AWSRequest(method, url, headers=headers or {}, data=body)
    credentials = Credentials(*key)
    with patch("botocore.auth.get_current_datetime", return_value=NOW):
        if presigned is None:
            SigV4Auth(credentials, service, region).add_auth(prepared)
        else:
            SigV4QueryAuth(credentials, service, region, expires=presigned).add_auth(prepared)
    parts = urlsplit(prepared.url)
    sent = {name.lower(): value for name, value in prepared.headers.items()}
    sent.setdefault("host", parts.netloc)
    return HttpRequest(method, parts.path or "/", parts.query, sent, body)


def header(request: HttpRequest, **changes: str | None) -> HttpRequest:
    """The request with other headers; None takes one away."""
    headers = dict(request.headers)
    for name, value in changes.items():
        name = name.replace("_", "-")
        headers.pop(name, None)
        if value is not None:
            headers[name] = value
    return replace(request, headers=headers)


_NAME = st.text("abcXYZ09-_.~ :/$äß", min_size=1, max_size=12).filter(
    lambda name: set(name) - {".", "/"} != set()
)
_QUOTED = _NAME.map(
    lambda text: "".join(
        f"%{byte:02X}" if byte > 127 or chr(byte) in " :/$" else chr(byte) for byte in text.encode()
    )
)


@st.composite
def requests(draw: st.DrawFn) -> HttpRequest:
    """Signed requests, in a header or presigned."""
    path = "/2015-03-31/functions/" + draw(_QUOTED) + draw(st.sampled_from(["", "/", "/invocations"]))
    query = "&".join(
        f"{name}={value}" for name, value in draw(st.lists(st.tuples(_QUOTED, _QUOTED), max_size=3))
    )
    presigned = draw(st.sampled_from([None, 60]))
    body = b"" if presigned else draw(st.binary(max_size=40))  # the SDK presigns no bodies
    headers = {"X-Amz-Client-Context": draw(st.text("ab  c", max_size=6)).strip(), "Content-Type": "a/b"}
    return made(
        draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"])),
        f"http://127.0.0.1:9000{path}" + (f"?{query}" if query else ""),
        body,
        headers,
        region=draw(st.sampled_from(["us-east-1", "eu-central-2"])),
        presigned=presigned,
    )


@pytest.mark.timeout(120)
@given(requests())
def test_what_the_sdk_signs_is_taken(request: HttpRequest) -> None:
    asked = Asked()
    assert asked.error(request) == ("", "")
    (seen,) = asked.requests
    assert (seen.path, seen.body) == (request.path, request.body)
    assert "X-Amz-" not in seen.query


@pytest.mark.timeout(120)
@given(request=requests(), data=st.data())
def test_any_other_byte_is_refused(request: HttpRequest, data: st.DataObject) -> None:
    asked = Asked()
    part = data.draw(
        st.sampled_from(["method", "path", "query", "body", "host", "x-amz-client-context", "authorization"])
    )
    if part in {"method", "path", "query", "body"}:
        whole = getattr(request, part)
    else:
        whole = request.headers.get(part, "")
    assume(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    if isinstance(whole, bytes):
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
        changed: Any = whole[:place] + bytes([byte]) + whole[place + 1 :]
    else:
        letter = data.draw(st.sampled_from("abYZ09-x=%").filter(lambda letter: letter != whole[place]))
        changed = whole[:place] + letter + whole[place + 1 :]
    if part in {"path", "query"}:
        # Another way to write the same is the same.
        assume(not {whole[place], *changed[max(0, place - 2) : place + 3]} & set("%./=&"))
    if part in {"method", "path", "query", "body"}:
        other = replace(request, **{part: changed})
    else:
        # Values of headers are signed without the spaces between their words.
        assume(" " not in (whole[place], changed[place]))
        other = header(request, **{part.replace("-", "_"): changed})
    code, message = asked.error(other)
    assert code, message
    assert asked.requests == []


def test_nothing_signed_is_refused() -> None:
    asked = Asked()
    bare = HttpRequest("GET", "/2015-03-31/functions/", "a=b", {"host": "h"})
    assert asked.error(bare) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        (
            ("NOBODY", "secret", None),
            "UnrecognizedClientException",
            "The security token included in the request is",
        ),
        (("AKID", "Secret", None), "InvalidSignatureException", _MISMATCH),
        (("AKID", "secret", "a session's"), "", ""),
    ],
)
def test_keys(key: tuple[str, str, str | None], code: str, message: str) -> None:
    found, said = Asked().error(made(key=key))
    assert found == code
    assert said.startswith(message)


@pytest.mark.parametrize("presigned", [None, 3600])
def test_another_service_is_refused(presigned: int | None) -> None:
    code, message = Asked().error(made("GET", body=b"", service="sqs", presigned=presigned))
    assert code == "InvalidSignatureException"
    assert message == "Credential should be scoped to correct service: 'lambda'. "


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer x", "Unsupported AWS 'algorithm': 'Bearer'."),
        (
            "AWS4-HMAC-SHA256",
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Sig",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a,Signature=b",
            "Authorization header requires 'SignedHeaders' parameter.",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=b",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term,",
        ),
    ],
)
def test_what_is_incomplete_is_refused(authorization: str, message: str) -> None:
    code, said = Asked().error(header(made(), authorization=authorization))
    assert code == "IncompleteSignatureException"
    assert said.startswith(message)


@pytest.mark.parametrize("date", [None, "yesterday", "20261331T000000Z", "2026-01-31"])
def test_a_date_that_is_none_is_refused(date: str | None) -> None:
    code, _ = Asked().error(header(made(), x_amz_date=date))
    assert code == "IncompleteSignatureException"


def test_a_plain_date_is_taken() -> None:
    dated = made(headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
    assert "x-amz-date" not in dated.headers
    assert Asked().error(dated) == ("", "")


@pytest.mark.parametrize("shift", [-SKEW, SKEW])
def test_clocks_may_differ_by_five_minutes(shift: int) -> None:
    request = made()
    assert Asked(NOW.timestamp() + shift).error(request) == ("", "")
    code, message = Asked(NOW.timestamp() + shift * 1.01).error(request)
    assert code == "InvalidSignatureException"
    if shift > 0:
        said = "Signature expired: 20260131T120000Z is now earlier than 20260131T120003Z"
        assert message.endswith(" (20260131T120503Z - 5 min.)")
    else:
        said = "Signature not yet current: 20260131T120000Z is still later than 20260131T115957Z"
    assert message.startswith(said)


def test_a_presigned_request_lasts_as_long_as_it_says() -> None:
    request = made("GET", body=b"", presigned=3600)
    assert Asked(NOW.timestamp() + 3600).error(request) == ("", "")
    assert "Signature expired" in Asked(NOW.timestamp() + 3601).error(request)[1]
    for seconds in ("0", "604801", "x", "", "99999999999"):
        other = replace(
            request, query=request.query.replace("X-Amz-Expires=3600", f"X-Amz-Expires={seconds}")
        )
        assert Asked().error(other)[0] == "IncompleteSignatureException"
    other = replace(request, query="X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert "must include 'X-Amz-Credential'. AWS" in Asked().error(other)[1]
    other = replace(request, query=request.query.replace("AWS4-HMAC-SHA256", "AWS5"))
    assert Asked().error(other)[0] == "IncompleteSignatureException"


def test_the_scope_is_of_the_day_and_ends_as_it_should() -> None:
    request = made()
    authorization = request.headers["authorization"]
    for before, after in (("20260131/us", "20260130/us"), ("aws4_request", "aws4_requesT")):
        code, message = Asked().error(header(request, authorization=authorization.replace(before, after)))
        assert code == "InvalidSignatureException"
        assert "Credential" in message


def test_a_body_that_is_not_signed_is_taken_if_that_is() -> None:
    unsigned = made(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert Asked().error(replace(unsigned, body=b"another")) == ("", "")
    # To say so afterwards is too late.
    code, message = Asked().error(header(made(), x_amz_content_sha256="UNSIGNED-PAYLOAD"))
    assert code == "InvalidSignatureException"
    assert message == "There were headers present in the request which were not signed: x-amz-content-sha256"
    hashed = made(headers={"X-Amz-Content-SHA256": "0" * 64})
    assert "does not match what was computed" in Asked().error(hashed)[1]


def test_host_and_awss_own_headers_have_to_be_signed() -> None:
    request = made()
    authorization = request.headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    assert "must be a 'SignedHeader'" in Asked().error(header(request, authorization=authorization))[1]
    code, _ = Asked().error(header(request, x_amz_invocation_type="Event"))
    assert code == "InvalidSignatureException"
    assert Asked().error(header(request, x_amz_user_agent="aws-sdk", x_amzn_trace_id="Root=1")) == ("", "")


def test_a_reader_may_only_look() -> None:
    reader = ("READER", "other", None)
    assert Asked().error(made("GET", body=b"", key=reader)) == ("", "")
    asked = Asked()
    for method in ("POST", "PUT", "DELETE"):
        code, message = asked.error(made(method, key=reader))
        assert code == "AccessDeniedException"
        assert message.startswith("User: READER is not authorized to perform: ")
    assert asked.requests == []


# ------------------------------------------------------------------------------------------- the file of keys


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_come_from_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret").write_text("of a file\n")
    (tmp_path / "secret").chmod(0o600)
    text = """
    - {access_key_id: A, secret_access_key: "plain:0"}
    - {access_key_id: B, secret_access_key: "env:B_SECRET", read_only: true}
    - {access_key_id: C, secret_access_key: "file:secret"}
    """
    keys = AccessKeys.read(written(tmp_path, text), {"B_SECRET": "of the environment"})
    assert keys.get("A") == AccessKey("A", "plain:0")
    assert keys.get("B") == AccessKey("B", "of the environment", read_only=True)
    assert keys.get("C") == AccessKey("C", "of a file")
    assert keys.get("D") is None
    assert "plain:0" not in repr(keys.get("A"))
    assert caplog.text == ""


def test_a_file_that_everybody_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = '[{"access_key_id": "A", "secret_access_key": "s"}]'
    assert AccessKeys.read(written(tmp_path, text, 0o644)).get("A") == AccessKey("A", "s")
    assert "api_keys_readable_by_everybody" in caplog.text
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file: Input should be a valid list"),
        ("[]", "the file: List should have at least 1 item"),
        ("a: [", "is neither YAML nor JSON"),
        ("- {access_key_id: A}", r"\[0\].secret_access_key: Field required"),
        ("- {access_key_id: A/B, secret_access_key: hidden}", r"\[0\].access_key_id: String should match"),
        ("- {access_key_id: A, secret_access_key: hidden, more: 1}", r"\[0\].more: Extra inputs"),
        ("- {access_key_id: A, secret_access_key: [hidden]}", r"\[0\].secret_access_key: "),
        ("- {access_key_id: A, secret_access_key: env:NONE}", "the secret of A is empty. Fix: set NONE"),
        ("- {access_key_id: A, secret_access_key: file:none}", "cannot be read: No such file"),
        ("- &a {access_key_id: A, secret_access_key: hidden}\n- *a", "A is there twice"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_no_secret(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        AccessKeys.read(written(tmp_path, text), {})
    assert caught.value.field == "--api-keys"
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        AccessKeys.read(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is no UTF-8 text"):
        AccessKeys.read(tmp_path / "bytes")
