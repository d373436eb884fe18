"""Functions made through the API, for tests of what is done with them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from tests.control.calling import Calls
from tests.waiting import until

ECHO = """
def handler(event, context):
    print("it says", event)
    if event == "fail":
        raise ValueError("told to")
    client = context.client_context
    return {"event": event, "version": context.function_version, "custom": client and client.custom}
"""


def zipped(text: str) -> bytes:
    """A package with one module, `index`: the same at any time of the day."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as package:
        package.writestr(zipfile.ZipInfo("index.py"), text)
    return data.getvalue()


async def created(call: Calls, name: str = "echo", text: str = ECHO, **options: Any) -> dict[str, Any]:
    """A function that is active."""
    given = {"Runtime": "python3.11", "Handler": "index.handler", "Timeout": 10, **options}
    role = "arn:aws:iam::000000000000:role/r"
    made = await call("CreateFunction", FunctionName=name, Role=role, Code={"ZipFile": zipped(text)}, **given)

    async def active() -> bool:
        found = await call("GetFunctionConfiguration", FunctionName=name)
        return bool(found["State"] == "Active")

    await until(active)
    return made
