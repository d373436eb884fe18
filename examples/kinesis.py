"""A Kinesis stream: shards shared by lease, two batches of each at a time, bad records found by halves."""

import json
from base64 import b64decode

from streamfn import App

app = App(name="meters")
total: dict[str, float] = {}


@app.function(timeout=10)
def bill(event, context):
    readings = [json.loads(b64decode(record["kinesis"]["data"])) for record in event["Records"]]
    # One that is no number fails the batch before anything is billed.
    used = [(reading["meter"], float(reading["kwh"])) for reading in readings]
    for meter, kwh in used:
        total[meter] = total.get(meter, 0.0) + kwh
        print(f"meter {meter}: {total[meter]:.1f} kWh")


app.event_source_mapping(
    bill,
    "kinesis://readings",
    # "kinesis://readings?consumer=meters",  # enhanced fan-out: pushed, within milliseconds
    StartingPosition="TRIM_HORIZON",
    BatchSize=500,
    ParallelizationFactor=2,  # of one meter there is only one batch at a time
    BisectBatchOnFunctionError=True,
    MaximumRetryAttempts=1,
    MaximumRecordAgeInSeconds=3600,
    RetryBackoff={"First": 0.1},
    DestinationConfig={"OnFailure": {"Destination": "sqs://readings-failed"}},
)

# $ printf '{"meter":"a","kwh":1.5}\n{"meter":"b","kwh":"?"}\n{"meter":"a","kwh":2}\n' > readings.jsonl
# $ streamfn put kinesis://readings readings.jsonl --key meter
# $ streamfn run examples/kinesis.py
# meter a: 1.5 kWh
# meter a: 3.5 kWh
