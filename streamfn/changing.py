"""What changes while an app runs: mappings, functions, their places and what is done with their events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfn import planning
from streamfn.core.deployments import Deployment
from streamfn.core.lifecycle import MappingState
from streamfn.declaring import Declarations
from streamfn.errors import ConfigurationError, StreamfnError
from streamfn.functions import FunctionSpec, elsewhere
from streamfn.planning import Setting
from streamfn.telemetry import EventsReceived

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamfn.concurrency import Concurrency
    from streamfn.config import Endpoint, EventInvokeConfig, EventSourceMapping, FunctionConfig, Settings
    from streamfn.config.kinds import Kind
    from streamfn.core.admission import Account
    from streamfn.deploying import Deployed
    from streamfn.engine.plan import MappingPlan
    from streamfn.engine.supervisor import Supervisor
    from streamfn.invoking import Invoker
    from streamfn.ports import Clock, Destination, EventQueue, Source, Telemetry


class Changes(Declarations):
    """Declarations, and how they are changed while they run."""

    name: str
    state_dir: Path
    dead_letters: bool | str | Destination | None
    _clock: Clock
    _telemetry: Telemetry
    _grace: float
    _concurrency: Concurrency
    _supervisor: Supervisor | None
    _invoker: Invoker | None
    _deployed: Deployed | None
    _event_queue: EventQueue | None
    _destinations: list[Destination]

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: tuple[Endpoint, ...] = ()
        """Which server stands behind which ARN; the first that fits."""
        self.settings: Settings | None = None
        """Delays; None: AWS's."""
        self.secrets: Path | None = None
        """A file of secrets by ARN or name; None: AWS Secrets Manager has them."""
        self.made: set[str] = set()
        """Functions that were put while the app runs; others are declared."""

    def _meaning(self, endpoints: Sequence[Any], settings: Any, secrets: str | Path | None) -> None:
        """What ARNs and delays mean here. Raises ConfigurationErrors."""
        if endpoints:
            from streamfn.config import endpoints_of

            self.endpoints = endpoints_of(endpoints)
        if settings is not None:
            from streamfn.config import settings_of

            self.settings = settings_of(settings)
        self.secrets = None if secrets is None else Path(secrets)

    # -------------------------------------------------------------------------------------- mappings

    async def add_mapping(self, mapping: EventSourceMapping, *, missing_function: bool = False) -> None:
        """Starts one more mapping. `missing_function`: its function may be missing for now; then its batches
        wait.
        """
        for plan in self._plans(mapping, missing_function=missing_function):
            await self._running().add(plan, enabled=mapping.enabled)
        self.declared[mapping.name] = mapping

    async def update_mapping(self, name: str, **options: Any) -> None:
        """Changes options of a mapping; it drains and goes on from its checkpoints."""
        known = self._declared(name)
        mapping = known.updated(options)
        made = self._plans(mapping, missing_function=mapping.function == known.function)
        plans = {plan.name: plan for plan in made}
        running = self._running()
        for each in self._with_sequence(name):
            if each in plans:
                await running.update(plans.pop(each), self._grace)
            else:
                await running.remove(each, self._grace)
        for plan in plans.values():
            await running.add(plan, enabled=running.mappings[name].state is MappingState.ENABLED)
        self.declared[name] = mapping

    async def pause(self, name: str) -> None:
        """Drains a mapping and keeps its place."""
        for each in self._with_sequence(name):
            await self._running().pause(each, self._grace)

    async def resume(self, name: str) -> None:
        """Lets a paused mapping go on."""
        for each in self._with_sequence(name):
            await self._running().resume(each)

    async def remove_mapping(self, name: str) -> None:
        """Drains a mapping and forgets it. Its checkpoints stay in the source."""
        for each in self._with_sequence(name):
            await self._running().remove(each, self._grace)
        self.declared.pop(name, None)

    def _with_sequence(self, name: str) -> list[str]:
        """A mapping, and what delivers its sequences that were opened again."""
        sequence = f"{name}:sequence"
        return [name, sequence] if sequence in self._running().mappings else [name]

    def _declared(self, name: str) -> EventSourceMapping:
        if name not in self.declared:
            raise ConfigurationError(f"there is no mapping named {name!r}", field="Name")
        return self.declared[name]

    # ------------------------------------------------------------------------------------- functions

    async def put_function(self, name: str, config: FunctionConfig) -> None:
        """Makes a function that runs in environments of its own, or changes it. Returns when it can be
        invoked; what runs then ends as it began. What is reserved for it stays, unless `config` says another.

        Raises ConfigurationError, SourceError or OSError where it cannot run, and InvalidConcurrency;
        nothing has changed then.
        """
        self._check_made(name)
        if not config.is_deployed:
            raise ConfigurationError("is required", field="CodeUri", fix="name a folder or a zip")
        before = self._concurrency.account.reserved.get(name)
        if config.reserved_concurrency is not None:
            self._reserve(name, config.reserved_concurrency)
        try:
            await self.deployed.put(name, config)
        except BaseException:
            self._reserve(name, before)
            raise
        self.made.add(name)
        await self._adapt(name, config)
        spec = self._spec(name, config)
        reserved = self._concurrency.account.reserved.get(name)
        self.functions[name] = replace(spec, reserved_concurrency=reserved)
        self._concurrency.settle(spec)
        await self._replan_events(name)
        await self._serve_waiting(name)

    async def remove_function(self, name: str) -> None:
        """Forgets a function with its versions and aliases, what is reserved for it, and what is done with
        its events. What is in flight ends. Mappings stay: their batches wait until it is made again.

        Raises ConfigurationError where there is none that was put, and OSError.
        """
        self._check_made(name)
        await self.deployed.remove(name)
        self.made.discard(name)
        self.functions.pop(name, None)
        self.adaptive.pop(name, None)
        self._concurrency.forget_adapting(name)
        self._reserve(name, None)
        for key in [key for key in self.event_invoke_configs if key.partition(":")[0] == name]:
            del self.event_invoke_configs[key]
        if self._invoker is not None:
            self._invoker.forget(name)

    async def reserve(self, name: str, number: int | None) -> None:
        """Guarantees a function so many invocations at a time, and no more; 0 switches it off, None ends it.
        The function may come later.

        Raises InvalidConcurrency in AWS's words; nothing has changed then.
        """
        self._reserve(name, number)
        if name in self.functions:
            self.functions[name] = replace(self.functions[name], reserved_concurrency=number)
            await self._replan_events(name)

    async def provision(self, name: str, qualifier: str, number: int | None) -> None:
        """Keeps so many environments of a version or an alias initialised; None ends that. Durable.

        Raises InvalidConcurrency in AWS's words, and ConfigurationError where there is none of that name.
        """
        if number is not None:
            self.account.provision(name, qualifier, number)
        await self.deployed.provision(name, qualifier, number)

    @property
    def account(self) -> Account:
        """What is reserved and provisioned by now, of functions that were put or declared."""
        return replace(self._concurrency.account, provisioned=self._provisioned())

    def _provisioned(self) -> Mapping[str, Mapping[str, int]]:
        return {} if self._deployed is None else self._deployed.releases.all_provisioned()

    def _reserve(self, name: str, number: int | None) -> None:
        if number != self._concurrency.account.reserved.get(name):
            self._concurrency.reserve(name, number, self._provisioned())

    def _check_made(self, name: str) -> None:
        if name in self.functions and name not in self.made:
            raise ConfigurationError(
                f"The function {name} is declared by the app that runs here: change it there.",
                field="FunctionName",
            )

    async def _adapt(self, name: str, config: FunctionConfig) -> None:
        """What watches a function is made with its mappings, so these begin again where that changes."""
        policy = None if config.adaptive_concurrency is None else config.adaptive_concurrency.policy()
        if policy == self.adaptive.get(name):
            return
        if policy is None:
            del self.adaptive[name]
        else:
            self.adaptive[name] = policy
        self._concurrency.forget_adapting(name)
        for plan in self._plans_of(name):
            await self._running().update(plan, self._grace)

    # ---------------------------------------------------------------------------------------- events

    async def put_event_invoke_config(self, config: EventInvokeConfig) -> None:
        """Says what is done with the asynchronous invocations of a function, or of a version or alias of it,
        those that wait already included. The function may come later.

        Raises ConfigurationError where it cannot be done; nothing has changed then.
        """
        spec = self.functions.get(config.function)
        if spec is not None and config.qualifier is not None:
            self._check_qualifier(planning.qualified(spec, config.qualifier))
        before = self.event_invoke_configs.get(config.key)
        self.event_invoke_configs[config.key] = config
        if spec is not None:
            try:
                self.event_plan_of(config.key)
            except ConfigurationError:
                self._restore_config(config.key, before)
                raise
            await self._replan_events(config.function)

    async def remove_event_invoke_config(self, key: str) -> None:
        """Has AWS's defaults hold again for `NAME`, or `NAME:QUALIFIER`."""
        self._restore_config(key, None)
        await self._replan_events(key.partition(":")[0])

    def _restore_config(self, key: str, config: EventInvokeConfig | None) -> None:
        if config is None:
            self.event_invoke_configs.pop(key, None)
        else:
            self.event_invoke_configs[key] = config

    async def _replan_events(self, name: str) -> None:
        """Events of a function that are being delivered go by what holds for them now."""
        for plan in self._plans_of(name):
            if not plan.delivery.asynchronous or plan.sequences is not None:
                continue
            try:
                now = self._noted(self.event_plan_of(plan.function.key))
            except ConfigurationError:
                # Its version or alias is gone: what waits goes on waiting.
                continue
            await self._running().relieve(now)
            if self._invoker is not None:
                await self._invoker.serve(planning.functions_of(now))

    async def _serve_waiting(self, name: str) -> None:
        """Events may have come before the function, or come from other processes."""
        if self._invoker is not None and self._events().in_use:
            releases = self.deployed.releases
            qualifiers = [*releases.published(name), *releases.aliases(name)]
            keys = [name, *(f"{name}:{qualifier}" for qualifier in qualifiers)]
            await self._invoker.serve(keys, asked=False)

    async def _add_events(self, function: str) -> Sequence[str]:
        plan = self._noted(self.event_plan_of(function))
        running = self._running()
        if plan.name in running.mappings:
            await running.relieve(plan)
        else:
            await running.add(plan)
        return planning.functions_of(plan)

    def _events(self) -> EventQueue:
        if self._event_queue is not None:
            return self._event_queue
        from streamfn.local import LocalEvents

        return LocalEvents(self.state_dir, clock=self._clock, taken=self._took)

    def _took(self, function: str, events: int) -> None:
        name = function if ":" in function else f"{function}:$LATEST"
        self._telemetry.emit(EventsReceived(name, events))

    # ----------------------------------------------------------------------------------------- plans

    def source_of(self, mapping: EventSourceMapping) -> tuple[Source, Kind]:
        """The source of a mapping and its kind, with the mapping's options checked against it. No I/O."""
        return planning.source_of(self._setting(), mapping)

    def destination_of(self, given: Destination | str | bool | None) -> Destination | None:
        """The destination that an option names, if it names one. No I/O."""
        return planning.destination_of(self._setting(), given)

    def event_plan_of(self, key: str) -> MappingPlan:
        """What is done with the events of a function, or of a version or alias of it. No I/O.

        Raises ConfigurationError where there is none.
        """
        from streamfn.config import EventInvokeConfig

        name, _, qualifier = key.partition(":")
        config = self.event_invoke_configs.get(key)
        if config is None:
            spec = self.functions.get(name)
            if spec is not None and spec.deployment is not None and qualifier:
                self._check_qualifier(replace(spec, qualifier=qualifier))
            elif qualifier or spec is None:
                known = ", ".join(sorted({*self.functions, *self.event_invoke_configs})) or "none is declared"
                raise ConfigurationError(
                    f"Function not found: {key}", field="FunctionName", fix=f"take one of: {known}"
                )
            config = EventInvokeConfig.load({"function": name, "qualifier": qualifier or None})
        of_function = self._with_queue(name)
        return planning.event_plan(self._setting(), config, of_function, self._events().source(key))

    def _with_queue(self, name: str) -> EventInvokeConfig | None:
        """The options of a function, with the dead-letter queue that it was deployed with."""
        from streamfn.config import EventInvokeConfig

        config, deployed = self.event_invoke_configs.get(name), self.deployments.get(name)
        queue = None if deployed is None else deployed.dead_letter_config
        if queue is None or not queue.target_arn or (config is not None and config.dead_letter_queue):
            return config
        known = config or EventInvokeConfig.load({"function": name})
        return known.model_copy(update={"dead_letter_queue": queue.target_arn})

    def _plans(self, mapping: EventSourceMapping, *, missing_function: bool = False) -> list[MappingPlan]:
        setting = self._setting()
        if missing_function and mapping.function not in self.functions:
            name = mapping.function
            missing = FunctionSpec(name, elsewhere, deployment=Deployment(name, ""), place=self.place)
            setting = replace(setting, functions={**self.functions, name: missing})
        plan = self._noted(planning.mapping_plan(setting, mapping))
        sequence = planning.sequence_plan(setting, plan)
        return [plan] if sequence is None else [plan, sequence]

    def _noted(self, plan: MappingPlan) -> MappingPlan:
        self._destinations += planning.destinations_of(plan)
        return plan

    def _setting(self) -> Setting:
        return Setting(
            self.name,
            self.state_dir,
            self._clock,
            self.functions,
            self.dead_letters,
            own_queue=self._event_queue is not None,
            endpoints=self.endpoints,
            settings=self.settings,
            secrets=self.secrets,
        )

    def _plans_of(self, name: str) -> list[MappingPlan]:
        """Of the mappings of a function, its events included."""
        items = self._running().mappings.values()
        return [item.plan for item in items if item.plan.function.name == name]

    @property
    def deployed(self) -> Deployed:
        """What runs functions in environments of their own. Raises StreamfnError while nothing does."""
        if self._deployed is None:
            self._running()
            raise StreamfnError("no function of this app is deployed: all run in its process")
        return self._deployed

    def _check_qualifier(self, function: FunctionSpec) -> None:
        if function.deployment is not None and function.qualifier:
            self.deployed.check(function)

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise StreamfnError("the app is not running: start it first")
        return self._supervisor
