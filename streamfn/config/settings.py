"""Settings: delays that AWS fixes, with AWS's values, so that a test can shorten them. All in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamfn.config.errors import ConfigurationErrors, Places, caller, nearest, translate
from streamfn.config.fields import Seconds, Times, Whole
from streamfn.core.policies import Backoff, Delays
from streamfn.errors import ConfigurationError

_DAY = 86_400


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AsynchronousSettings(_Group):
    """Asynchronous invocation (Developer Guide: invocation-async-error-handling)."""

    first_retry_delay: Annotated[float, Seconds(0, 43_200)] = 60.0
    """Before the first retry after a function error."""
    second_retry_delay: Annotated[float, Seconds(0, 43_200)] = 120.0
    """Before the second, and all that follow."""
    maximum_event_age: Annotated[float, Seconds(0.1, 21_600)] = 21_600.0
    """Where MaximumEventAgeInSeconds is not given."""

    @property
    def delays(self) -> Delays:
        return Delays((self.first_retry_delay, self.second_retry_delay))


class BackoffSettings(_Group):
    """Delays that grow: `first`, then times `factor`, up to `cap`."""

    first: Annotated[float, Seconds(0, 3600)] = 1.0
    factor: Annotated[float, Times(1, 10)] = 2.0
    cap: Annotated[float, Seconds(0, _DAY)] = 60.0

    @property
    def backoff(self) -> Backoff:
        return Backoff(self.first, self.factor, self.cap)


class StreamSettings(_Group):
    """Streams and Kafka topics."""

    retry_backoff: BackoffSettings = BackoffSettings()
    """Between tries of a batch, where the mapping has no RetryBackoff. AWS does not tell its own."""


class SqsSettings(_Group):
    wait_time: Annotated[int, Whole(0, 20)] = 20
    """How long a poll waits for messages, in whole seconds; a drain waits for it too."""


class KinesisSettings(_Group):
    poll_interval: Annotated[float, Seconds(0.2, 60)] = 1.0
    """Between two looks at a shard where nothing comes."""


class DynamoDbSettings(_Group):
    poll_interval: Annotated[float, Seconds(0.05, 60)] = 0.25
    """Between two looks at a shard where nothing comes."""


class KafkaSettings(_Group):
    batching_window: Annotated[float, Seconds(0, 300)] = 0.5
    """Where MaximumBatchingWindowInSeconds is not given."""


class MappingSettings(_Group):
    transition_delay: Annotated[float, Seconds(0, 300)] = 0.0
    """How long states such as Creating last at least. On AWS it is many seconds."""


class FunctionSettings(_Group):
    transition_delay: Annotated[float, Seconds(0, 300)] = 0.0
    """How long states such as Pending last at least."""


class Settings(_Group):
    """All of them. Their dotted names, such as `async.first_retry_delay`, are those of `--set`."""

    asynchronous: AsynchronousSettings = Field(AsynchronousSettings(), alias="async")
    throttling: BackoffSettings = BackoffSettings(cap=300.0)
    """Between tries of what found no free place, or was throttled by the function."""
    stream: StreamSettings = StreamSettings()
    sqs: SqsSettings = SqsSettings()
    kinesis: KinesisSettings = KinesisSettings()
    dynamodb: DynamoDbSettings = DynamoDbSettings()
    kafka: KafkaSettings = KafkaSettings()
    mapping: MappingSettings = MappingSettings()
    function: FunctionSettings = FunctionSettings()

    @classmethod
    def load(cls, given: Mapping[str, Any], places: Places | str = "", field: str = "settings") -> Self:
        """Settings out of names and values, nested or with dots. Raises ConfigurationErrors with all
        problems.
        """
        return cls().changed(_flat(given), places or caller(), field)

    @classmethod
    def parse(cls, given: Iterable[str], base: Settings | None = None) -> Settings:
        """Settings by `NAME=VALUE`, over those of `base`. Raises ConfigurationErrors with all problems."""
        pairs = {}
        for text in given:
            name, equals, value = text.partition("=")
            if not equals:
                problem = ConfigurationError(
                    f"{text!r} is no setting", field="--set", fix="write NAME=VALUE, with seconds as value"
                )
                raise ConfigurationErrors([problem])
            pairs[name.strip()] = value.strip()
        return (base or cls()).changed(pairs, "", "--set")

    def values(self) -> dict[str, float]:
        """All by their dotted names."""
        return dict(_flat(self.model_dump(by_alias=True)))

    def changed(self, pairs: Mapping[str, Any], places: Places | str, field: str) -> Self:
        """These with some others, by their dotted names. Raises ConfigurationErrors."""
        places = places if isinstance(places, Places) else Places(places)
        known = self.values()
        unknown = [
            ConfigurationError(
                "unknown setting",
                field=f"{field} {name}" if field.startswith("-") else f"{field}.{name}",
                where=_place(places, name),
                fix=nearest(name, known) or f"take one of {', '.join(known)}",
            )
            for name in pairs
            if name not in known
        ]
        if unknown:
            raise ConfigurationErrors(unknown)
        try:
            return self.model_validate(_nested({**known, **pairs}))
        except ValidationError as error:
            found = translate(error, Settings, places, spell=False)
        separator = " " if field.startswith("-") else "."
        raise ConfigurationErrors(
            ConfigurationError(
                each.problem,
                field=f"{field}{separator}{each.field}",
                where=_place(places, each.field),
                fix=each.fix,
            )
            for each in found
        )

    def source_options(self, scheme: str) -> dict[str, str]:
        """Options of a source's URI that differ from the source's own, by its scheme."""
        match scheme:
            case "sqs" if self.sqs != SqsSettings():
                return {"wait_time_seconds": str(self.sqs.wait_time)}
            case "kinesis" if self.kinesis != KinesisSettings():
                return {"poll_interval": str(self.kinesis.poll_interval)}
            case "dynamodb" if self.dynamodb != DynamoDbSettings():
                return {"poll_interval": str(self.dynamodb.poll_interval)}
        return {}


def settings_of(given: Settings | Mapping[str, Any] | Iterable[str] | None) -> Settings:
    """Settings in any of their forms: themselves, names and values, or `NAME=VALUE` texts."""
    if given is None:
        return Settings()
    if isinstance(given, Settings):
        return given
    return Settings.load(given) if isinstance(given, Mapping) else Settings.parse(given)


def _flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return dict(_leaves(given, prefix))


def _leaves(given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _place(places: Places, name: str) -> str:
    """Where it was written, with dots or nested."""
    return places.of((name,) if (name,) in places.lines else tuple(name.split(".")))


def _nested(pairs: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in pairs.items():
        *groups, last = name.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return nested
