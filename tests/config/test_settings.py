"""Settings: their names and values, and that nothing changes without one."""

from __future__ import annotations

import pytest

from streamfn.config import ConfigurationErrors, EventInvokeConfig, EventSourceMapping, Settings, settings_of
from streamfn.config.mapping import RetryBackoff
from streamfn.core.policies import ASYNCHRONOUS, DeliveryPolicy


def refused(*given: str) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        Settings.parse(given)
    return [str(error) for error in caught.value.errors]


def test_what_aws_has_holds_where_nothing_is_said() -> None:
    settings = Settings()
    assert settings.asynchronous.delays == ASYNCHRONOUS.backoff
    assert settings.asynchronous.maximum_event_age == ASYNCHRONOUS.maximum_record_age
    assert settings.throttling.backoff == DeliveryPolicy().throttle_backoff
    assert settings.stream.retry_backoff.backoff == DeliveryPolicy().backoff
    assert settings.stream.retry_backoff.model_dump() == RetryBackoff().model_dump()
    assert all(settings.source_options(kind) == {} for kind in ("sqs", "kinesis", "dynamodb", "kafka"))


def test_they_are_given_as_text() -> None:
    settings = Settings.parse(
        ["async.first_retry_delay=1", "stream.retry_backoff.cap = 2.5", "sqs.wait_time=0"]
    )
    assert settings.asynchronous.delays.seconds == (1.0, 120.0)
    assert settings.stream.retry_backoff.backoff.cap == 2.5
    assert settings.source_options("sqs") == {"wait_time_seconds": "0"}


def test_text_goes_over_what_a_file_says() -> None:
    base = Settings.load({"async": {"first_retry_delay": 5, "second_retry_delay": 6}})
    assert Settings.parse(["async.first_retry_delay=1"], base).asynchronous.delays.seconds == (1.0, 6.0)


def test_they_are_given_in_any_form() -> None:
    one = Settings.parse(["sqs.wait_time=3"])
    for given in (one, {"sqs.wait_time": 3}, {"sqs": {"wait_time": 3}}, ["sqs.wait_time=3"]):
        assert settings_of(given) == one
    assert settings_of(None) == Settings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("async.first_retry=1", "--set async.first_retry: unknown setting. Fix: did you mean async."),
        ("async=1", "--set async: unknown setting."),
        ("sqs.wait_time", "--set: 'sqs.wait_time' is no setting. Fix: write NAME=VALUE"),
        ("sqs.wait_time=x", "--set sqs.wait_time: must be a whole number, not 'x'"),
        ("sqs.wait_time=21", "--set sqs.wait_time: must be 0 to 20, not 21"),
        ("async.first_retry_delay=-1", "--set async.first_retry_delay: must be 0 to 43200 seconds, not -1"),
        ("async.first_retry_delay=nan", "--set async.first_retry_delay: must be 0 to 43200 seconds, not nan"),
    ],
)
def test_what_is_no_setting_is_refused(given: str, message: str) -> None:
    (said,) = refused(given)
    assert said.startswith(message)


def test_every_name_can_be_set_to_its_own_value() -> None:
    values = Settings().values()
    assert Settings.parse(f"{name}={value}" for name, value in values.items()) == Settings()
    assert "async.first_retry_delay" in values


def test_an_option_of_the_model_is_known_from_one_that_was_left_out() -> None:
    # What planning goes by.
    mapping = EventSourceMapping.load({"function": "f", "source": "local:s", "RetryBackoff": {"First": 1}})
    assert "retry_backoff" in mapping.model_fields_set
    config = EventInvokeConfig.load({"function": "f", "RetryDelays": [1]})
    assert "retry_delays" in config.model_fields_set
