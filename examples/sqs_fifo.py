"""A FIFO queue of SQS: in order within each account, accounts side by side, and dead letters in the end.

The queue's redrive policy says how often a transfer is tried, here twice, and where it goes then.
"""

import json
from collections import defaultdict

from streamfn import App

app = App(name="bank")
balances: defaultdict[str, int] = defaultdict(int)


@app.function(timeout=30)
def book(event, context):
    failed, stopped = [], set()
    for record in event["Records"]:
        account = record["attributes"]["MessageGroupId"]
        try:
            if account in stopped:
                raise ValueError("what came before it is not booked")
            balances[account] += int(json.loads(record["body"])["cents"])
            print(f"{account} has {balances[account]}")
        except ValueError:
            # Only these come again. What follows them in their group waits.
            stopped.add(account)
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


@app.function
def look(event, context):
    for record in event["Records"]:
        print("nobody could book", record["body"])


app.event_source_mapping(
    book,
    "sqs://transfers.fifo?wait_time_seconds=5",  # a drain lets a poll end: else that takes up to 20 seconds
    FunctionResponseTypes=["ReportBatchItemFailures"],
    MaximumConcurrency=20,
    RetryDelay=1,  # else they come again when their visibility timeout is over, as on AWS
)
app.event_source_mapping(look, "sqs://transfers-dead.fifo?wait_time_seconds=5")

# $ printf '{"account":"anna","cents":100}\n{"account":"anna","cents":50}\n' > transfers.jsonl
# $ printf '{"account":"anna","cents":"?"}\n{"account":"ben","cents":350}\n' >> transfers.jsonl
# $ streamfn put sqs://transfers.fifo transfers.jsonl --key account
# $ streamfn run examples/sqs_fifo.py
# anna has 100
# anna has 150
# ben has 350
# nobody could book {"account":"anna","cents":"?"}
