"""Functions for tests of the API: their packages, and calls that make them and wait for them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.waiting import until

ROLE = "arn:aws:iam::000000000000:role/worker"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:orders"


def zipped(files: Mapping[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return data.getvalue()


def says(word: str) -> bytes:
    return zipped(
        {
            "index.py": f"import os\ndef handler(event, context):\n"
            f"    return {{'said': '{word}', 'env': os.environ.get('COLOUR'), "
            f"'version': context.function_version, 'region': os.environ['AWS_REGION']}}\n"
        }
    )


ONE, TWO = says("one"), says("two")


def hashed(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


async def create(call: Calls, name: str = "orders", data: bytes = ONE, **more: Any) -> dict[str, Any]:
    given = {"Runtime": "python3.11", "Handler": "index.handler", "Role": ROLE, "Code": {"ZipFile": data}}
    return await call("CreateFunction", FunctionName=name, **(given | more))


async def active(call: Calls, name: str = "orders") -> dict[str, Any]:
    """What the waiters function_active_v2 and function_updated_v2 wait for."""
    found: dict[str, Any] = {}

    async def is_active() -> bool:
        nonlocal found
        found = await call("GetFunctionConfiguration", FunctionName=name)
        del found["ResponseMetadata"]
        return found["State"] != "Pending" and found.get("LastUpdateStatus") != "InProgress"

    await until(is_active)
    return found


async def said(plane: Plane, name: str = "orders", **options: Any) -> Any:
    return json.loads((await plane.app.invoke(name, {}, **options)).payload)


async def refused(call: Calls, operation: str, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        await call(operation, **params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


async def answered(call: Calls, operation: str, **params: Any) -> dict[str, Any]:
    found = await call(operation, **params)
    del found["ResponseMetadata"]
    return found
