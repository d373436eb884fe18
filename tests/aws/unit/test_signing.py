"""Our signature is the SDK's, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from streamfn_aws.signing import Signer

CONTENT_TYPE = "application/x-amz-json-1.0"
URLS = (
    "https://sqs.us-east-1.amazonaws.com/",
    "http://127.0.0.1:4566/",
    "https://kinesis.eu-central-1.amazonaws.com:443/",
    "http://[::1]:4566/",
    "https://vpce-1.sqs.us-east-1.vpce.amazonaws.com:8443/",
)


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")
    assert lines[-2:] == ["", ""]
    return dict(line.split(": ", 1) for line in lines[1:-2])


@given(
    url=st.sampled_from(URLS),
    body=st.binary(max_size=200),
    token=st.none() | st.text("abcXYZ/+=", min_size=1, max_size=40),
    secret=st.text("abcXYZ/+=", min_size=1, max_size=40),
    at=st.datetimes(datetime(2015, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_it_is_what_the_sdk_signs(
    url: str, body: bytes, token: str | None, secret: str, at: datetime
) -> None:
    credentials = ReadOnlyCredentials("AKIA", secret, token)
    signer = Signer(url, "eu-central-1", "sqs", CONTENT_TYPE, lambda: at)
    ours = headers_of(signer.head("AmazonSQS.ReceiveMessage", body, credentials))
    request = AWSRequest(
        "POST",
        url,
        headers={"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Content-Type": CONTENT_TYPE},
        data=body,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: at)
        SigV4Auth(credentials, "sqs", "eu-central-1").add_auth(request)
    theirs: dict[str, Any] = dict(request.headers.items())
    assert ours["Authorization"] == theirs["Authorization"]
    assert ours["X-Amz-Date"] == theirs["X-Amz-Date"]
    assert ours.get("X-Amz-Security-Token") == theirs.get("X-Amz-Security-Token")
    assert ours["Content-Length"] == str(len(body))


def test_the_key_is_of_the_day_and_of_the_secret() -> None:
    """A signer lives for months, and credentials are renewed."""
    moment = datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    signer = Signer(URLS[0], "us-east-1", "sqs", CONTENT_TYPE, lambda: moment)

    def signature(secret: str) -> str:
        return headers_of(signer.head("T", b"", ReadOnlyCredentials("A", secret, None)))["Authorization"]

    first = signature("one")
    assert signature("two") != first
    assert signature("one") == first
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert signature("one") != first
    fresh = Signer(URLS[0], "us-east-1", "sqs", CONTENT_TYPE, lambda: moment)
    head = fresh.head("T", b"", ReadOnlyCredentials("A", "one", None))
    assert headers_of(head)["Authorization"] == signature("one")
