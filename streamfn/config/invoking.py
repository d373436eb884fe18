"""How a function is invoked asynchronously: AWS's FunctionEventInvokeConfig and DeadLetterConfig, and a bit
more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_pascal

from streamfn.config.aws import SPELLING
from streamfn.config.ends import (
    CheckedDestination,
    DeadLetters,
    FunctionName,
    Qualifier,
    function_of,
    unqualified,
)
from streamfn.config.errors import (
    ConfigurationErrors,
    Path,
    Places,
    caller,
    located,
    spelled,
    translate,
    wrong,
)
from streamfn.config.fields import Seconds, Whole
from streamfn.core.policies import ASYNCHRONOUS, Delays, DeliveryPolicy, WhenDestinationFails
from streamfn.errors import ConfigurationError


class _Form(BaseModel):
    model_config = SPELLING


class Target(_Form):
    destination: Any = None


class DestinationConfig(_Form):
    on_success: Target | None = None
    on_failure: Target | None = None


class DeadLetterConfig(_Form):
    target_arn: Any = None


class InvokeForms(_Form):
    """AWS's forms that are no fields of `EventInvokeConfig`."""

    destination_config: DestinationConfig | None = None
    dead_letter_config: DeadLetterConfig | None = None


_FORMS: Final = {
    "on_success": ("destination_config", "on_success", "destination"),
    "on_failure": ("destination_config", "on_failure", "destination"),
    "dead_letter_queue": ("dead_letter_config", "target_arn"),
}
"""Where each of our short words stands in AWS's forms."""


def _some(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise wrong("must name one delay or more", "write [0] to try again at once")
    return value


_RetryDelays = Annotated[tuple[Annotated[float, Seconds(0, 43_200)], ...], BeforeValidator(_some)]


class EventInvokeConfig(BaseModel):
    """What is done with the events of one function, or of one version or alias of it, in both spellings.

    What is not given has AWS's defaults.
    """

    model_config = SPELLING

    function: FunctionName = Field(alias="FunctionName")
    """The bare name. A qualifier behind it, or in an ARN, becomes `qualifier`."""
    qualifier: Qualifier = None
    """A version's number or an alias; None: `$LATEST`."""
    maximum_retry_attempts: Annotated[int, Whole(0, 10_000)] = 2
    """Retries after function errors. AWS takes 0 to 2."""
    maximum_event_age_in_seconds: Annotated[int, Whole(60, 21_600)] = 21_600
    on_success: CheckedDestination = None
    """A URI or a Destination object: short for DestinationConfig.OnSuccess.Destination."""
    on_failure: CheckedDestination = None
    dead_letter_queue: CheckedDestination = None
    """Takes the event alone, with the reason in attributes: short for DeadLetterConfig.TargetArn."""

    # Beyond AWS.
    retry_delays: _RetryDelays = (60.0, 120.0)
    """Seconds between function errors and their retries; the last one holds for all that follow."""
    dead_letters: DeadLetters = None
    """Where events that are given up are kept whole. None: where the app has them; without any, in
    `local:queue/dead-letters` if neither `on_failure` nor `dead_letter_queue` is given.
    """
    when_destination_fails: WhenDestinationFails | None = None

    _written: _Written = PrivateAttr(default_factory=lambda: _Written(Places()))

    @classmethod
    def load(cls, options: Mapping[str, Any], places: Places | str = "") -> Self:
        """A set of options in either spelling, or a body of PutFunctionEventInvokeConfig with its function.

        `places`: where the options were written; else the line outside streamfn that led here.
        Raises ConfigurationErrors with all problems, each with its place.
        """
        written = _Written(places if isinstance(places, Places) else Places(places or caller()))
        given, found = _lift(options, written)
        try:
            config = cls.model_validate(_apart(given, written, found))
        except ValidationError as error:
            found += translate(error, cls, written.places, written.ways)
        else:
            config._written = written  # noqa: SLF001 - our own
            if not found:
                return config
        raise ConfigurationErrors(found)

    @classmethod
    def also_takes(cls) -> dict[str, str]:
        """AWS's forms that are no fields, by name: for hints."""
        return dict.fromkeys(InvokeForms.model_fields, "")

    @field_validator("on_success", "on_failure", "dead_letter_queue", "dead_letters")
    @classmethod
    def _is_another(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and function_of(value) == info.data.get("function", ""):
            raise wrong("You can't specify the function as a destination for itself.", "name another one")
        return value

    @property
    def key(self) -> str:
        """`NAME`, or `NAME:QUALIFIER`: what the options are for."""
        return self.function if self.qualifier is None else f"{self.function}:{self.qualifier}"

    def delivery_policy(self) -> DeliveryPolicy:
        """How failure is answered."""
        return replace(
            ASYNCHRONOUS,
            maximum_retry_attempts=self.maximum_retry_attempts,
            maximum_record_age=float(self.maximum_event_age_in_seconds),
            backoff=Delays(self.retry_delays),
        )

    def located(self, error: ConfigurationError, option: str) -> ConfigurationErrors:
        """An error that a destination raised, with place and field of the option behind it."""
        return located(error, self._written.places, self._written.way(option))


@dataclass(slots=True)
class _Written:
    """Where options stand: by their own names, or inside of AWS's forms. All are equal, as places are."""

    places: Places
    ways: dict[str, Path] = field(default_factory=dict, compare=False)

    def way(self, option: str) -> Path:
        return self.ways.get(option, (option,))


def _lift(options: Mapping[str, Any], written: _Written) -> tuple[dict[str, Any], list[ConfigurationError]]:
    """The options with AWS's forms turned into ours, and what is wrong with those."""
    names = {spelling: name for name in InvokeForms.model_fields for spelling in (name, to_pascal(name))}
    ours = {key: value for key, value in options.items() if key not in names}
    theirs = {key: value for key, value in options.items() if key in names}
    found = []
    try:
        InvokeForms.model_validate(theirs)
    except ValidationError as error:
        found = translate(error, InvokeForms, written.places)
    for name, way in _FORMS.items():
        value = _at(theirs, way)
        # AWS removes a destination by the empty string.
        if value in (None, ""):
            continue
        if name in ours or to_pascal(name) in ours:
            problem = f"is given twice, here and as {to_pascal(name)}"
            found.append(_problem(problem, "keep one of the two", way, written.places))
            continue
        ours[name] = value
        written.ways[name] = way
    return ours, found


def _at(value: Any, way: tuple[str, ...]) -> Any:
    """What stands there, in either spelling, if anything does."""
    for part in way:
        value = value.get(part, value.get(to_pascal(part))) if isinstance(value, Mapping) else None
    return value


def _apart(options: dict[str, Any], written: _Written, found: list[ConfigurationError]) -> dict[str, Any]:
    """The options with the qualifier taken out of the function's name."""
    keys = [key for key in ("function", "FunctionName", "function_name") if key in options]
    function = options[keys[0]] if len(keys) == 1 else None
    if not isinstance(function, str):
        return options
    name, qualifier = unqualified(function)
    rest = {key: value for key, value in options.items() if key not in keys} | {"function": name}
    given = rest.get("qualifier") or rest.get("Qualifier")
    if qualifier is None or str(given) == qualifier:
        return rest
    if given is None:
        written.ways["qualifier"] = ("function",)
        return {key: value for key, value in rest.items() if key != "Qualifier"} | {"qualifier": qualifier}
    problem = "The derived qualifier from the function name does not match the specified qualifier."
    found.append(_problem(problem, f"write {name} and keep Qualifier", ("qualifier",), written.places))
    return rest


def _problem(problem: str, fix: str, way: Path, places: Places) -> ConfigurationError:
    return ConfigurationError(problem, field=spelled(way), where=places.of(way), fix=fix)
