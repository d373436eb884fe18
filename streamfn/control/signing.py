"""Requests have to be signed (AWS Signature Version 4), in a header or, presigned, in the query.

Errors have AWS's codes and words. (AWS General Reference: Signature Version 4; Lambda API: common errors.)
"""

from __future__ import annotations

import hmac
import re
from calendar import timegm
from dataclasses import replace
from email.utils import parsedate_to_datetime
from hashlib import sha256
from time import gmtime, strftime, strptime
from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn.control.answers import refusal
from streamfn.control.canonical import Scope, canonical_request, pairs, sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.control.keys import AccessKey, AccessKeys
    from streamfn.control.messages import Handler, HttpRequest, HttpResponse
    from streamfn.ports import Clock

SKEW: Final = 300
"""Seconds by which a client's clock may be wrong."""
UNSIGNED: Final = "UNSIGNED-PAYLOAD"

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_LONGEST: Final = 604_800
"""Seconds that a presigned request is good for at most."""
_FREE: Final = frozenset({"x-amz-user-agent"})
"""Of AWS's own headers, those that need no signature, for they change nothing."""

_NONE: Final = "Missing Authentication Token"
_UNKNOWN: Final = "The security token included in the request is invalid."
_WRONG: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
    " Access Key and signing method. Consult the service documentation for details."
)
_READ_ONLY: Final = "changes, for this access key is read-only"


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


class _Claim(NamedTuple):
    """Who a request says it is from, and how it was signed."""

    key_id: str
    scope: Scope
    stamp: str
    seconds: int | None
    """How long it is good for, of a presigned one."""
    signed: tuple[str, ...]
    signature: str
    query: tuple[tuple[str, str], ...]
    """What of the query is signed."""


def signed(handler: Handler, keys: AccessKeys, clock: Clock) -> Handler:
    """The handler, behind a check of each request's signature.

    A key that is read-only may GET and HEAD, which is all that AWS's Get and List operations do.
    """

    async def handle(request: HttpRequest) -> HttpResponse:
        try:
            claim = _claim(request)
            key = _verified(request, claim, keys, clock())
        except _Refused as refused:
            return refusal(403, refused.code, refused.message)
        if key.read_only and request.method not in {"GET", "HEAD"}:
            denied = f"User: {key.access_key_id} is not authorized to perform: {_READ_ONLY}"
            return refusal(403, "AccessDeniedException", denied)
        return await handler(request if claim.seconds is None else _without_signature(request))

    return handle


def _claim(request: HttpRequest) -> _Claim:
    query = pairs(request.query)
    if (authorization := request.headers.get("authorization")) is not None:
        return _of_header(request.headers, authorization, query)
    named = {name: value for name, value in query if name.startswith("X-Amz-")}
    if "X-Amz-Signature" in named or "X-Amz-Algorithm" in named:
        return _of_query(named, query)
    raise _Refused("MissingAuthenticationTokenException", _NONE)


def _of_header(headers: Mapping[str, str], authorization: str, query: list[tuple[str, str]]) -> _Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != _ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    split = (part.strip().partition("=") for part in rest.split(","))
    parts = {name: value for name, _, value in split}
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parts.get(name)
    ]
    stamp = headers.get("x-amz-date") or _stamp_of(headers.get("date", ""))
    if not stamp:
        what = "existence of either a 'X-Amz-Date' or a 'Date' header."
        missing.append(f"Authorization header requires {what}")
    if missing:
        raise _incomplete(" ".join(missing))
    return _made(parts["Credential"], stamp, None, parts["SignedHeaders"], parts["Signature"], query)


def _of_query(named: dict[str, str], query: list[tuple[str, str]]) -> _Claim:
    wanted = ("Algorithm", "Credential", "Signature", "SignedHeaders", "Date", "Expires")
    missing = [f"AWS query-string parameters must include 'X-Amz-{name}'." for name in wanted]
    missing = [text for text, name in zip(missing, wanted, strict=True) if not named.get(f"X-Amz-{name}")]
    if missing:
        raise _incomplete(" ".join(missing))
    if named["X-Amz-Algorithm"] != _ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{named['X-Amz-Algorithm']}'.")
    seconds = named["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", seconds) or not 1 <= int(seconds) <= _LONGEST:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {_LONGEST}.")
    return _made(
        named["X-Amz-Credential"],
        named["X-Amz-Date"],
        int(seconds),
        named["X-Amz-SignedHeaders"],
        named["X-Amz-Signature"],
        [(name, value) for name, value in query if name != "X-Amz-Signature"],
    )


def _made(
    credential: str, stamp: str, seconds: int | None, names: str, signature: str, query: list[tuple[str, str]]
) -> _Claim:
    key_id, *scope = credential.rsplit("/", 4)
    if len(scope) != 4:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g."
            f" keyid/date/region/service/term, got '{credential}'."
        )
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", stamp) or _seconds(stamp) is None:
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.")
    return _Claim(key_id, Scope(*scope), stamp, seconds, tuple(names.split(";")), signature, tuple(query))


def _verified(request: HttpRequest, claim: _Claim, keys: AccessKeys, now: float) -> AccessKey:
    """The key that signed it. What the signature covers is checked before the signature itself."""
    key = keys.get(claim.key_id)
    if key is None:
        raise _Refused("UnrecognizedClientException", _UNKNOWN)
    _check_scope(claim)
    _check_time(claim, now)
    _check_names(request, claim)
    canonical = canonical_request(request, claim.query, claim.signed, _payload(request))
    expected = sign(key.secret, claim.scope, claim.stamp, canonical)
    # Compared as bytes: what a client sends may be any text.
    if not hmac.compare_digest(expected.encode(), claim.signature.encode("latin-1")):
        raise _invalid(_WRONG)
    return key


def _check_scope(claim: _Claim) -> None:
    scope = claim.scope
    if scope.service != "lambda":
        raise _invalid("Credential should be scoped to correct service: 'lambda'. ")
    if scope.end != "aws4_request":
        raise _invalid(
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{scope.end}'."
        )
    if scope.day != claim.stamp[:8]:
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:"
            f" '{scope.day}' != '{claim.stamp[:8]}', from '{claim.stamp}'."
        )


def _check_time(claim: _Claim, now: float) -> None:
    signed_at = _seconds(claim.stamp) or 0
    lasts = SKEW if claim.seconds is None else claim.seconds
    if now - signed_at > lasts:
        limit = f"({_text(now)} - {_minutes(lasts)})"
        raise _invalid(f"Signature expired: {claim.stamp} is now earlier than {_text(now - lasts)} {limit}")
    if signed_at - now > SKEW:
        limit = f"({_text(now)} + {_minutes(SKEW)})"
        raise _invalid(
            f"Signature not yet current: {claim.stamp} is still later than {_text(now + SKEW)} {limit}"
        )


def _check_names(request: HttpRequest, claim: _Claim) -> None:
    if "host" not in claim.signed:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    free = [
        name
        for name in request.headers
        if name.startswith("x-amz-") and name not in claim.signed and name not in _FREE
    ]
    if free:
        raise _invalid(f"There were headers present in the request which were not signed: {', '.join(free)}")


def _payload(request: HttpRequest) -> str:
    said = request.headers.get("x-amz-content-sha256")
    if said == UNSIGNED:
        return UNSIGNED
    found = sha256(request.body).hexdigest()
    if said is not None and said != found:
        raise _invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return found


def _without_signature(request: HttpRequest) -> HttpRequest:
    """What a presigned request asks for: the operation's parameters alone."""
    kept = [part for part in request.query.split("&") if not part.startswith("X-Amz-")]
    return replace(request, query="&".join(kept))


def _incomplete(message: str) -> _Refused:
    return _Refused("IncompleteSignatureException", message)


def _invalid(message: str) -> _Refused:
    return _Refused("InvalidSignatureException", message)


def _stamp_of(date: str) -> str:
    try:
        return strftime(_STAMP, parsedate_to_datetime(date).utctimetuple())
    except (ValueError, OverflowError):
        return ""


def _seconds(stamp: str) -> int | None:
    try:
        return timegm(strptime(stamp, _STAMP))
    except ValueError:
        return None


def _text(seconds: float) -> str:
    return strftime(_STAMP, gmtime(seconds))


def _minutes(seconds: int) -> str:
    return f"{seconds // 60} min." if seconds % 60 == 0 else f"{seconds} s."
