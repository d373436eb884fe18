"""Plans out of configuration: what the engine is to do, with its sources and destinations made. No I/O."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamfn import addressing, plugins, runtimes, secured
from streamfn.core.filtering import filtering
from streamfn.core.letters import Origin
from streamfn.core.policies import BatchPolicy, DeliveryPolicy, Ordering, WhenDestinationFails
from streamfn.engine.plan import MappingPlan, mapping_id
from streamfn.errors import ConfigurationError
from streamfn.ports import Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streamfn.config import Endpoint, EventInvokeConfig, EventSourceMapping, Settings
    from streamfn.config.kinds import Kind
    from streamfn.functions import FunctionSpec, MakeCall
    from streamfn.ports import Clock, Destination, EventSource, Source
    from streamfn.secrets import Secrets

UNRESERVED_CONCURRENCY: Final = 1000
"""Invocations at a time that functions without a reservation share (Lambda quota: concurrent executions)."""

THREADS: Final = 32
"""Invocations at a time of a function that runs on threads, unless it has a reservation."""

DEAD_LETTERS: Final = "local:queue/dead-letters"
"""Where dead letters are kept if nothing else is said."""

FUNCTION: Final = "function:"
"""The scheme of destinations that are functions."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the plans of one app have in common."""

    app: str
    state_dir: Path
    clock: Clock
    functions: Mapping[str, FunctionSpec]
    dead_letters: Any = None
    """Whether records that are given up are kept whole, and where: True, False, a URI, a Destination."""

    own_queue: bool = False
    """Events are kept elsewhere than in the state directory."""
    endpoints: Sequence[Endpoint] = ()
    """Which server stands behind which ARN: `App(endpoints=...)`, `endpoints:`."""
    settings: Settings | None = None
    """Delays; None: AWS's. `App(settings=...)`, `settings:`, `--set`."""
    secrets: Secrets | str | Path | None = None
    """Where secrets are, or their file; None: in AWS Secrets Manager. `App(secrets=...)`, `--secrets`."""

    @property
    def delays(self) -> Settings:
        """The settings, with AWS's values where none are given."""
        from streamfn.config import Settings

        return self.settings or Settings()

    def function(self, name: str, where: str = "") -> FunctionSpec:
        """A function by its name. Raises ConfigurationError where there is none."""
        function = self.functions.get(name)
        if function is None:
            raise ConfigurationError(
                "Function does not exist",
                field="FunctionName",
                where=where,
                fix=f"take one of: {', '.join(sorted(self.functions)) or 'none is declared'}",
            )
        return function


def source_of(setting: Setting, mapping: EventSourceMapping) -> tuple[Source, Kind]:
    """The source of a mapping and its kind, with the mapping's options checked against it."""
    from streamfn.config import KAFKA, kind_of

    source = mapping.source
    if isinstance(source, str):
        options = {
            "state_dir": setting.state_dir,
            "on_position_lost": mapping.on_position_lost.value,
            "revoke_grace": mapping.revoke_grace,
            "maximum_batching_window_in_seconds": mapping.maximum_batching_window_in_seconds or 0,
        }
        uri = addressing.resolve_source(source, setting.endpoints)
        uri = addressing.with_options(uri, setting.delays.source_options(plugins.scheme_of(uri)))
        source = secured.source(uri, options, secrets_of(setting, mapping))
    kind = kind_of(source)
    mapping.check(kind, now=setting.clock())
    if kind is KAFKA:
        kind = replace(kind, window=setting.delays.kafka.batching_window)
    return source, kind


def secrets_of(setting: Setting, mapping: EventSourceMapping) -> secured.Fetch | None:
    """How the options are had that come out of secrets; None: the mapping has none."""
    access = mapping.source_access_configurations
    if not access:
        return None
    from streamfn.secrets import Secrets

    given = setting.secrets
    return (given if isinstance(given, Secrets) else Secrets(given, setting.endpoints)).fetching(access)


def destination_of(
    setting: Setting, given: Destination | str | bool | None, mapping: EventSourceMapping | None = None
) -> Destination | None:
    """A destination out of what was configured; True is that of dead letters. Raises ConfigurationError.

    `mapping`: whose it is; a topic of its own cluster is reached with its secrets.
    """
    if isinstance(given, bool):
        return destination_of(setting, DEAD_LETTERS) if given else None
    if not isinstance(given, str):
        return given
    given = addressing.resolve_destination(given, setting.endpoints)
    if given.startswith(FUNCTION):
        setting.function(given.removeprefix(FUNCTION).partition(":")[0])
        if setting.own_queue:
            raise ConfigurationError(
                f"{given} invokes through the event queue of the state directory, and this app has another",
                field="Destination",
                fix="leave event_queue out, or call app.enqueue in the function",
            )
    fetch = None
    if mapping is not None and isinstance(mapping.source, str):
        source = addressing.resolve_source(mapping.source, setting.endpoints)
        if addressing.same_cluster(given, source):
            fetch = secrets_of(setting, mapping)
    return secured.destination(given, {"state_dir": setting.state_dir}, fetch)


def letters_of(
    setting: Setting, given: Any, mapping: EventSourceMapping | None = None
) -> tuple[Destination | None, bool | None]:
    """Where dead letters go, and whether that was asked for: None where nothing was said at all."""
    said = setting.dead_letters if given is None else given
    if said is None:
        return None, None
    if said is False:
        return None, False
    return destination_of(setting, said, mapping), True


def mapping_plan(setting: Setting, mapping: EventSourceMapping) -> MappingPlan:
    """The plan of an event source mapping. Raises ConfigurationError."""
    function = setting.function(mapping.function, mapping.name)
    if mapping.qualifier is not None:
        function = qualified(function, mapping.qualifier, mapping.name)
    source, kind = source_of(setting, mapping)
    destination = destination_of(setting, mapping.on_failure, mapping)
    gives_up = kind.is_stream or mapping.maximum_receive_count is not None
    letters, asked = letters_of(setting, mapping.dead_letters, mapping) if gives_up else (None, None)
    if mapping.maximum_receive_count is not None:
        letters = letters or destination_of(setting, DEAD_LETTERS)
    sequences = None
    if mapping.sequenced:
        if asked is False:
            raise ConfigurationError(
                "needs dead letters, and the app has them switched off",
                field="Sequenced",
                where=mapping.name,
                fix="set dead_letters: true for the mapping, or remove Sequenced",
            )
        letters = letters or destination_of(setting, DEAD_LETTERS)
        # Not by consumer group: two mappings may have the same.
        owner, limit = f"{setting.app}.{mapping.name}", mapping.sequenced_limit
        from streamfn.local import LocalSequences

        sequences = LocalSequences(setting.state_dir, setting.clock, owner, limit)
    for end in (destination, letters):
        if end is not None and end.name == source.name:
            # Developer Guide: kafka-on-failure-destination. Elsewhere failures would go in circles too.
            raise ConfigurationError(
                f"{source.name} is the source itself",
                field="DestinationConfig",
                where=mapping.name,
                fix="send failures elsewhere",
            )
    return MappingPlan(
        name=mapping.name,
        id=mapping_id(setting.app, mapping.name),
        function=function,
        source=source,
        subscription=mapping.subscription(setting.app),
        delivery=_delivery(setting, mapping, kind),
        batching=mapping.batch_policy(kind),
        parallelization_factor=mapping.parallelization_factor,
        concurrency=mapping.concurrency(kind),
        minimum_pollers=mapping.idle_pollers(),
        filter=filtering(mapping.filters, mapping.filter, orjson.loads),
        on_failure=destination,
        dead_letters=letters,
        sequences=sequences,
        origin=Origin(setting.app, mapping.name, function.key, source.name),
        when_destination_fails=mapping.when_destination_fails,
        retry_delay=mapping.retry_delay,
        circuit_breaker=mapping.breaker_policy(),
        revoke_grace=mapping.revoke_grace,
    )


def _delivery(setting: Setting, mapping: EventSourceMapping, kind: Kind) -> DeliveryPolicy:
    """How failure is answered, with the delays of the settings where the mapping says none."""
    delays, policy = setting.delays, mapping.delivery_policy(kind)
    own = "retry_backoff" in mapping.model_fields_set
    return replace(
        policy,
        backoff=policy.backoff if own else delays.stream.retry_backoff.backoff,
        throttle_backoff=delays.throttling.backoff,
    )


def _event_delivery(setting: Setting, config: EventInvokeConfig) -> DeliveryPolicy:
    """As `_delivery`, of asynchronous invocations."""
    delays, policy, given = setting.delays, config.delivery_policy(), config.model_fields_set
    own_age = "maximum_event_age_in_seconds" in given
    return replace(
        policy,
        backoff=policy.backoff if "retry_delays" in given else delays.asynchronous.delays,
        maximum_record_age=policy.maximum_record_age if own_age else delays.asynchronous.maximum_event_age,
        throttle_backoff=delays.throttling.backoff,
    )


def qualified(function: FunctionSpec, qualifier: str, where: str = "") -> FunctionSpec:
    """A version or an alias of a function. Raises ConfigurationError where it can have none."""
    if function.deployment is None:
        raise ConfigurationError(
            f"{function.name} runs in this process, and has no versions and aliases",
            field="FunctionName",
            where=where,
            fix=f"write {function.name}, or give it its code with app.deploy",
        )
    return replace(function, qualifier=qualifier)


def sequence_plan(setting: Setting, plan: MappingPlan) -> MappingPlan | None:
    """The plan of what waits behind dead letters of a mapping, once it is redriven; None where nothing does.

    It is tried as the mapping tries, one record at a time, and none is too old: it had to wait.
    """
    if plan.sequences is None:
        return None
    from streamfn.local import opened_sequences

    name = f"{plan.name}:sequence"
    return replace(
        plan,
        name=name,
        id=mapping_id(setting.app, name),
        source=opened_sequences(setting.state_dir, setting.clock, f"{setting.app}.{plan.name}"),
        delivery=replace(
            plan.delivery,
            ordering=Ordering.NONE,
            bisect_batch_on_function_error=False,
            maximum_record_age=None,
            asynchronous=True,
        ),
        # A letter is larger than its record, which is of a size that may be delivered.
        batching=BatchPolicy(batch_size=1, payload_limit=sys.maxsize),
        parallelization_factor=1,
        concurrency=plan.runners,
        filter=None,
        dead_letters=None,
        circuit_breaker=None,
    )


def event_plan(
    setting: Setting, config: EventInvokeConfig, of_function: EventInvokeConfig | None, source: EventSource
) -> MappingPlan:
    """The plan of the asynchronous invocations of a function, or of one version or alias of it.

    The dead-letter queue is the function's for all of them (Developer Guide:
    invocation-async-retain-records). `of_function`: the function's own options, where it has some. Raises
    ConfigurationError.
    """
    function = replace(setting.function(config.function), qualifier=config.qualifier or "")
    on_failure = destination_of(setting, config.on_failure)
    queue = destination_of(setting, (of_function or config).dead_letter_queue)
    letters, asked = letters_of(setting, config.dead_letters)
    if asked is None:
        letters = destination_of(setting, DEAD_LETTERS)
    name = f"{config.function}:{config.qualifier or '$LATEST'}"
    return MappingPlan(
        name=name,
        id=mapping_id(setting.app, name),
        function=function,
        source=source,
        subscription=Subscription(name),
        delivery=_event_delivery(setting, config),
        batching=BatchPolicy(batch_size=1),
        concurrency=max(1, places_of(function)),
        on_success=destination_of(setting, config.on_success),
        on_failure=on_failure,
        dead_letter_queue=queue,
        dead_letters=letters,
        dead_letters_always=asked is True,
        origin=Origin(setting.app, name, function.key, source.name),
        when_destination_fails=config.when_destination_fails or WhenDestinationFails.DROP,
    )


def runtime_of(plan: MappingPlan, invoke: runtimes.Invoke) -> MakeCall:
    """How the function of a plan is made ready. `invoke` is for those that run in environments."""
    if plan.function.deployment is not None:
        event = plan.delivery.asynchronous and plan.sequences is None
        return runtimes.external_event(invoke) if event else runtimes.external(invoke)
    if not plan.delivery.asynchronous:
        return runtimes.prepare
    return runtimes.prepare_event if plan.sequences is None else runtimes.prepare_letter


def places_of(function: FunctionSpec) -> int:
    """Invocations of a function at a time."""
    if function.reserved_concurrency is not None:
        return function.reserved_concurrency
    return UNRESERVED_CONCURRENCY if shares(function) else THREADS


def shares(function: FunctionSpec) -> bool:
    """Whether it takes its places from what all functions share, unless it has a reservation."""
    return function.deployment is not None or runtimes.is_async(function.handler)


def destinations_of(plan: MappingPlan) -> list[Destination]:
    """All destinations of a plan, to be closed in the end."""
    ends = (plan.on_success, plan.on_failure, plan.dead_letter_queue, plan.dead_letters)
    return [end for end in ends if end is not None]


def is_local(plan: MappingPlan) -> bool:
    """Whether the broker of the state directory is used, which others may use as well."""
    return any(end.name.startswith("local:") for end in (plan.source, *destinations_of(plan)))


def functions_of(plan: MappingPlan) -> list[str]:
    """Functions that the destinations of a plan invoke."""
    names = [end.name for end in destinations_of(plan)]
    return [name.removeprefix(FUNCTION) for name in names if name.startswith(FUNCTION)]
