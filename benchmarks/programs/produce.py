"""Records at a steady pace into Kafka: `SERVERS TOPIC RATE COUNT`. Each carries when it was sent.

In nanoseconds, by the monotonic clock, which on Linux is one for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]


async def main(servers: str, topic: str, rate: float, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks=1, linger_ms=0)
    await producer.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        value = b"%20d" % time.monotonic_ns()
        await producer.send(topic, value.ljust(1024))
    await producer.stop()
    print(1, flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
