"""Records at a steady pace into Kinesis: `ENDPOINT STREAM RATE COUNT`. Each carries when it was sent, in
nanoseconds by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.servers.aws import client


async def main(endpoint: str, stream: str, rate: float, count: int) -> None:
    async with client("kinesis", endpoint) as kinesis:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            value = b"%20d" % time.monotonic_ns()
            await kinesis.put_record(StreamName=stream, Data=value.ljust(1024), PartitionKey=str(number))
    print(1, flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
