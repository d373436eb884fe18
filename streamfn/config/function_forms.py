"""Parts of CreateFunction that have parts of their own, in both spellings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from streamfn.config.aws import SPELLING

Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=256)]],
    Field(max_length=50),
]
"""Names and values."""


class Form(BaseModel):
    model_config = SPELLING

    def document(self) -> dict[str, Any]:
        """What was given, by AWS's names."""
        document: dict[str, Any] = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        return document


class VpcConfig(Form):
    """Kept and shown: functions reach what the machine reaches."""

    subnet_ids: Annotated[list[str], Field(max_length=16)] | None = None
    security_group_ids: Annotated[list[str], Field(max_length=5)] | None = None
    ipv6_allowed_for_dual_stack: bool | None = Field(None, alias="Ipv6AllowedForDualStack")


class TracingConfig(Form):
    """Kept and shown."""

    mode: Literal["Active", "PassThrough"] = "PassThrough"


class FunctionDeadLetterConfig(Form):
    """Where events of asynchronous invocations go that the function could not process."""

    target_arn: str = ""


class LoggingConfig(Form):
    """How lines are logged. Levels and group are kept and shown."""

    log_format: Literal["Text", "JSON"] | None = None
    application_log_level: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] | None = None
    system_log_level: Literal["DEBUG", "INFO", "WARN"] | None = None
    log_group: Annotated[str, Field(pattern=r"^[.\-_/#A-Za-z0-9]{1,512}$")] | None = None


class ImageConfig(Form):
    """Of functions that are container images."""

    entry_point: Annotated[list[str], Field(max_length=1500)] | None = None
    command: Annotated[list[str], Field(max_length=1500)] | None = None
    working_directory: Annotated[str, Field(max_length=1000)] | None = None


class SnapStart(Form):
    """Kept and shown: environments are not started from snapshots."""

    apply_on: Literal["PublishedVersions", "None"] = "None"
