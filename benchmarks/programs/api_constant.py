"""The API's server, answering a constant. Says its port."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from streamfn.cli import logs
from streamfn.cli.run import _loop_factory
from streamfn.control.messages import HttpRequest, HttpResponse
from streamfn.control.server import serving

_ANSWER = HttpResponse(202, (("Content-Type", "application/json"),), b"")


async def constant(request: HttpRequest) -> HttpResponse:
    return _ANSWER


async def main() -> None:
    async with serving(constant, "127.0.0.1:0") as url:
        print(urlsplit(url).port, flush=True)
        await asyncio.Event().wait()


logs.configure("warning")
with asyncio.Runner(loop_factory=_loop_factory()) as runner:
    runner.run(main())
