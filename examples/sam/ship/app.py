"""Ships orders; says which messages of a batch it could not ship."""

import json


def handler(event, context):
    failed = []
    for record in event["Records"]:
        order = json.loads(record["body"])
        if "city" in order:
            print(f"shipping {order['item']} to {order['city']}")
        else:
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
