"""streamfn within an aiohttp service, which takes orders that the app works off in the same process."""

import json
import os
from collections.abc import AsyncIterator

from aiohttp import web

from streamfn import App, Batch
from streamfn.local import LocalDestination
from streamfn.ports import Message

QUEUE = "local:queue/orders"

app = App(state_dir=os.environ.get("STATE_DIR", ".streamfn"))
orders = LocalDestination(QUEUE, state_dir=app.state_dir)


@app.function(batch=True)
async def pack(batch: Batch) -> None:
    for record in batch:
        print(f"packing {record.json()['item']}", flush=True)


app.event_source_mapping(pack, QUEUE, name="packing")


async def take(request: web.Request) -> web.Response:
    await orders.send([Message(json.dumps(await request.json()).encode())])
    return web.Response(status=202, text="taken\n")  # durable by now, whatever happens to this process


async def health(request: web.Request) -> web.Response:
    return web.json_response({status.name: status.state for status in app.statuses()})


async def lifespan(_: web.Application) -> AsyncIterator[None]:
    async with app:  # starts the mappings; leaving it drains them
        yield
    await orders.close()


def service() -> web.Application:
    service = web.Application()
    service.add_routes([web.post("/orders", take), web.get("/health", health)])
    service.cleanup_ctx.append(lifespan)
    return service


if __name__ == "__main__":
    web.run_app(service(), port=int(os.environ.get("PORT", "8080")), print=None)

# $ python examples/embed_aiohttp.py
# $ curl -d '{"item": "tea"}' localhost:8080/orders
# packing tea
