"""What is said of a webhook, and what is refused, with the option's name and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfn.errors import ConfigurationError
from streamfn.ports import DestinationKind, FailureFormat
from streamfn_http import HttpDestination
from streamfn_http.options import address

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def made(uri: str) -> HttpDestination:
    return HttpDestination.from_uri(uri, {})


def refused(uri: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as error:
        made(uri)
    assert error.value.fix
    assert "hunter2" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/hook", "https://host/hook"),
        ("https://host", "https://host/"),
        ("HTTP://Host.Example:80/A/b", "http://host.example/A/b"),
        ("https://host:8443/", "https://host:8443/"),
        ("http://host:443/", "http://host:443/"),
        ("http://[::1]:8080/hook", "http://[::1]:8080/hook"),
        ("http://127.0.0.1/a b/ü/%2F", "http://127.0.0.1/a%20b/%C3%BC/%2F"),
    ],
)
def test_its_name_is_its_address(url: str, name: str) -> None:
    destination = made(url)
    assert destination.name == name
    assert repr(destination) == f"<HttpDestination {name}>"
    assert isinstance(HttpDestination, DestinationKind)


def test_neither_name_nor_repr_has_what_may_be_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_QUERY", "?token=hunter2&x=ü\n")
    destination = made(
        f"https://host/hook?query=env:HOOK_QUERY&secret={SECRET}&authorization=Bearer%20hunter2"
    )
    assert repr(destination) == "<HttpDestination https://host/hook>"
    given = address("https://host/hook", "env:HOOK_QUERY")
    assert (given.url, repr(given)) == (
        "https://host/hook?token=hunter2&x=%C3%BC",
        "<Address https://host/hook>",
    )


@pytest.mark.parametrize("style", FailureFormat)
def test_the_format_of_failure_records_is_chosen(style: FailureFormat) -> None:
    assert made(f"http://host/?failure_format={style.value}").failure_format is style
    assert made("http://host/").failure_format is FailureFormat.RECORD


@pytest.mark.parametrize(
    ("uri", "field"),
    [
        ("https://", "Destination"),
        ("https:///hook", "Destination"),
        ("https:host/hook", "Destination"),
        ("ftp://host/hook", "Destination"),
        ("https://ho st/hook", "Destination"),
        ("https://bücher.example/", "Destination"),
        ("https://a..b/", "Destination"),
        (f"https://{'a' * 64}/", "Destination"),
        ("https://host:0/", "Destination"),
        ("https://host:99999/", "Destination"),
        ("https://host:port/", "Destination"),
        ("https://[::1/", "Destination"),
        ("https://me:hunter2@host/hook", "Destination"),
        ("https://hunter2@host/hook", "Destination"),
        ("https://host/hook#hunter2", "Destination"),
        ("https://host/hook?query=a#hunter2", "Destination"),
        ("https://host/?token=hunter2", "token"),
        ("https://host/?verify=false", "verify"),
        ("https://host/?timeout=5s", "timeout"),
        ("https://host/?timeout=0", "timeout"),
        ("https://host/?timeout=nan", "timeout"),
        ("https://host/?timeout=5&timeout=6", "timeout"),
        ("https://host/?concurrency=0", "concurrency"),
        ("https://host/?concurrency=1.5", "concurrency"),
        ("https://host/?failure_format=all", "failure_format"),
        ("https://host/?content_type=json", "content_type"),
        ("https://host/?content_type=a/b%0D%0Ac", "content_type"),
        ("https://host/?content_type=", "content_type"),
        ("https://host/?authorization=", "authorization"),
        ("https://host/?authorization=Bearer%20hunter2%0Ax", "authorization"),
        ("https://host/?authorization=hunter2%C3%BC", "authorization"),
        ("https://host/?authorization=env:STREAMFN_NO_SUCH", "authorization"),
        ("https://host/?secret=hunter2", "secret"),
        ("https://host/?secret=", "secret"),
        ("https://host/?query=", "query"),
        ("https://host/?query=hunter2%23", "query"),
        ("https://host/?query=env:STREAMFN_NO_SUCH", "query"),
        ("https://host/?proxy=", "proxy"),
        ("https://host/?proxy=hunter2", "proxy"),
        ("https://host/?proxy=https://me:hunter2@proxy:3128", "proxy"),
        ("https://host/?proxy=http://me:hunter2@", "proxy"),
        ("https://host/?proxy=http://me:hunter2@proxy:port", "proxy"),
        ("https://host/?proxy=http://me:hunter2@proxy/path", "proxy"),
        ("https://host/?ca_bundle=/no/such/file", "ca_bundle"),
        ("https://host/?ca_bundle=", "ca_bundle"),
        ("http://host/?ca_bundle=/etc/hosts", "ca_bundle"),
    ],
)
def test_what_is_wrong_is_refused(uri: str, field: str) -> None:
    assert refused(uri).field == field


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    assert refused(f"https://host/?ca_bundle={tmp_path / 'empty.pem'}").field == "ca_bundle"


def test_the_fix_says_where_credentials_and_queries_go() -> None:
    assert "authorization=env:VARIABLE" in refused("https://me:hunter2@host/").fix
    assert "option query" in str(refused("https://host/?token=hunter2"))
    with pytest.raises(ConfigurationError, match="as query"):
        HttpDestination("https://host/?token=hunter2")


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": "5"},
        {"timeout": True},
        {"concurrency": None},
        {"content_type": 5},
        {"failure_format": FailureFormat.RECORD},
        {"secret": 5},
        {"secret": [5]},
        {"query": b"a"},
        {"authorization": 5},
        {"ca_bundle": 5},
    ],
)
def test_values_of_another_type_are_refused_in_python(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as error:
        HttpDestination("https://host/", **options)
    assert error.value.field == next(iter(options))
