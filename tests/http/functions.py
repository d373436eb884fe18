"""The function of the conformance suite behind an address, as services have one and as Lambda's Invoke."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

INVOKE = "/2015-03-31/functions/conformance/invocations"


class FunctionServer:
    """Answers at /function and at `INVOKE`. An invocation ends when its caller hangs up."""

    def __init__(self) -> None:
        self.running = 0
        self.count = 0
        self.requests: list[web.Request] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_post("/function", self._service)
        app.router.add_post(INVOKE, self._lambda)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _service(self, request: web.Request) -> web.Response:
        status, body, _ = await self._invoked(request)
        return web.Response(body=body, status=status, content_type="application/json")

    async def _lambda(self, request: web.Request) -> web.Response:
        status, body, log = await self._invoked(request)
        headers = {"X-Amz-Log-Result": b64encode(log[-4096:]).decode()}
        if status != 200:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return web.Response(body=body, status=200, headers=headers)

    async def _invoked(self, request: web.Request) -> tuple[int, bytes, bytes]:
        event = await request.json()
        self.requests.append(request)
        self.running += 1
        self.count += 1
        try:
            match event["do"]:
                case "hang":
                    await asyncio.sleep(3600)
                case "sleep":
                    await asyncio.sleep(event["seconds"])
                case "die":
                    assert request.transport is not None
                    request.transport.close()
                case "large":
                    return 200, json.dumps("x" * event["size"]).encode(), b""
                case "raise":
                    said = {"errorMessage": event["message"], "errorType": "ValueError", "requestId": "r"}
                    return 500, json.dumps(said).encode(), b""
            return 200, json.dumps(self._answer(request, event)).encode(), event.get("text", "").encode()
        finally:
            self.running -= 1

    def _answer(self, request: web.Request, event: dict[str, Any]) -> dict[str, Any]:
        headers = request.headers
        context = headers.get("X-Amz-Client-Context")
        return {
            "value": event.get("value"),
            "count": self.count,
            "requestId": headers["Lambda-Runtime-Aws-Request-Id"],
            "arn": headers["Lambda-Runtime-Invoked-Function-Arn"],
            "trace": headers.get("X-Amzn-Trace-Id", ""),
            "custom": json.loads(b64decode(context))["custom"] if context else None,
        }


@asynccontextmanager
async def serving() -> AsyncIterator[FunctionServer]:
    server = FunctionServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
