"""Functions written with Powertools for AWS Lambda, with their packages in a layer, as they are deployed."""

from __future__ import annotations

import base64
import importlib
import shutil
from pathlib import Path

import orjson
import pytest

from tests.proof.corpus import Corpus, said

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

pytest.importorskip("aws_lambda_powertools", reason="Powertools is not installed")

PACKAGES = (
    "annotated_types",
    "aws_lambda_powertools",
    "jmespath",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layer with Powertools and what it needs, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("layer")
    folder.chmod(0o755)  # For users of environments, as a layer is.
    for name in PACKAGES:
        origin = Path(importlib.import_module(name).__file__ or "")
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / "python" / origin.parent.name)
        else:
            shutil.copy2(origin, folder / "python")
    return str(folder)


async def test_its_batch_processor_reports_what_failed(corpus: Corpus, layer: str) -> None:
    amounts = [3, -1, 4, -2]
    event = {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": "x",
                "body": orjson.dumps({"amount": amount}).decode(),
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders",
                "awsRegion": "us-east-1",
            }
            for number, amount in enumerate(amounts)
        ]
    }
    async with corpus.runtime("powertools_batch.handler", layers=layer).environment() as environment:
        answer = said(await environment.invoke(corpus.request(event)))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m3"}]}


async def test_its_parser_reads_models_out_of_records(corpus: Corpus, layer: str) -> None:
    def record(number: int) -> dict[str, object]:
        data = base64.b64encode(orjson.dumps({"id": number, "item": "apple"})).decode()
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "k",
                "sequenceNumber": str(number),
                "data": data,
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000006:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/r",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
        }

    async with corpus.runtime("powertools_parser.handler", layers=layer).environment() as environment:
        answer = said(await environment.invoke(corpus.request({"Records": [record(1), record(2)]})))
        assert answer == {
            "orders": [{"id": 1, "item": "apple"}, {"id": 2, "item": "apple"}],
            "shards": ["shardId-000000000006"] * 2,
        }


async def test_its_data_classes_read_events(corpus: Corpus, layer: str) -> None:
    event = {
        "Records": [
            {
                "eventID": "1",
                "eventName": "INSERT",
                "eventSource": "aws:dynamodb",
                "dynamodb": {"NewImage": {"id": {"S": "a"}, "tags": {"L": [{"S": "x"}]}}},
            },
            {"eventID": "2", "eventName": "REMOVE", "eventSource": "aws:dynamodb", "dynamodb": {}},
        ]
    }
    async with corpus.runtime("powertools_data.handler", layers=layer).environment() as environment:
        answer = said(await environment.invoke(corpus.request(event)))
        assert answer == [["INSERT", {"id": "a", "tags": ["x"]}], ["REMOVE", {}]]
