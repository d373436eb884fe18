"""Signing a request to AWS (Signature Version 4), for one kind of request.

The SDK's signer takes any request apart to put it in order first, which costs three times as much as all else
on a call's way. Ours knows its requests: a POST to the root, whose headers are always the same four or five.
A test holds it to the SDK's, signature for signature.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_HOSTS_PORT = {"http": 80, "https": 443}


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a signature is of the wall clock


class Signer:
    """Signs calls of one service in one region.

    (AWS General Reference: Signature Version 4, canonical request and string to sign.)
    """

    def __init__(
        self,
        url: str,
        region: str,
        service: str,
        content_type: str,
        now: Callable[[], datetime] = _now,
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        if ":" in self.host:
            self.host = f"[{self.host}]"
        if parts.port not in (None, _HOSTS_PORT.get(parts.scheme)):
            self.host += f":{parts.port}"
        self._path = parts.path or "/"
        self._content_type = content_type
        self._region = region
        self._service = service
        self._now = now
        self._key_of: tuple[str, str] = ("", "")
        self._key = b""

    def head(self, target: str, body: bytes, credentials: Any) -> bytes:
        """The request line and the headers of a call, signed, with the empty line behind them.

        `credentials`: botocore's, frozen.
        """
        stamp = self._now().strftime("%Y%m%dT%H%M%SZ")
        token = credentials.token
        names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
        signed_token, sent_token = f"x-amz-security-token:{token}\n", f"X-Amz-Security-Token: {token}\r\n"
        if not token:
            names, signed_token, sent_token = "content-type;host;x-amz-date;x-amz-target", "", ""
        canonical = (
            f"POST\n{self._path}\n\ncontent-type:{self._content_type}\nhost:{self.host}\nx-amz-date:{stamp}\n"
            f"{signed_token}x-amz-target:{target}\n\n{names}\n{sha256(body).hexdigest()}"
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = self._signing_key(stamp[:8], credentials.secret_key)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        return (
            f"POST {self._path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {self._content_type}\r\n"
            f"Content-Length: {len(body)}\r\nX-Amz-Date: {stamp}\r\n{sent_token}X-Amz-Target: {target}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\nUser-Agent: streamfn\r\n\r\n"
        ).encode()

    def _signing_key(self, day: str, secret: str) -> bytes:
        """The same for a whole day."""
        if self._key_of != (day, secret):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (day, secret)
        return self._key
