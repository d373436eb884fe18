"""What an app is declared to be: functions, mappings and options of asynchronous invocation. No I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from streamfn.errors import ConfigurationError
from streamfn.functions import FunctionSpec, Handler, elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.config import EventInvokeConfig, EventSourceMapping, FunctionConfig
    from streamfn.core.limiting import LimitPolicy
    from streamfn.ports import Source

F = TypeVar("F", bound=Handler)


class Declarations:
    """Functions, what feeds them, and what is done with their asynchronous invocations."""

    def __init__(self) -> None:
        self.functions: dict[str, FunctionSpec] = {}
        self.deployments: dict[str, FunctionConfig] = {}
        """Of the functions that run in environments of their own."""
        self.adaptive: dict[str, LimitPolicy] = {}
        """Of the functions whose number of invocations at a time adapts."""
        self.declared: dict[str, EventSourceMapping] = {}
        self.event_invoke_configs: dict[str, EventInvokeConfig] = {}
        """By function, with a qualifier behind a colon if it is of a version or an alias."""
        self.place = "local:000000000000"
        """Region and account in the ARNs of functions."""
        self._names: dict[int, str] = {}

    @overload
    def function(self, handler: F, /) -> F: ...
    @overload
    def function(
        self,
        handler: None = None,
        /,
        *,
        name: str | None = None,
        timeout: float = 60.0,
        reserved_concurrency: int | None = None,
        batch: bool = False,
        each: Any = None,
        memory_size: int = 128,
        adaptive_concurrency: Any = False,
    ) -> Callable[[F], F]: ...
    def function(
        self,
        handler: F | None = None,
        /,
        *,
        name: str | None = None,
        timeout: float = 60.0,
        reserved_concurrency: int | None = None,
        batch: bool = False,
        each: Any = None,
        memory_size: int = 128,
        adaptive_concurrency: Any = False,
    ) -> F | Callable[[F], F]:
        """Declares a function and returns it unchanged.

        It is called as on Lambda, `handler(event, context)`; with `batch=True` as `handler(batch)` or
        `handler(batch, context)` with a `Batch`; with `each=Model` record by record with the value parsed
        into a pydantic or msgspec model, and failed records are reported for it. Coroutine functions run on
        the loop, others on threads. `timeout` is in seconds; `reserved_concurrency` 0 switches the function
        off; `adaptive_concurrency`: `aimd`, `gradient`, or options of theirs.

        Raises ConfigurationError for a name that is taken and for limits out of range.
        """

        def declare(handler: F) -> F:
            label = str(name or getattr(handler, "__name__", type(handler).__name__))
            self._check_name(label)
            if timeout <= 0:
                raise ConfigurationError(
                    f"{timeout} is not above 0", field=f"{label}.Timeout", fix="give seconds, such as 60"
                )
            if reserved_concurrency is not None and reserved_concurrency < 0:
                raise ConfigurationError(
                    f"{reserved_concurrency} is below 0",
                    field=f"{label}.ReservedConcurrentExecutions",
                    fix="give a number from 0, where 0 switches the function off",
                )
            if batch and each is not None:
                raise ConfigurationError(
                    "batch=True and each=... exclude each other", field=f"{label}", fix="leave one out"
                )
            if adaptive_concurrency:
                self.adaptive[label] = _policy(adaptive_concurrency, label)
            self._names.setdefault(id(handler), label)
            self.functions[label] = FunctionSpec(
                label, handler, timeout, reserved_concurrency, batch, each, memory_size, place=self.place
            )
            return handler

        return declare if handler is None else declare(handler)

    def deploy(self, name: str, **options: Any) -> str:
        """Declares a function that runs in environments of its own, and returns its name.

        It is a Lambda package or what runs elsewhere: `code_uri` (a folder, a zip, `http://...`,
        `lambda:NAME`, `docker:IMAGE`) or `inline_code`, with `runtime`, `handler` and options as in
        `CreateFunction`, in either spelling (docs/functions.md).

        Raises ConfigurationError naming the option and the fix.
        """
        from streamfn.config import FunctionConfig

        config = FunctionConfig.load(options)
        if not config.is_deployed:
            raise ConfigurationError(
                "is required", field="CodeUri", fix="name a folder or a zip, or use @app.function"
            )
        self.deploy_config(name, config)
        return name

    def deploy_config(self, name: str, config: FunctionConfig) -> None:
        """As `deploy`, of options that are checked."""
        self._check_name(name)
        self.deployments[name] = config
        if config.adaptive_concurrency is not None:
            self.adaptive[name] = config.adaptive_concurrency.policy()
        self.functions[name] = self._spec(name, config)

    def _spec(self, name: str, config: FunctionConfig) -> FunctionSpec:
        return FunctionSpec(
            name,
            elsewhere,
            config.seconds,
            config.reserved_concurrency,
            memory_size=config.memory_size,
            deployment=config.deployment(name),
            place=self.place,
        )

    def identify(self, region: str, account: str) -> None:
        """Has the ARNs of functions in a region and an account, as Lambda's API shows them."""
        self.place = f"{region}:{account}"
        for name, spec in self.functions.items():
            self.functions[name] = replace(spec, place=self.place)

    def event_source_mapping(
        self, function: Handler | str, source: str | Source, **options: Any
    ) -> EventSourceMapping:
        """Declares that a source feeds a function. Options as in `CreateEventSourceMapping`, in either
        spelling.

        Raises ConfigurationError naming the option and the fix.
        """
        from streamfn.config import EventSourceMapping

        name = function if isinstance(function, str) else self._function_name(function)
        mapping = EventSourceMapping.load({"function": name, "source": source, **options})
        self._function_name(mapping.function)
        if mapping.name in self.declared:
            raise ConfigurationError(
                f"a mapping named {mapping.name!r} is already declared",
                field="Name",
                fix="pass name=... to one of them",
            )
        self.declared[mapping.name] = mapping
        return mapping

    def event_invoke_config(self, function: Handler | str, **options: Any) -> EventInvokeConfig:
        """Declares what is done with the asynchronous invocations of a function. Options as in
        `PutFunctionEventInvokeConfig`, in either spelling; `Qualifier` for one of its versions or aliases.

        Raises ConfigurationError naming the option and the fix.
        """
        from streamfn.config import EventInvokeConfig

        name = function if isinstance(function, str) else self._function_name(function)
        config = EventInvokeConfig.load({"function": name, **options})
        self._function_name(config.function)
        if config.key in self.event_invoke_configs:
            raise ConfigurationError(
                f"options of {config.key} are already declared",
                field="FunctionName",
                fix="give one of them a Qualifier",
            )
        self.event_invoke_configs[config.key] = config
        return config

    def _check_name(self, name: str) -> None:
        if name in self.functions:
            raise ConfigurationError(
                f"a function named {name!r} is already declared",
                field="FunctionName",
                fix="pass name=... to one of them",
            )

    def _function_name(self, function: Handler | str) -> str:
        name = function if isinstance(function, str) else self._names.get(id(function), "")
        if name not in self.functions:
            raise ConfigurationError(
                f"{function!r} is not a function of this app",
                field="FunctionName",
                fix="decorate it with @app.function first",
            )
        return name


def _policy(given: Any, function: str) -> LimitPolicy:
    from streamfn.config import FunctionConfig

    # As an option of a function is checked wherever it is written.
    config = FunctionConfig.load({"handler": f"app:{function}", "adaptive_concurrency": given})
    if config.adaptive_concurrency is None:
        raise ConfigurationError(f"{given!r} is nothing", field=f"{function}.AdaptiveConcurrency")
    return config.adaptive_concurrency.policy()
