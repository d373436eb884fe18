"""What AWS and the way to it can answer instead of an answer, and what that means for sources and
destinations.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from streamfn.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "OverLimit",
        "KMSThrottlingException",
        "KmsThrottled",
    }
)
_MISSING: Final = frozenset(
    {
        "QueueDoesNotExist",
        "NonExistentQueue",
        "ResourceNotFoundException",
        "NotFound",
        "NotFoundException",
        "NoSuchBucket",
        "NoSuchKey",
        "404",
    }
)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "403"})
_CREDENTIALS: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
    }
)


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

_TRUST: Final = ". Fix: if the endpoint is the right one, give its certificate as ca_bundle"


class ServiceError(Exception):
    """A service of AWS answered that it did not do what was asked."""

    def __init__(
        self, operation: str, code: str, message: str, status: int, answer: Mapping[str, Any] = _NOTHING
    ) -> None:
        self.operation = operation
        self.code = code.rpartition(".")[2] if code.startswith("AWS.") else code
        """Without `AWS.SimpleQueueService.`, which some answers have before it and some have not."""
        self.message = message
        self.status = status
        self.answer = answer
        """All that was said, where the SDK read it: some errors have members of their own."""
        super().__init__(f"{operation}: {self.code}: {message}" if message else f"{operation}: {self.code}")

    @property
    def throttled(self) -> bool:
        """Whether it was too much at a time: what is asked again later is done."""
        return self.code in _THROTTLED or self.status == 429

    @property
    def transient(self) -> bool:
        """Whether the same call may be answered another time."""
        return self.throttled or self.status >= 500

    @property
    def missing(self) -> bool:
        """Whether what was named is not there."""
        return self.code in _MISSING

    @property
    def fix(self) -> str:
        """What to do about it; empty where that can't be known."""
        if self.missing:
            return "create it, or check name, region, account and endpoint_url"
        if self.code in _DENIED:
            return f"allow the action {self.operation} in the policy of the user or role"
        if self.code in _CREDENTIALS:
            return "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profile or role_arn"
        if self.code.startswith("KMS") or self.code.startswith("Kms"):
            return "allow kms:Decrypt and kms:GenerateDataKey on the key, and see that it is enabled"
        return ""


def source_error(name: str, error: ServiceError | OSError) -> SourceError:
    """What a source raises. Not to be tried again: what only a person can mend."""
    if isinstance(error, OSError):
        fix = _TRUST if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""
        return SourceError(f"{name}: {error}{fix}")
    # AWS ends its sentences now and then.
    said = f"{str(error).removesuffix('.')}. Fix: {error.fix}" if error.fix else str(error)
    mendable = error.missing or error.code in _DENIED or error.code in _CREDENTIALS
    return SourceError(f"{name}: {said}", retryable=not mendable)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever AWS answers in the block comes as a SourceError."""
    try:
        yield
    except (ServiceError, OSError) as error:
        raise source_error(name, error) from error


@contextmanager
def checking(name: str, role: str) -> Iterator[None]:
    """As `reading`; what is not there is a ConfigurationError with `role` as its field."""
    try:
        yield
    except ServiceError as error:
        if error.missing or error.code in _CREDENTIALS or error.code in _DENIED:
            raise ConfigurationError(f"{name}: {error}", field=role, fix=error.fix) from error
        raise source_error(name, error) from error
    except OSError as error:
        raise source_error(name, error) from error
