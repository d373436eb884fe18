"""The function that the suite of runtimes invokes: it does what its event says. Standard library only.

A runtime in any language may have its own, if it answers alike.
"""

from __future__ import annotations

import os
import time
from typing import Any

count = 0
"""Invocations since the init."""


def handler(event: dict[str, Any], context: Any) -> object:
    """`do`: `answer`, `raise`, `hang`, `die`, `sleep` (`seconds`), `print` (`text`) or `large` (`size`)."""
    global count
    count += 1
    do = event["do"]
    if do == "raise":
        raise ValueError(event["message"])
    if do == "hang":
        time.sleep(3600)  # noqa: TID251 - as functions do
    if do == "sleep":
        time.sleep(event["seconds"])  # noqa: TID251
    if do == "die":
        os._exit(3)
    if do == "print":
        print(event["text"], flush=True)  # noqa: T201
    if do == "large":
        return "x" * event["size"]
    sent = context.client_context
    return {
        "value": event.get("value"),
        "count": count,
        "requestId": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "trace": os.environ.get("_X_AMZN_TRACE_ID", ""),
        "custom": getattr(sent, "custom", None),
        "left": context.get_remaining_time_in_millis(),
    }
