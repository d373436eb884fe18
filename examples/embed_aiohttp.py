"""streamfn within an aiohttp service: orders are taken at once, and worked off in the same process."""

import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from streamfn import App

app = App(state_dir=os.environ.get("STATE_DIR", ".streamfn"))


@app.function
async def pack(order: dict[str, Any], context: object) -> None:
    print(f"packing {order['item']}", flush=True)


app.event_invoke_config(pack, MaximumRetryAttempts=5, RetryDelays=[1, 10, 60])


async def take(request: web.Request) -> web.Response:
    request_id = await app.enqueue(pack, await request.json())
    # Durable by now, whatever happens to this process.
    return web.json_response({"requestId": request_id}, status=202)


async def health(request: web.Request) -> web.Response:
    return web.json_response({status.name: status.state for status in app.statuses()})


async def lifespan(_: web.Application) -> AsyncIterator[None]:
    async with app:  # starts what is to be delivered; leaving it drains
        yield


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
