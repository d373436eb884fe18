"""A Kafka topic, in order by key and parallel beyond its partitions; what fails goes to another topic."""

import asyncio
import os
from dataclasses import dataclass

from streamfn import App

KAFKA = os.environ.get("KAFKA", "kafka://localhost:9092")

app = App(name="meters")
total: dict[str, float] = {}


@dataclass
class Reading:
    meter: str
    kwh: float


@app.function(each=Reading, timeout=10)
async def bill(reading: Reading) -> None:
    await asyncio.sleep(0.005)  # a slow backend: readings of other meters go on meanwhile
    total[reading.meter] = total.get(reading.meter, 0.0) + reading.kwh
    print(f"meter {reading.meter}: {total[reading.meter]:.1f} kWh")


app.event_source_mapping(
    bill,
    f"{KAFKA}/readings",
    ordering="key",
    maximum_concurrency=50,
    maximum_retry_attempts=2,
    retry_backoff={"first": 0.1},
    on_failure=f"{KAFKA}/readings-failed",
)

# $ printf '{"meter":"a","kwh":1.5}\n{"meter":"b","kwh":"?"}\n{"meter":"a","kwh":2}\n' > readings.jsonl
# $ streamfn put $KAFKA/readings readings.jsonl --key meter
# $ streamfn run examples/kafka.py
# meter a: 1.5 kWh
# meter a: 3.5 kWh
