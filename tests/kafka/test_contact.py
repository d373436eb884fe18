"""What is said of brokers that come and go, and how often."""

from __future__ import annotations

import logging

import structlog

from streamfn_kafka.contact import Contact, _Ration, ration_client_logs


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_broker_that_is_away_is_told_of_once_and_once_when_it_is_back() -> None:
    clock = Clock()
    with structlog.testing.capture_logs() as logs:
        contact = Contact("kafka://h:1/t", 10, clock)
        for _ in range(50):
            contact.failed(1, OSError("gone"))
            clock.now += 0.1
        contact.failed(2, OSError("gone too, but not for long"))
        contact.answered(2, clock.now, as_member=False)
        contact.answered(1, clock.now, as_member=False)
        contact.answered(1, clock.now, as_member=False)
    assert [line["event"] for line in logs] == ["kafka_broker_away", "kafka_broker_back"]
    assert logs[0]["reason"] == "OSError: gone"
    assert logs[1]["seconds"] == 5.0
    assert logs[1]["broker"] == 1


def test_a_session_is_counted_from_before_the_group_heard_of_us() -> None:
    clock = Clock()
    with structlog.testing.capture_logs() as logs:
        contact = Contact("kafka://h:1/t", 10, clock)
        assert not contact.is_member
        contact.answered(1, 1000, as_member=True)
        assert contact.is_member
        contact.watch(holding=True)
        clock.now = 1009
        contact.answered(1, 1009, as_member=False)
        assert contact.is_member
        clock.now = 1010
        assert not contact.is_member
        contact.watch(holding=False)
        contact.watch(holding=True)
        contact.watch(holding=True)
        contact.answered(1, 1010, as_member=True)
        assert contact.is_member
    assert [line["event"] for line in logs] == ["kafka_group_silent", "kafka_group_answers"]


def test_the_client_says_the_same_thing_once_a_minute() -> None:
    clock = Clock()
    ration = _Ration(clock)

    def says(level: int, text: str) -> str | None:
        record = logging.LogRecord("aiokafka", level, "", 0, text, (), None)
        return str(record.msg) if ration.filter(record) else None

    assert says(logging.ERROR, "no connection to %s") == "no connection to %s"
    assert [says(logging.ERROR, "no connection to %s") for _ in range(9)] == [None] * 9
    assert says(logging.WARNING, "something else") == "something else"
    assert says(logging.INFO, "no connection to %s") == "no connection to %s"
    clock.now += 61
    assert says(logging.ERROR, "no connection to %s") == "no connection to %s (and 9 times more)"
    assert says(logging.ERROR, "no connection to %s") is None


def test_the_ration_holds_for_all_loggers_of_the_client_and_no_other() -> None:
    ration_client_logs()
    ration_client_logs()
    for name in ("aiokafka", "aiokafka.consumer.group_coordinator", "aiokafka.producer.sender"):
        assert len(logging.getLogger(name).filters) == 1
    assert not logging.getLogger("streamfn").filters
