"""Headers of local messages that SQS has a type or a place of its own for."""

from __future__ import annotations

from hashlib import md5

from tests.core.made import SQS, message
from tests.core.test_events import exactly


def test_the_code_of_a_dead_letter_is_a_number_in_attribute_and_digest() -> None:
    """Three attributes, their digest worked out with the algorithm printed in the SQS guide."""

    def part(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    headers = (("RequestID", b"7f2c"), ("ErrorCode", b"200"), ("ErrorMessage", b"200"))
    (shown,) = SQS.to_event([message("m", headers=headers)])["Records"]
    types = {name: attribute["dataType"] for name, attribute in shown["messageAttributes"].items()}
    assert types == {"RequestID": "String", "ErrorCode": "Number", "ErrorMessage": "String"}
    assert shown["messageAttributes"]["ErrorCode"]["stringValue"] == "200"
    written = b"".join(
        part(name) + part(kind) + b"\x01" + part(value)
        for name, kind, value in (
            (b"ErrorCode", b"Number", b"200"),
            (b"ErrorMessage", b"String", b"200"),
            (b"RequestID", b"String", b"7f2c"),
        )
    )
    assert shown["md5OfMessageAttributes"] == md5(written, usedforsecurity=False).hexdigest()


def test_the_trace_of_a_message_stands_among_its_system_attributes() -> None:
    headers = (("AWSTraceHeader", b"Root=1-5759e988-bd862e3fe1be46a994272793"), ("a", b"1"))
    traced, plain = SQS.to_event([message("m", headers=headers), message("m", headers=headers[1:])])[
        "Records"
    ]
    assert list(traced["attributes"])[:2] == ["ApproximateReceiveCount", "AWSTraceHeader"]
    assert traced["attributes"].pop("AWSTraceHeader") == "Root=1-5759e988-bd862e3fe1be46a994272793"
    exactly(traced, plain)
    (alone,) = SQS.to_event([message("m", headers=headers[:1])])["Records"]
    assert alone["messageAttributes"] == {}
    assert "md5OfMessageAttributes" not in alone
