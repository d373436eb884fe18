"""What answers mean: the table of Knative's data plane contract, pauses, and what people are shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn_http.answers import Answer, Verdict, excerpt

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_what_is_taken(status: int) -> None:
    assert Answer(status).verdict is Verdict.TAKEN


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 501, 502, 503, 504, 599, 999])
def test_what_goes_again(status: int) -> None:
    assert Answer(status).verdict is Verdict.AGAIN


@pytest.mark.parametrize(
    "status", [101, 300, 301, 302, 304, 307, 308, 400, 401, 403, 405, 410, 413, 422, 451]
)
def test_what_is_refused(status: int) -> None:
    assert Answer(status).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        (429, "7", 7),
        (503, " 120 ", 120),
        (503, "0", 0),
        (429, "Tue, 14 Nov 2023 22:13:25 GMT", 5),
        (429, "Tuesday, 14-Nov-23 22:13:25 GMT", 5),
        (429, "Tue Nov 14 22:13:25 2023", 5),
        (503, "Tue, 14 Nov 2023 22:13:00 GMT", 0),
        (503, "Tue, 14 Nov 2023 23:13:25 +0100", 5),
        (503, "-5", 0),
        (503, "1.5", 0),
        (503, "²", 0),
        (503, "soon", 0),
        (503, "", 0),
        (503, "Tue, 99 Nov 2023 22:13:25 GMT", 0),
        (503, "Tue, 14 Nov 2023 22:13:25 99999999999999999999", 0),
        (503, None, 0),
        (500, "7", 0),
        (200, "7", 0),
    ],
)
def test_how_long_to_wait(status: int, said: str | None, seconds: float) -> None:
    assert Answer(status, retry_after=said).pause(NOW) == seconds


def test_dates_without_a_zone_are_in_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        assert Answer(503, retry_after="Tue Nov 14 22:13:25 2023").pause(NOW) == 5
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_any_text_says_how_long_to_wait_or_nothing(said: str) -> None:
    assert Answer(503, retry_after=said).pause(NOW) >= 0


def test_reasons_are_one_line() -> None:
    assert (
        Answer(503, "Service Unavailable", text="try later").reason
        == "HTTP 503 Service Unavailable: try later"
    )
    assert Answer(500).reason == "HTTP 500"
    assert Answer(302, "Found", text="<a>").reason == "HTTP 302 Found: redirects are not followed"


@given(st.binary(max_size=2000))
def test_an_excerpt_is_short_printable_and_one_line(body: bytes) -> None:
    shown = excerpt(body, ())
    assert len(shown) <= 200
    assert shown.isprintable()


def test_an_excerpt_shows_the_beginning_and_no_secrets() -> None:
    assert excerpt(b"  a\r\n\tb\x00\x1b[31mc  ", ()) == "a b [31mc"
    assert excerpt(b"", ()) == ""
    assert excerpt("é".encode() * 300, ()) == "é" * 197 + "..."
    echo = b'{"authorization": "Bearer hunter2", "url": "/hook?sig=xyz"}'
    assert excerpt(echo, ("Bearer hunter2", "sig=xyz")) == '{"authorization": "***", "url": "/hook?***"}'
