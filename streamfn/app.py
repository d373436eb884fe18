"""The app: functions, the event source mappings that feed them, and their life in one process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

import anyio

from streamfn import planning
from streamfn.changing import Changes
from streamfn.concurrency import Concurrency
from streamfn.core.deployments import LATEST
from streamfn.core.lineage import TRACE_HEADER
from streamfn.engine import mapping as engine
from streamfn.engine.status import MappingStatus, status_of
from streamfn.engine.supervisor import Supervised, Supervisor, plain
from streamfn.errors import StreamfnError
from streamfn.functions import CURRENT
from streamfn.invoking import Invoker, payload_of
from streamfn.request_response import RequestResponse, Response
from streamfn.telemetry import Counters, DrainBegun, DrainEnded, Fanout, LogTelemetry, logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from streamfn.core.records import Headers
    from streamfn.deploying import Deployed
    from streamfn.engine.plan import MappingPlan
    from streamfn.functions import FunctionSpec, Handler
    from streamfn.ports import Answer, Clock, Destination, EventQueue, Request, Telemetry
    from streamfn.response_streams import PieceStream


class App(Changes):
    """Functions and the event source mappings that feed them.

    Nothing happens before `start` (or `async with app`): declare functions and mappings at import time, then
    run them with `streamfn run module:app`, or inside a service of your own:

        async with app:
            ...

    Leaving the context drains: what is in flight ends, positions are committed, nothing new is read.
    """

    def __init__(
        self,
        *,
        name: str = "streamfn",
        state_dir: str | Path = ".streamfn",
        telemetry: Sequence[Telemetry] = (),
        clock: Clock = time.time,  # noqa: TID251 - the root of all clocks
        seed: int | None = None,
        dead_letters: bool | str | Destination | None = None,
        event_queue: EventQueue | None = None,
        concurrent_executions: int = planning.UNRESERVED_CONCURRENCY,
        function_logs: str | Path | None = None,
        endpoints: Sequence[Any] = (),
        settings: Any = None,
        secrets: str | Path | None = None,
        serves_api: bool = False,
    ) -> None:
        """`endpoints`: which server stands behind which ARN, as in files (docs/api.md). `settings`: delays
        that AWS fixes, by name. `secrets`: a file of them; else they are in AWS Secrets Manager.
        `serves_api`: functions may be put while it runs.
        """
        super().__init__()
        self._meaning(endpoints, settings, secrets)
        self.name = name
        self.state_dir = Path(state_dir)
        self.dead_letters = dead_letters
        """Whether what is given up is kept whole, where mapping or function say nothing: True for
        `local:queue/dead-letters`, or a URI, or a destination.
        """
        self.counters = Counters()
        self._extra_telemetry = tuple(telemetry)
        self._telemetry: Telemetry = Fanout((self.counters, *self._extra_telemetry))
        self._clock = clock
        self._event_queue = event_queue
        self._random = Random(seed)
        self.function_logs = function_logs
        """A folder for the logs of deployed functions; None: they are lines of the logger."""
        self.serves_api = serves_api
        self._concurrency = Concurrency(self.functions, self.adaptive, concurrent_executions)
        concurrency = self._concurrency
        self._request_response = RequestResponse(
            concurrency.pool, self._invoke, self._clock, concurrency.observe
        )
        self._supervisor: Supervisor | None = None
        self._invoker: Invoker | None = None
        self._deployed: Deployed | None = None
        self._main: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._grace = 30.0
        self._clean = True
        self._destinations: list[Destination] = []

    # ---------------------------------------------------------------------------------------- living

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts every declared mapping. Raises ConfigurationError where one cannot be built."""
        if self._main is not None:
            raise StreamfnError("the app is running already")
        self._concurrency.begin()
        plans = [
            (plan, mapping.enabled) for mapping in self.declared.values() for plan in self._plans(mapping)
        ]
        self._stopping = asyncio.Event()
        self._clean = True
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The one task that belongs to no group: a library has to live beside the tasks of its host.
        self._main = asyncio.create_task(self._live(plans, ready), name=f"streamfn:{self.name}")  # noqa: TID251
        await ready

    async def stop(self, grace: float = 30.0) -> bool:
        """Drains and ends. False if something had to be cut off after `grace` seconds; it comes again
        later.
        """
        main = self._main
        if main is None:
            return self._clean
        self._grace = grace
        self._stopping.set()
        # Waited for, not awaited: a caller that is cancelled must not take the drain with it.
        await asyncio.wait([main])
        self._main = None
        await main
        return self._clean

    def cut(self) -> None:
        """Ends a drain at once: what is in flight is cut off and comes again later. No attempt is counted."""
        if self._supervisor is not None:
            self._supervisor.cut()

    async def wait(self) -> None:
        """Returns when the app has been told to stop, or has died."""
        if self._main is not None:
            async with anyio.create_task_group() as either:

                async def until(event: Awaitable[object]) -> None:
                    await event
                    either.cancel_scope.cancel()

                either.start_soon(until, asyncio.wait([self._main]))
                either.start_soon(until, self._stopping.wait())

    async def _live(self, plans: Iterable[tuple[MappingPlan, bool]], ready: asyncio.Future[None]) -> None:
        try:
            log, debug = logger()
            self._telemetry = Fanout((self.counters, LogTelemetry(log, debug=debug), *self._extra_telemetry))
            self._supervisor = Supervisor(self._mapping, self._telemetry, self._random)
            async with anyio.create_task_group() as tasks:
                if self.deployments or self.serves_api:
                    self._deployed = self._deploying()
                    await tasks.start(self._deployed.run)
                await tasks.start(self._supervisor.run)
                for plan, enabled in plans:
                    await self._supervisor.add(plan, enabled=enabled)
                self._invoker = Invoker(self._events(), self._add_events, tasks)
                for plan, _ in plans:
                    self._check_qualifier(plan.function)
                await self._serve_events(self._invoker, [plan for plan, _ in plans])
                ready.set_result(None)
                await self._stopping.wait()
                await self._drain(self._supervisor)
                await self._invoker.close()
                tasks.cancel_scope.cancel()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(plain(error))
                return
            raise
        finally:
            self._supervisor = self._invoker = self._deployed = None
            with anyio.move_on_after(10, shield=True):
                for destination in self._destinations:
                    await destination.close()
            self._destinations.clear()

    async def _drain(self, supervisor: Supervisor) -> None:
        begun = asyncio.get_running_loop().time()
        self._telemetry.emit(DrainBegun(self._grace))
        self._clean = await supervisor.drain(self._grace)
        self._telemetry.emit(DrainEnded(self._clean, asyncio.get_running_loop().time() - begun))

    # -------------------------------------------------------------------------------------- invoking

    async def invoke(
        self,
        function: Handler | str,
        payload: Any = None,
        *,
        qualifier: str | None = None,
        client_context: str = "",
        stream: PieceStream | None = None,
    ) -> Response:
        """Invokes a function and waits for what it answers: Lambda's Invoke with `RequestResponse`.

        `stream` takes the pieces of the answer as they come, if it is a deployed function that streams it.
        An error of the function is an answer too: `function_error` says so. Raises TooManyRequests where no
        place is free, ConfigurationError for an unknown function, InvalidRequestContent for what is no JSON,
        PayloadTooLarge above 6 MB, OSError where no environment can be had, StreamfnError where the app is
        not running.
        """
        self._running()
        name, _, given = (function if isinstance(function, str) else self._function_name(function)).partition(
            ":"
        )
        spec = self.functions.get(name) or self._setting().function(name)
        if (qualifier or given) not in ("", LATEST):
            spec = planning.qualified(spec, qualifier or given)
        current = CURRENT.get()
        trace = None if current is None else current.onward(self._clock())
        self._concurrency.adapting(spec, self._telemetry)
        return await self._request_response(spec, payload, trace, client_context, stream)

    async def enqueue(self, function: Handler | str, payload: Any, *, qualifier: str | None = None) -> str:
        """Invokes a function asynchronously: its request id, once the event is durable.

        It will be processed, or end in the destinations that are configured for it. `payload` is any JSON
        value, or JSON as bytes, of 1 MB at most. Called by a function of this process, the event goes on in
        the chain of its invocation, so that loops come to an end.

        Raises ConfigurationError for an unknown function, InvalidRequestContent for what is no JSON,
        PayloadTooLarge, OSError where nothing can be stored, StreamfnError where the app is not running.
        """
        invoker = self._invoker
        if invoker is None:
            raise StreamfnError("the app is not running: start it first")
        key = function if isinstance(function, str) else self._function_name(function)
        if qualifier is not None:
            key = f"{key}:{qualifier}"
        key = key.removesuffix(":$LATEST")
        data = payload_of(payload)
        if key not in invoker.asked:
            await invoker.serve([key])
        headers: Headers = ()
        if (current := CURRENT.get()) is not None:
            headers = ((TRACE_HEADER, str(current.onward(self._clock())).encode()),)
        request_id, written = invoker.put(key, data, headers)
        await written
        return request_id

    async def serve_events(self, function: str) -> None:
        """Has events delivered that others have put, if they are not already."""
        self._running()
        if self._invoker is not None:
            await self._invoker.serve([function])

    async def _serve_events(self, invoker: Invoker, plans: Sequence[MappingPlan]) -> None:
        """Functions whose events are asked for; where any may wait, or come from other processes, all."""
        for plan in plans:
            await invoker.serve(planning.functions_of(plan))
        await invoker.serve(self.event_invoke_configs)
        if self._events().in_use or any(map(planning.is_local, plans)):
            await invoker.serve(self.functions, asked=False)

    # --------------------------------------------------------------------------------------- showing

    def mapping_status(self, name: str) -> MappingStatus | None:
        """What one mapping is doing now, if it is there."""
        item = None if self._supervisor is None else self._supervisor.mappings.get(name)
        return None if item is None else status_of(item, self.counters)

    def statuses(self) -> list[MappingStatus]:
        """What every mapping is doing now."""
        items = self._supervisor.mappings.values() if self._supervisor is not None else ()
        found = [(item, status_of(item, self.counters)) for item in items]
        return [status for item, status in found if self._is_shown(item, status)]

    def _is_shown(self, item: Supervised, status: MappingStatus) -> bool:
        """Events of a function that never had any are of no interest."""
        if not item.plan.delivery.asynchronous or status.counters or status.lag:
            return True
        return self._invoker is not None and item.plan.function.key in self._invoker.asked

    def functions_shown(self, *, values: bool = False) -> list[dict[str, Any]]:
        """Every function as it is listed: its variables by name, their values only where asked for."""
        return [
            {
                "name": name,
                "runtime": (spec.deployment.runtime or spec.deployment.code) if spec.deployment else "-",
                "memory_size": spec.memory_size,
                "timeout": spec.timeout,
                "reserved_concurrency": spec.reserved_concurrency,
                **(self.deployed.shown(name, values=values) if spec.deployment else self._shown_here(spec)),
            }
            for name, spec in self.functions.items()
        ]

    def _shown_here(self, spec: FunctionSpec) -> dict[str, Any]:
        in_use = self._concurrency.in_use(spec)
        return {
            "aliases": {},
            "versions": [{"version": LATEST, "in_use": in_use, "idle": 0, "provisioned": 0}],
        }

    def _deploying(self) -> Deployed:
        from streamfn.deploying import Deployed

        return Deployed(
            self.deployments,
            self.state_dir,
            changes=self.serves_api,
            endpoints=self.endpoints,
            logs=self.function_logs,
            telemetry=self._telemetry,
            clock=self._clock,
            random=self._random,
        )

    async def _invoke(self, function: FunctionSpec, request: Request) -> tuple[Answer, str]:
        return await self.deployed.invoke(function, request)

    async def check_function(self, name: str) -> None:
        """Proves that a deployed function can run here. Raises ConfigurationError, SourceError or OSError."""
        from streamfn.deploying import check

        await check(name, self.deployments[name], self.state_dir, self._clock, self.endpoints)

    def _mapping(self, plan: MappingPlan) -> engine.Mapping:
        return engine.Mapping(
            plan,
            make_call=planning.runtime_of(plan, self._invoke),
            pool=self._concurrency.pool(plan.function),
            adapting=self._concurrency.adapting(plan.function, self._telemetry),
            telemetry=self._telemetry,
            clock=self._clock,
            random=self._random,
        )


__all__ = ["App", "MappingStatus"]
