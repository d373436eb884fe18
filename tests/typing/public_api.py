"""Must type-check: what users write. Never run."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import streamfn
from streamfn import App, Batch, Record
from streamfn.functions import Context

app = App(name="typed", state_dir=".streamfn")


@app.function
async def plain(event: dict[str, Any], context: Context) -> dict[str, Any]:
    remaining: int = context.get_remaining_time_in_millis()
    return {"batchItemFailures": [], "remaining": remaining, "id": context.aws_request_id}


@app.function(timeout=5, reserved_concurrency=2)
def blocking(event: dict[str, Any], context: Context) -> None: ...


@app.function(batch=True)
async def batched(batch: Batch) -> None:
    for record in batch:
        key: str | None = record.key
        value: bytes | None = record.value
        print(key, value, record.json())
    first: Record = batch[0]
    event: dict[str, Any] = batch.to_event()
    print(first.arrived_at, event, len(batch))


class Order(BaseModel):
    amount: int


@app.function(each=Order)
async def order(order: Order) -> None:
    print(order.amount)


app.event_source_mapping(plain, "local:orders", batch_size=10, MaximumRetryAttempts=3)
app.event_source_mapping("batched", source="kafka://localhost:9092/orders", ordering="key")


async def serve() -> bool:
    async with app:
        for status in app.statuses():
            lag: int | None = status.lag
            print(status.name, lag, status.counters)
        await app.update_mapping("plain-orders", BatchSize=100)
        await app.pause("plain-orders")
    return await app.stop(grace=5.0)


def limit(batch: Batch) -> None:
    raise streamfn.TooManyRequests(retry_after=3.0)
