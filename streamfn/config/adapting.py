"""Adaptive concurrency as a user declares it: an option of a function."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, model_validator

from streamfn.config.aws import SPELLING
from streamfn.config.errors import wrong
from streamfn.config.fields import Seconds, Share, Times, Whole
from streamfn.core.limiting import Algorithm, LimitPolicy


class AdaptiveConcurrency(BaseModel):
    """How many calls of a function may be made at a time, as their latency and failures tell. In both
    spellings; times in seconds.
    """

    model_config = SPELLING

    algorithm: Literal["aimd", "gradient"] = "gradient"
    minimum: Annotated[int, Whole(1, 100_000)] = 1
    maximum: Annotated[int, Whole(1, 100_000)] = 1000
    """No more than the function may have in any case."""
    initial: Annotated[int, Whole(1, 100_000)] | None = None
    """Else 10, or what of minimum and maximum is nearest."""
    window: Annotated[float, Seconds(0.01, 3600)] = 1.0
    """How long calls are looked at before the limit changes."""
    drop_rate: Annotated[float, Share()] = 0.1
    """The share of failed and throttled calls from which on there are too many at a time."""
    latency: Annotated[float, Seconds(0.001, 86_400)] | None = None
    """aimd: the mean latency above which there are too many at a time; None: only failures tell."""
    tolerance: Annotated[float, Times(1, 10)] | None = None
    """gradient: how many times the latency without load is all right; else 1.2."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.latency is not None and self.algorithm != "aimd":
            raise wrong("Latency goes with algorithm aimd only", "set Tolerance instead, or algorithm: aimd")
        if self.tolerance is not None and self.algorithm != "gradient":
            raise wrong("Tolerance goes with algorithm gradient only", "set Latency instead, or remove it")
        if self.minimum > self.maximum:
            problem = f"Minimum, {self.minimum}, is more than Maximum, {self.maximum}"
            raise wrong(problem, f"set Maximum to {self.minimum} or more")
        if self.initial is not None and not self.minimum <= self.initial <= self.maximum:
            raise wrong(f"Initial must be {self.minimum} to {self.maximum}, not {self.initial}")
        return self

    def policy(self) -> LimitPolicy:
        """What the engine is to do."""
        usual = LimitPolicy()
        initial = usual.initial if self.initial is None else self.initial
        return LimitPolicy(
            Algorithm(self.algorithm),
            minimum=self.minimum,
            maximum=self.maximum,
            initial=max(self.minimum, min(initial, self.maximum)),
            window=self.window,
            drop_rate=self.drop_rate,
            latency=self.latency,
            tolerance=usual.tolerance if self.tolerance is None else self.tolerance,
        )


def _named(value: Any) -> Any:
    """False is none, True the gradient with its defaults, a name that algorithm with its defaults."""
    if isinstance(value, bool):
        return {} if value else None
    if isinstance(value, str):
        if value not in ("aimd", "gradient"):
            raise wrong(f"must be aimd, gradient, false or options, not {value!r}")
        return {"algorithm": value}
    return value


AdaptiveOption = Annotated[AdaptiveConcurrency | None, BeforeValidator(_named)]
"""`False`, `"aimd"`, `"gradient"`, or the options one by one."""
