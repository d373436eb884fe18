"""A durable queue into a function as on Lambda; what fails three times becomes a dead letter."""

import json

from streamfn import App

app = App()


@app.function(timeout=30)
def ship(event, context):
    for record in event["Records"]:
        order = json.loads(record["body"])
        print(f"shipping {order['item']} to {order['city']}")


@app.function
def look(event, context):
    for record in event["Records"]:
        print("nobody could ship", record["body"])


app.event_source_mapping(
    ship, "local:queue/orders?max_receive_count=3&dead_letter=unshipped", BatchSize=1, RetryDelay=0.2
)
app.event_source_mapping(look, "local:queue/unshipped")

# $ echo '{"item": "tea", "city": "Porto"}' | streamfn put local:queue/orders
# $ echo '{"item": "ink"}' | streamfn put local:queue/orders
# $ streamfn run examples/quickstart.py
# shipping tea to Porto
# nobody could ship {"item": "ink"}
