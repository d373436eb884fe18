"""Functions, mappings and destinations made by boto3 alone, on queues, streams, topics and buckets of AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.daemon import Daemon
from tests.clients.environment import run
from tests.servers.aws import Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHECKS = (
    "records_of_a_stream_are_bisected_until_one_is_left",
    "messages_that_fail_go_to_the_dead_letter_queue",
    "events_reach_their_destinations",
    "a_function_is_the_destination_of_another",
    "code_of_a_bucket",
    "sources_that_are_not_there",
    "a_mapping_follows_its_alias",
)


@pytest.fixture(scope="module")
def on_aws(aws: Ministack) -> Iterator[Daemon]:
    """Its ARNs stand for what the server for tests has."""
    with Daemon(aws=aws.endpoint) as running:
        yield running


@pytest.mark.parametrize("check", CHECKS)
def test_a_part(on_aws: Daemon, check: str) -> None:
    code, said = run(on_aws.clients(), "scenario.py", f"check_{check}", seconds=90)
    assert code == 0, f"{said}\n{on_aws.log_tail(30)}"
    assert f"ok check_{check}" in said, said
