"""What the answers of AWS mean: what may be tried again, what is missing, and what to do."""

from __future__ import annotations

import pytest

from streamfn.errors import ConfigurationError, SourceError
from streamfn_aws.errors import ServiceError, checking, reading, source_error


def error(code: str, status: int = 400, message: str = "") -> ServiceError:
    return ServiceError("GetRecords", code, message, status)


@pytest.mark.parametrize(
    "code",
    [
        "ThrottlingException",
        "RequestThrottled",
        "AWS.SimpleQueueService.RequestThrottled",
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "SlowDown",
        "KMSThrottlingException",
    ],
)
def test_what_was_too_much_may_be_asked_again(code: str) -> None:
    assert error(code).throttled
    assert error(code).transient
    assert not error(code).missing


@pytest.mark.parametrize(
    ("code", "status", "throttled", "transient"),
    [
        ("InternalFailure", 500, False, True),
        ("ServiceUnavailable", 503, False, True),
        ("TooMany", 429, True, True),
        ("ValidationException", 400, False, False),
        ("AccessDeniedException", 400, False, False),
    ],
)
def test_the_status_says_the_rest(code: str, status: int, throttled: bool, transient: bool) -> None:
    assert (error(code, status).throttled, error(code, status).transient) == (throttled, transient)


@pytest.mark.parametrize(
    "code",
    [
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "ResourceNotFoundException",
        "NotFound",
        "NoSuchBucket",
        "404",
    ],
)
def test_what_is_missing_in_the_words_of_each_service(code: str) -> None:
    assert error(code).missing
    assert error(code).fix == "create it, or check name, region, account and endpoint_url"
    assert not error(code).transient


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("AccessDenied", "allow the action GetRecords in the policy of the user or role"),
        ("AccessDeniedException", "allow the action GetRecords in the policy of the user or role"),
        (
            "ExpiredToken",
            "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profile or role_arn",
        ),
        (
            "KMSDisabledException",
            "allow kms:Decrypt and kms:GenerateDataKey on the key, and see that it is enabled",
        ),
        (
            "KmsAccessDenied",
            "allow kms:Decrypt and kms:GenerateDataKey on the key, and see that it is enabled",
        ),
        (
            "KMS.AccessDeniedException",
            "allow kms:Decrypt and kms:GenerateDataKey on the key, and see that it is enabled",
        ),
        ("Strange", ""),
    ],
)
def test_what_to_do_about_it(code: str, fix: str) -> None:
    assert error(code).fix == fix


def test_an_error_says_what_was_asked_and_what_was_answered() -> None:
    assert str(error("AWS.SimpleQueueService.NonExistentQueue", message="no such queue")) == (
        "GetRecords: NonExistentQueue: no such queue"
    )
    assert str(error("Strange")) == "GetRecords: Strange"


@pytest.mark.parametrize(
    ("raised", "retryable", "said"),
    [
        (OSError("nobody answers"), True, "sqs://orders: nobody answers"),
        (error("InternalFailure", 500, "oh"), True, "sqs://orders: GetRecords: InternalFailure: oh"),
        (error("ThrottlingException"), True, "sqs://orders: GetRecords: ThrottlingException"),
        (
            error("QueueDoesNotExist", message="no"),
            False,
            "sqs://orders: GetRecords: QueueDoesNotExist: no. "
            "Fix: create it, or check name, region, account and endpoint_url",
        ),
        (
            error("AccessDenied"),
            False,
            "sqs://orders: GetRecords: AccessDenied. "
            "Fix: allow the action GetRecords in the policy of the user or role",
        ),
        (
            error("InvalidSignatureException"),
            False,
            "sqs://orders: GetRecords: InvalidSignatureException. Fix: check the credentials: "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profile or role_arn",
        ),
    ],
)
def test_only_what_a_person_must_mend_is_not_tried_again(
    raised: ServiceError | OSError, retryable: bool, said: str
) -> None:
    made = source_error("sqs://orders", raised)
    assert (str(made), made.retryable) == (said, retryable)
    with pytest.raises(SourceError) as caught, reading("sqs://orders"):
        raise raised
    assert (str(caught.value), caught.value.retryable) == (said, retryable)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("code", ["QueueDoesNotExist", "AccessDenied", "UnrecognizedClientException"])
def test_a_check_names_the_field(code: str) -> None:
    with pytest.raises(ConfigurationError) as caught, checking("sqs://orders", "Destination"):
        raise error(code, message="no")
    assert (caught.value.field, caught.value.problem) == (
        "Destination",
        f"sqs://orders: GetRecords: {code}: no",
    )
    assert caught.value.fix == error(code).fix


@pytest.mark.parametrize("raised", [OSError("nobody answers"), error("InternalFailure", 500)])
def test_a_check_that_cannot_tell_says_so(raised: Exception) -> None:
    with pytest.raises(SourceError, match="^sqs://orders: "), checking("sqs://orders", "Source"):
        raise raised


def test_what_is_no_answer_of_aws_stays_what_it_is() -> None:
    for watch in (reading("q"), checking("q", "Source")):
        with pytest.raises(KeyError), watch:
            raise KeyError("a mistake of ours")
