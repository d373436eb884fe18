"""What of CreateFunction is only kept and shown: through options, deployments and the store of versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamfn.config import ConfigurationErrors, FunctionConfig
from streamfn.core.deployments import Deployment
from streamfn.stores.functions import FILE, SqliteFunctionStore

pytestmark = pytest.mark.anyio

PACKAGE: dict[str, Any] = {"CodeUri": "build", "Runtime": "python3.12", "Handler": "app.handler"}
IMAGE: dict[str, Any] = {"CodeUri": "docker:orders:1"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_what_is_given_travels_with_the_deployment() -> None:
    given: dict[str, Any] = {
        "Role": "arn:aws:iam::000000000000:role/worker",
        "Architectures": ["arm64"],
        "PackageType": "Zip",
        "VpcConfig": {"SubnetIds": ["subnet-1"], "Ipv6AllowedForDualStack": True},
        "TracingConfig": {"Mode": "Active"},
        "SnapStart": {"ApplyOn": "PublishedVersions"},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:lost"},
        "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
    }
    deployment = FunctionConfig.load(PACKAGE | given | {"facts": {"Code": {"CodeSize": 1}}}).deployment("f")
    assert deployment.settings == given | {"Code": {"CodeSize": 1}}
    assert deployment.log_format == "JSON"
    assert FunctionConfig.load(PACKAGE).deployment("f").settings == {}


def test_both_spellings_are_one() -> None:
    ours = {"vpc_config": {"subnet_ids": ["a"]}, "dead_letter_config": {"target_arn": "local:queue/lost"}}
    theirs = {"VpcConfig": {"SubnetIds": ["a"]}, "DeadLetterConfig": {"TargetArn": "local:queue/lost"}}
    assert FunctionConfig.load(PACKAGE | ours).settings() == FunctionConfig.load(PACKAGE | theirs).settings()


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({}, "docker:orders:1"),
        ({"Command": ["app.f", "a b"]}, "docker:orders:1?command=app.f+%27a+b%27"),
        (
            {"EntryPoint": ["/run"], "WorkingDirectory": "/srv"},
            "docker:orders:1?entrypoint=%2Frun&workdir=%2Fsrv",
        ),
    ],
)
def test_what_an_image_runs_is_part_of_its_address(config: dict[str, Any], code: str) -> None:
    assert FunctionConfig.load(IMAGE | {"ImageConfig": config}).deployment("f").code == code


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (PACKAGE | {"ImageConfig": {}}, "image_config is for container images"),
        (PACKAGE | {"DurableConfig": {"ExecutionTimeout": 60}}, "DurableConfig: not supported yet"),
        (PACKAGE | {"FileSystemConfigs": [{"Arn": "a"}]}, "FileSystemConfigs: not supported yet"),
        (
            PACKAGE | {"log_format": "JSON", "LoggingConfig": {"LogFormat": "Text"}},
            "log_format and logging_config exclude each other",
        ),
        (PACKAGE | {"Architectures": ["x86_64", "arm64"]}, "Architectures"),
        (PACKAGE | {"VpcConfig": {"SubnetIds": ["s"] * 17}}, "VpcConfig.SubnetIds"),
        ({"handler": "app:f", "role": "r"}, "role needs code_uri or inline_code"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        FunctionConfig.load(options)
    assert problem in str(caught.value.errors[0])


async def test_versions_keep_their_settings(tmp_path: Path) -> None:
    deployment = Deployment("orders", "http://127.0.0.1/", settings={"Role": "a", "Architectures": ["arm64"]})
    async with SqliteFunctionStore.at(tmp_path) as store:
        first = await store.publish(deployment)
        assert await store.publish(deployment) == first
        second = await store.publish(Deployment("orders", "http://127.0.0.1/", settings={"Role": "b"}))
    async with SqliteFunctionStore.at(tmp_path) as store:
        assert await store.published("orders") == [first, second]
        assert first.deployment.settings == {"Role": "a", "Architectures": ["arm64"]}


async def test_versions_from_before_there_were_settings_are_read(tmp_path: Path) -> None:
    deployment = Deployment("orders", "http://127.0.0.1/")
    async with SqliteFunctionStore.at(tmp_path) as store:
        await store.publish(deployment)
    with sqlite3.connect(tmp_path / FILE) as connection:
        (text,) = connection.execute("SELECT deployment FROM versions").fetchone()
        document = orjson.loads(text)
        assert document.pop("settings") == {}
        connection.execute("UPDATE versions SET deployment = ?", (orjson.dumps(document).decode(),))
    connection.close()
    async with SqliteFunctionStore.at(tmp_path) as store:
        (read,) = await store.published("orders")
        assert read.deployment.settings == {}
        # It is still what it was: nothing is published again.
        assert (await store.publish(deployment)).version == "1"
