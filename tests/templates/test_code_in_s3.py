"""Code that lies in S3, on a real server: fetched when functions are made ready, or refused by its name."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streamfn import App, plugins
from streamfn.building import Builder
from streamfn.config import Endpoint, FunctionConfig
from streamfn.errors import ConfigurationError
from streamfn.ports import Message
from streamfn.templates import load
from tests.servers.aws import KEY, SECRET, Ministack, run_ministack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

CODE = "import common\ndef handler(event, context):\n    print(common.WORD, event['Records'][0]['body'])\n"
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters: {Bucket: {Type: String}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: {Bucket: !Ref Bucket, Key: fn.zip}
      Handler: app.handler
      Runtime: python3.11
      Layers: [!Ref L]
      Events: {Q: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn}}}
  L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: !Sub "s3://${Bucket}/layer.zip"}}
  Q: {Type: AWS::SQS::Queue, Properties: {QueueName: orders}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with run_ministack() as server:
        yield server


@pytest.fixture
async def bucket(aws: Ministack) -> AsyncIterator[str]:
    name = aws.unique("code")
    async with aws.client("s3") as s3:
        await s3.create_bucket(Bucket=name)
        await s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        await s3.put_object(Bucket=name, Key="fn.zip", Body=zipped("app.py", CODE))
        await s3.put_object(Bucket=name, Key="layer.zip", Body=zipped("python/common.py", "WORD = 'common'"))
        yield name


def zipped(name: str, text: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, text)
    return data.getvalue()


def place(aws: Ministack) -> Endpoint:
    return Endpoint(url=aws.endpoint, region=aws.region, access_key_id=KEY, secret_access_key=SECRET)


async def test_a_template_runs_with_code_and_layer_of_a_bucket(
    tmp_path: Path, aws: Ministack, bucket: str
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    template = load(path, {"Bucket": bucket}).localised(lambda arn: True)
    state, logs = tmp_path / "state", tmp_path / "logs"
    app = App(name=template.name, state_dir=state, function_logs=logs)
    app.endpoints = (place(aws),)
    for name, config in template.functions.items():
        app.deploy_config(name, config)
    app.declared.update({mapping.name: mapping for mapping in template.mappings})
    await app.check_function("streamfn-F")
    queue = plugins.destination("local:queue/orders", {"state_dir": state})
    async with app:
        assert not await queue.send([Message(b"tea")])
        await until(lambda: "common tea" in "".join(file.read_text() for file in logs.rglob("*.log")))
    await queue.close()


def config(uri: str) -> FunctionConfig:
    return FunctionConfig.load({"CodeUri": uri, "Handler": "app.handler", "Runtime": "python3.11"})


async def test_a_version_is_that_version_and_nothing_is_left(
    tmp_path: Path, aws: Ministack, bucket: str
) -> None:
    async with aws.client("s3") as s3:
        answer = await s3.put_object(Bucket=bucket, Key="fn.zip", Body=zipped("app.py", "NEW = 1"))
        await s3.put_object(Bucket=bucket, Key="fn.zip", Body=zipped("app.py", "NEWER = 1"))
    builder = Builder(tmp_path, [place(aws)])
    own = config(f"s3://{bucket}/fn.zip?versionId={answer['VersionId']}")
    built = await builder.build("f", own)
    assert (Path(built.deployment.code) / "app.py").read_text() == "NEW = 1"
    assert [name for name in os.listdir(tmp_path) if name.startswith("tmp")] == []
    assert await builder.stamp(own) == ""
    await builder.release(built)
    builder.close()


async def test_what_is_not_there_is_said(tmp_path: Path, aws: Ministack, bucket: str) -> None:
    builder = Builder(tmp_path, [place(aws)])
    with pytest.raises(ConfigurationError, match=f"f.CodeUri: s3://{bucket}/no.zip does not exist"):
        await builder.build("f", config(f"s3://{bucket}/no.zip"))
    with pytest.raises(ConfigurationError, match="names no object"):
        await builder.build("f", config("s3://bucket"))
    away = Endpoint(url="http://127.0.0.1:9", access_key_id=KEY, secret_access_key=SECRET)
    builder.close()
    builder = Builder(tmp_path, [away])
    with pytest.raises(ConfigurationError, match=f"s3://{bucket}/fn.zip cannot be fetched"):
        await builder.build("f", config(f"s3://{bucket}/fn.zip"))
    builder.close()


async def test_what_is_too_large_is_not_fetched_to_its_end(
    tmp_path: Path, aws: Ministack, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamfn.fetching.UNZIPPED_LIMIT", 100)
    builder = Builder(tmp_path, [place(aws)])
    with pytest.raises(ConfigurationError, match="f.CodeUri: Unzipped size must be smaller"):
        await builder.build("f", config(f"s3://{bucket}/fn.zip"))
    builder.close()
