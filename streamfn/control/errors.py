"""Errors of the API, by AWS's codes."""

from __future__ import annotations

from typing import Any, Final

STATUS: Final = {
    "AccessDeniedException": 403,
    "CodeStorageExceededException": 400,
    "InvalidParameterValueException": 400,
    "InvalidRequestContentException": 400,
    "InvalidZipFileException": 502,
    "PolicyLengthExceededException": 400,
    "PreconditionFailedException": 412,
    "ProvisionedConcurrencyConfigNotFoundException": 404,
    "RequestTooLargeException": 413,
    "ResourceConflictException": 409,
    "ResourceInUseException": 400,
    "ResourceNotFoundException": 404,
    "ResourceNotReadyException": 502,
    "SerializationException": 400,
    "ServiceException": 500,
    "TooManyRequestsException": 429,
    "UnknownOperationException": 404,
    "ValidationException": 400,
}
"""HTTP statuses (Lambda API; the last two are of AWS's JSON protocols in general)."""


class ApiError(Exception):
    """An answer that says what is wrong. `members`: further ones of AWS's error, such as `Reason`."""

    def __init__(self, code: str, message: str, status: int | None = None, **members: Any) -> None:
        self.code = code
        self.message = message
        self.status = STATUS[code] if status is None else status
        self.members = members
        super().__init__(f"{code}: {message}")


def invalid(message: str) -> ApiError:
    """InvalidParameterValueException."""
    return ApiError("InvalidParameterValueException", message)


def not_found(message: str) -> ApiError:
    """ResourceNotFoundException."""
    return ApiError("ResourceNotFoundException", message)


def conflict(message: str) -> ApiError:
    """ResourceConflictException."""
    return ApiError("ResourceConflictException", message)
