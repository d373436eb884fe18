"""Layers through the API: published, shown, listed, deleted, and used by functions."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from streamfn.control.code import code_response
from streamfn.control.plane import Plane
from tests.control.calling import Calls
from tests.control.function_calls import ROLE, active, hashed, refused, said, zipped

pytestmark = pytest.mark.anyio

ARN = "arn:aws:lambda:us-east-1:000000000000:layer:words"
WORDS = zipped({"python/words.py": "SAID = 'layered'\n"})
OTHER = zipped({"python/words.py": "SAID = 'changed'\n"})
USES = zipped({"index.py": "import words\ndef handler(event, context):\n    return {'said': words.SAID}\n"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_versions_are_numbered_and_shown(call: Calls, plane: Plane) -> None:
    made = await call(
        "PublishLayerVersion",
        LayerName="words",
        Content={"ZipFile": WORDS},
        Description="What is said",
        CompatibleRuntimes=["python3.11"],
        LicenseInfo="MIT",
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["LayerArn"], made["LayerVersionArn"], made["Version"]) == (ARN, f"{ARN}:1", 1)
    assert (made["Content"]["CodeSha256"], made["Content"]["CodeSize"]) == (hashed(WORDS), len(WORDS))
    assert (made["Description"], made["LicenseInfo"]) == ("What is said", "MIT")
    again = await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": WORDS})
    assert again["Version"] == 2
    found = await call("GetLayerVersion", LayerName="words", VersionNumber=1)
    by_arn = await call("GetLayerVersionByArn", Arn=f"{ARN}:1")
    for each in (found, by_arn):
        assert each["CompatibleRuntimes"] == ["python3.11"]
        assert each["CreatedDate"] == made["CreatedDate"]
    response = await code_response(plane, found["Content"]["Location"].removeprefix(plane.url))
    assert response is not None
    assert response.body == WORDS


async def test_layers_are_listed(call: Calls) -> None:
    for name, runtimes in (("a", ["python3.11"]), ("a", ["nodejs20.x"]), ("b", ["python3.11"])):
        await call(
            "PublishLayerVersion",
            LayerName=name,
            Content={"ZipFile": WORDS},
            CompatibleRuntimes=runtimes,
            CompatibleArchitectures=["x86_64"],
        )
    listed = (await call("ListLayers"))["Layers"]
    assert [(each["LayerName"], each["LatestMatchingVersion"]["Version"]) for each in listed] == [
        ("a", 2),
        ("b", 1),
    ]
    python = (await call("ListLayers", CompatibleRuntime="python3.11"))["Layers"]
    assert [each["LatestMatchingVersion"]["Version"] for each in python] == [1, 1]
    assert (await call("ListLayers", CompatibleArchitecture="arm64"))["Layers"] == []
    first = await call("ListLayerVersions", LayerName="a", MaxItems=1)
    assert [each["Version"] for each in first["LayerVersions"]] == [2]
    second = await call("ListLayerVersions", LayerName="a", Marker=first["NextMarker"])
    assert [each["Version"] for each in second["LayerVersions"]] == [1]


async def test_a_number_is_given_once(call: Calls, plane: Plane) -> None:
    await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": WORDS})
    for _ in range(2):  # Of what is not there, it says the same.
        deleted = await call("DeleteLayerVersion", LayerName="words", VersionNumber=1)
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert await refused(call, "GetLayerVersion", LayerName="words", VersionNumber=1) == (
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )
    assert list((plane.state_dir / "uploads").iterdir()) == []
    assert (await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": WORDS}))["Version"] == 2


async def test_a_function_uses_a_layer_that_was_deleted(call: Calls, plane: Plane) -> None:
    await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": WORDS})
    function = {"FunctionName": "orders", "Role": ROLE, "Runtime": "python3.11", "Handler": "index.handler"}
    made = await call("CreateFunction", **function, Code={"ZipFile": USES}, Layers=[f"{ARN}:1"])
    assert made["Layers"] == [{"Arn": f"{ARN}:1", "CodeSize": len(WORDS)}]
    await active(call)
    assert (await said(plane))["said"] == "layered"
    await call("DeleteLayerVersion", LayerName="words", VersionNumber=1)
    await call("UpdateFunctionConfiguration", FunctionName="orders", Layers=[f"{ARN}:1"], MemorySize=256)
    assert (await active(call))["LastUpdateStatus"] == "Successful"
    assert (await said(plane))["said"] == "layered"
    # Others cannot have it any more.
    assert await refused(
        call,
        "CreateFunction",
        **function | {"FunctionName": "other"},
        Code={"ZipFile": USES},
        Layers=[f"{ARN}:1"],
    ) == ("InvalidParameterValueException", f"Layer version {ARN}:1 does not exist.")
    await call("UpdateFunctionConfiguration", FunctionName="orders", Layers=[])
    assert "Layers" not in await active(call)


async def test_layers_that_do_not_go_together_are_refused(call: Calls) -> None:
    for data in (WORDS, OTHER):
        await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": data})
    for number in range(6):
        await call("PublishLayerVersion", LayerName=f"l{number}", Content={"ZipFile": WORDS})
    begin = ARN.removesuffix("words")
    for layers, message in (
        (
            [f"{ARN}:1", f"{ARN}:2"],
            "Two different versions of the same layer are not allowed to be referenced in the same function. "
            f"{ARN}:1 and {ARN}:2 are versions of the same layer.",
        ),
        ([f"{begin}l{number}:1" for number in range(6)], "Cannot reference more than 5 layers."),
        ([f"{begin}none:1"], f"Layer version {begin}none:1 does not exist."),
        (
            [f"{ARN}:1".replace("us-east-1", "eu-west-1")],
            "Layers are not in the same region as the function. Layers are expected to be in region "
            "us-east-1.",
        ),
    ):
        assert await refused(
            call,
            "CreateFunction",
            FunctionName="orders",
            Role=ROLE,
            Runtime="python3.11",
            Handler="index.handler",
            Code={"ZipFile": USES},
            Layers=layers,
        ) == ("InvalidParameterValueException", message)


async def test_what_is_no_zip_is_no_layer(call: Calls) -> None:
    with pytest.raises(ClientError, match="Could not unzip uploaded file"):
        await call("PublishLayerVersion", LayerName="words", Content={"ZipFile": b"no zip"})
    assert (await call("ListLayers"))["Layers"] == []


@pytest.mark.parametrize("operation", ["GetLayerVersion", "DeleteLayerVersion"])
async def test_numbers_begin_with_1(call: Calls, operation: str) -> None:
    for number in (0, -1):
        assert await refused(call, operation, LayerName="words", VersionNumber=number) == (
            "InvalidParameterValueException",
            "Layer Version Cannot be less than 1",
        )


@pytest.mark.parametrize(
    "arn", [ARN.replace("us-east-1", "eu-west-1"), ARN.replace("000000000000", "123456789012")]
)
async def test_layers_of_others_are_not_ours(call: Calls, plane: Plane, arn: str) -> None:
    content = {"ZipFile": WORDS}
    await call("PublishLayerVersion", LayerName="words", Content=content)
    for operation, params in (
        ("GetLayerVersion", {"LayerName": arn, "VersionNumber": 1}),
        ("GetLayerVersionByArn", {"Arn": f"{arn}:1"}),
        ("DeleteLayerVersion", {"LayerName": arn, "VersionNumber": 1}),
        ("ListLayerVersions", {"LayerName": arn}),
        ("PublishLayerVersion", {"LayerName": arn, "Content": content}),
    ):
        assert await refused(call, operation, **params) == (
            "ResourceNotFoundException",
            "The resource you requested does not exist.",
        )
    assert list(plane.resources.all("layer-version")) == ["words:1"]
