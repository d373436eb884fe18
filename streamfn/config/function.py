"""What a function is made of: code in this process, or a deployment that runs in environments of its own.

Names are AWS's where it has the thing (CreateFunction; `CodeUri` and `InlineCode` as in SAM), in both
spellings.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlencode

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from streamfn.config.adapting import AdaptiveOption
from streamfn.config.aws import SPELLING
from streamfn.config.errors import ConfigurationErrors, Places, caller, translate, wrong
from streamfn.config.fields import NotYet, Seconds, Whole
from streamfn.config.function_forms import (
    Form,
    FunctionDeadLetterConfig,
    ImageConfig,
    LoggingConfig,
    SnapStart,
    Tags,
    TracingConfig,
    VpcConfig,
)
from streamfn.config.provisioning import Provisioned
from streamfn.core.deployments import Deployment

LAMBDA_TIMEOUT: Final = 3.0
"""Seconds, where a deployment says nothing (Lambda's default)."""
TIMEOUT: Final = 60.0
"""The same for functions in this process."""

_SCHEME: Final = re.compile(r"(?!s3://)[a-z][a-z0-9+.-]+:")
"""How the addresses of what runs elsewhere begin. A package may lie in S3."""
_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def _size(value: Any) -> Any:
    # AWS writes {"Size": 512}.
    if isinstance(value, Mapping) and len(value) == 1:
        return value.get("Size", value.get("size", value))
    return value


def _variables(value: Any) -> Any:
    """AWS's form, `{"Variables": {...}}`, or the variables alone; numbers and flags as their text."""
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1 and isinstance(inside := value.get("Variables", value.get("variables")), Mapping):
        value = inside
    return {name: _text(single) for name, single in value.items()}


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _version(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_package(data: Mapping[str, Any]) -> bool:
    """Whether what is given so far says that the code is a package, and not the address of something."""
    code = data.get("code_uri")
    return data.get("inline_code") is not None or (code is not None and not _SCHEME.match(code))


def _is_container(code_uri: str | None) -> bool:
    return code_uri is not None and code_uri.startswith(("docker:", "podman:"))


def _network(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", value):
        raise wrong(f"{value!r} names no network namespace", "write none, or a name from `ip netns`")
    return value


class AliasEntry(BaseModel):
    """An alias: a name for a published version, or for two of them with weights."""

    model_config = SPELLING

    function_version: Annotated[str | None, BeforeValidator(_version)] = None
    """Not given: what `auto_publish_alias` or `streamfn functions` made of it."""
    additional_version_weights: Mapping[str, float] = Field(default_factory=dict)
    """RoutingConfig.AdditionalVersionWeights: at most one more version, and its share from 0 to 1."""
    provisioned_concurrency: Provisioned | None = None
    """Environments that are kept initialised: a number, or when and how many (docs/functions.md)."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"function_version": data} if isinstance(data, str | int) else data


class FunctionConfig(BaseModel):
    """One function. Without `code_uri` and `inline_code` it runs in this process."""

    model_config = SPELLING

    # First what others are checked against.
    code_uri: str | None = None
    """A folder, a zip, or what runs elsewhere: `http://...`, `lambda:NAME`, `docker:IMAGE`."""
    inline_code: Annotated[str, Field(max_length=4_194_304)] | None = None
    """The source itself, of a Python or Node.js function."""
    runtime: Annotated[str, Field(validate_default=True)] = ""
    """AWS's identifier, such as `python3.12`, `nodejs20.x` or `provided.al2023`."""
    handler: Annotated[str, Field(validate_default=True)] = ""
    """In this process `module:name`; else as on Lambda, such as `app.handler`."""
    layers: Annotated[tuple[str, ...], Field(max_length=5)] = ()
    """Folders or zips, merged in this order."""
    environment: Annotated[Mapping[str, str], BeforeValidator(_variables)] = Field(
        default_factory=dict, repr=False
    )
    """Variables. Values that begin with `sealed:` are decrypted with the key."""
    kms_key_arn: Annotated[str | None, Field(alias="KMSKeyArn")] = None
    """The key of variables that are stored: `file:PATH`, `env:NAME`, or a KMS key. Else one is made."""
    timeout: Annotated[float, Seconds(0.001, 86_400)] | None = None
    """Seconds of one invocation. Not given: 3 as on Lambda, 60 in this process."""
    memory_size: Annotated[int, Whole(1, 1_000_000)] = 128
    """MB: enforced for deployments, where AWS takes 128 to 10,240."""
    ephemeral_storage: Annotated[int, BeforeValidator(_size), Whole(512, 10_240)] = 512
    """MB of `/tmp`."""
    reserved_concurrency: Annotated[int, Whole(0, 100_000)] | None = None
    provisioned_concurrency: Provisioned | None = None
    """Environments of `$LATEST` that are kept initialised, which AWS has for published versions only."""
    maximum_concurrency: Annotated[int, Whole(1, 1000)] = 1
    """Invocations of one environment at a time, where its runtime can (awslambdaric 4 can)."""
    aliases: Mapping[str, AliasEntry] = Field(default_factory=dict)
    auto_publish_alias: str | None = None
    """An alias that stands for what `$LATEST` is: a version is published whenever that has changed (SAM)."""
    description: Annotated[str, Field(max_length=256)] = ""
    dead_letter_config: FunctionDeadLetterConfig | None = None
    logging_config: LoggingConfig | None = None

    # Kept and shown: nothing here depends on them.
    role: Annotated[str, Field(max_length=10_000)] | None = None
    architectures: Annotated[tuple[Literal["x86_64", "arm64"]], Field(min_length=1)] | None = None
    package_type: Literal["Zip", "Image"] | None = None
    vpc_config: VpcConfig | None = None
    tracing_config: TracingConfig | None = None
    image_config: ImageConfig | None = None
    snap_start: SnapStart | None = None
    tags: Tags = Field(default_factory=dict)

    # What a function would not be the same without.
    file_system_configs: Annotated[None, NotYet([])] = None
    code_signing_config_arn: Annotated[None, NotYet("")] = None
    tenancy_config: Annotated[None, NotYet({})] = None
    capacity_provider_config: Annotated[None, NotYet({})] = None
    durable_config: Annotated[None, NotYet({})] = None

    # Beyond AWS.
    batch: bool = False
    each: Any = None
    network: Annotated[str, AfterValidator(_network)] = ""
    """`none`, or a network namespace of the machine; else the machine's own network."""
    log_format: Literal["Text", "JSON"] = "Text"
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "us-east-1"
    strict_runtime: bool = False
    """Whether an interpreter of another minor version than the runtime's is refused; else it is told of."""
    credentials: Annotated[Mapping[str, str], BeforeValidator(_variables)] = Field(
        default_factory=dict, repr=False
    )
    """`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` that the function gets."""
    scaling_rate: Annotated[int, Whole(1, 100_000)] = 1000
    """Environments that are added in ten seconds at most; AWS's number."""
    idle_timeout: Annotated[float, Seconds(0, 86_400)] = 600.0
    """Seconds after which an environment that nobody used is ended."""
    adaptive_concurrency: AdaptiveOption = None
    """Invocations at a time as their latency and errors tell: `gradient`, `aimd`, or options of theirs."""
    facts: Mapping[str, Any] = Field(default_factory=dict)
    """More that is kept with the function and its versions, and shown by Lambda's API, as JSON has it."""
    event_invoke_config: Any = None
    """In files: as it is written, `AppFile.event_invoke_configs` has it checked."""

    @classmethod
    def load(cls, options: Mapping[str, Any], places: Places | str = "") -> Self:
        """A function's options in either spelling. Raises ConfigurationErrors with all problems."""
        places = places if isinstance(places, Places) else Places(places or caller())
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise ConfigurationErrors(translate(error, cls, places)) from None

    @property
    def is_deployed(self) -> bool:
        """Whether it runs in environments of its own."""
        return self.code_uri is not None or self.inline_code is not None

    @property
    def runs_elsewhere(self) -> bool:
        """Whether its code is the address of something, not a package."""
        return self.code_uri is not None and _SCHEME.match(self.code_uri) is not None

    @property
    def seconds(self) -> float:
        """Of one invocation."""
        return self.timeout or (LAMBDA_TIMEOUT if self.is_deployed else TIMEOUT)

    @field_validator("runtime")
    @classmethod
    def _names_a_runtime(cls, value: str, info: ValidationInfo) -> str:
        if not value and _is_package(info.data):
            raise wrong("is required", "write one such as python3.12")
        return value

    @field_validator("handler")
    @classmethod
    def _names_a_handler(cls, value: str, info: ValidationInfo) -> str:
        if _is_package(info.data):
            if not value and not info.data.get("runtime", "").startswith("provided"):
                raise wrong("is required", "write one such as app.handler")
        elif info.data.get("code_uri") is None:
            if not value:
                raise wrong("is required")
            if not _REFERENCE.fullmatch(value):
                raise wrong(f"must be module:name, not {value!r}", "write for example app:handler")
        return value

    @field_validator("memory_size")
    @classmethod
    def _can_be_enforced(cls, value: int, info: ValidationInfo) -> int:
        # Functions of this process are told any number.
        if _is_package(info.data) and not 128 <= value <= 10_240:
            raise wrong(f"must be 128 to 10240, not {value}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.code_uri is not None and self.inline_code is not None:
            raise wrong("code_uri and inline_code exclude each other", "leave one out")
        if self.batch and self.each:
            raise wrong("batch and each exclude each other", "leave one out")
        if self.is_deployed:
            misplaced = [name for name in ("batch", "each") if getattr(self, name)]
            if misplaced:
                raise wrong(f"{misplaced[0]} is for functions in this process", f"remove {misplaced[0]}")
            if self.image_config is not None and not _is_container(self.code_uri):
                raise wrong("image_config is for container images", "remove image_config")
            if self.logging_config is not None and "log_format" in self.model_fields_set:
                raise wrong("log_format and logging_config exclude each other", "leave one out")
        elif misplaced := [name for name in _OF_DEPLOYMENTS if name in self.model_fields_set]:
            fix = f"give one of them, or remove {misplaced[0]}"
            raise wrong(f"{misplaced[0]} needs code_uri or inline_code", fix)
        return self

    def deployment(self, name: str) -> Deployment:
        """The deployment of `$LATEST`, before its code and layers have been made ready."""
        return Deployment(
            name,
            self._code(),
            runtime=self.runtime,
            handler=self.handler,
            environment=dict(self.environment),
            timeout=self.seconds,
            memory_size=self.memory_size,
            ephemeral_storage=self.ephemeral_storage,
            maximum_concurrency=self.maximum_concurrency,
            network=self.network,
            region=self.region,
            log_format=(self.logging_config and self.logging_config.log_format) or self.log_format,
            settings=self.settings(),
        )

    def _code(self) -> str:
        """Its address, with what is run in a container instead of what the image says."""
        code, image = self.code_uri or "", self.image_config
        if image is None:
            return code
        given = {
            "entrypoint": image.entry_point and shlex.join(image.entry_point),
            "command": image.command and shlex.join(image.command),
            "workdir": image.working_directory,
        }
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{code}{'&' if '?' in code else '?'}{query}" if query else code

    def settings(self) -> dict[str, Any]:
        """What was given that is only kept and shown, by AWS's names."""
        given: dict[str, Any] = {
            "Role": self.role,
            "Architectures": list(self.architectures) if self.architectures is not None else None,
            "PackageType": self.package_type,
            "VpcConfig": self.vpc_config,
            "TracingConfig": self.tracing_config,
            "ImageConfig": self.image_config,
            "SnapStart": self.snap_start,
            "DeadLetterConfig": self.dead_letter_config,
            "LoggingConfig": self.logging_config,
        }
        shown = {
            name: value.document() if isinstance(value, Form) else value
            for name, value in given.items()
            if value is not None
        }
        return shown | dict(self.facts)


_OF_DEPLOYMENTS: Final = (
    "runtime",
    "layers",
    "environment",
    "kms_key_arn",
    "ephemeral_storage",
    "provisioned_concurrency",
    "maximum_concurrency",
    "aliases",
    "auto_publish_alias",
    "network",
    "log_format",
    "idle_timeout",
    "scaling_rate",
    "strict_runtime",
    "credentials",
    "logging_config",
    "role",
    "architectures",
    "package_type",
    "vpc_config",
    "tracing_config",
    "image_config",
    "snap_start",
    "facts",
)
"""Options that mean nothing in this process."""
