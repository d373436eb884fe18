"""`endpoints:`: what an entry says, what it fits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfn.config import ConfigurationErrors, Endpoint, endpoints_of, read_endpoints
from streamfn.config.file import load


def refused(*entries: Any) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        endpoints_of(entries, "map.yaml")
    return [str(error).removeprefix("map.yaml: ") for error in caught.value.errors]


@pytest.mark.parametrize(
    ("entry", "resource", "fits"),
    [
        ({}, ("sqs", "eu-west-1", "1", "q"), True),
        ({}, ("kafka", "eu-west-1", "1", "c"), False),
        ({"url": "local:"}, ("kinesis", "eu-west-1", "1", "s"), True),
        ({"url": "local:"}, ("sns", "eu-west-1", "1", "t"), False),
        ({"service": "sqs"}, ("sns", "eu-west-1", "1", "t"), False),
        ({"region": "eu-west-1"}, ("sqs", "us-east-1", "1", "q"), False),
        ({"region": "eu-west-1"}, ("s3", "", "", "bucket"), True),
        ({"account": 1}, ("sqs", "us-east-1", "000000000001", "q"), True),
        ({"account": 1}, ("sqs", "us-east-1", "000000000002", "q"), False),
        ({"name": "orders-*"}, ("sqs", "us-east-1", "1", "orders-eu"), True),
        ({"name": "orders-*"}, ("sqs", "us-east-1", "1", "Orders-eu"), False),
    ],
)
def test_what_an_entry_fits(entry: dict[str, Any], resource: tuple[str, str, str, str], fits: bool) -> None:
    assert endpoints_of([entry])[0].matches(*resource) is fits


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"service": "sqz"}, "endpoints[0].service: must be '*', 'sqs', "),
        ({"servise": "sqs"}, "endpoints[0].servise: unknown option. Fix: did you mean service?"),
        (
            {"service": "kafka"},
            "endpoints[0]: url is required with service: kafka. Fix: write url: host:9092",
        ),
        ({"service": "kafka", "url": "http://a:1"}, "endpoints[0]: url is no list of brokers."),
        ({"service": "sns", "url": "local:"}, "endpoints[0]: url: the embedded broker is no sns."),
        ({"secret_access_key": ["hidden"]}, "endpoints[0].secret_access_key: must be text. Fix: write it in"),
        ({"url": "http://me:hidden@host"}, "endpoints[0]: url is no address."),
        ({"sasl_username": "hidden"}, "endpoints[0]: sasl_username goes with service: kafka only."),
        (
            {"service": "kafka", "url": "a:1", "profile": "x"},
            "endpoints[0]: profile goes with services of AWS only.",
        ),
        ("sqs", "endpoints[0]: must be a set of names and values, not 'sqs'"),
    ],
)
def test_a_wrong_entry_is_refused(entry: Any, message: str) -> None:
    (said,) = refused(entry)
    assert said.startswith(message)
    assert "hidden" not in said


def test_all_wrong_entries_are_told_together() -> None:
    assert len(refused({"service": "x"}, {"url": "x"}, {})) == 2


def test_no_secret_is_shown() -> None:
    entry = Endpoint(
        service="sqs", access_key_id="hidden", secret_access_key="hidden", session_token="hidden"
    )
    assert "hidden" not in repr(entry)
    assert entry.options() == dict.fromkeys(("access_key_id", "secret_access_key", "session_token"), "hidden")


@pytest.mark.parametrize(
    "text", ["- {service: sqs, url: '${URL}'}", "endpoints:\n- {service: sqs, url: '${URL}'}"]
)
def test_a_file_has_them_alone_or_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(text)
    assert read_endpoints(file, {"URL": "http://a:1"}) == (Endpoint(service="sqs", url="http://a:1"),)


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("sqs: http://a:1")
    with pytest.raises(ConfigurationErrors, match=r"map\.yaml:1: endpoints: must be a list of entries"):
        read_endpoints(file, {})


def test_streamfn_yaml_has_them_too(tmp_path: Path) -> None:
    file = tmp_path / "streamfn.yaml"
    file.write_text(
        "endpoints: [{service: sqs, url: 'local:'}]\nsecrets: secrets.yaml\nsettings: {sqs.wait_time: 1}\n"
    )
    loaded = load(file, {})
    assert loaded.endpoints == (Endpoint(service="sqs", url="local:"),)
    assert loaded.secrets == Path("secrets.yaml")
    assert loaded.settings.sqs.wait_time == 1


def test_what_is_wrong_in_streamfn_yaml_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "streamfn.yaml"
    file.write_text("endpoints:\n- service: sqs\n  url: x\nsettings:\n  sqs.wait_tim: 1\n  async: 1\n")
    with pytest.raises(ConfigurationErrors) as caught:
        load(file, {})
    assert [(error.where, error.field) for error in caught.value.errors] == [
        (f"{file}:2", "endpoints[0]"),
        (f"{file}:5", "settings.sqs.wait_tim"),
        (f"{file}:6", "settings.async"),
    ]
