"""Layers: published, listed, used by functions, deleted."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from typing import Any

import checks
from checks import RUNTIME, api, arn, create, refused, unique, updated, zipped

USES = "import shared\n\ndef handler(event, context):\n    return shared.WORD\n"


def published(word: str, name: str = "", **options: Any) -> Any:
    content = {"ZipFile": zipped({"python/shared.py": f"WORD = {word!r}\n"})}
    return api.publish_layer_version(LayerName=name or unique("layer"), Content=content, **options)


def answer(name: str) -> Any:
    return json.loads(api.invoke(FunctionName=name)["Payload"].read())


def check_a_layer_has_versions() -> None:
    name = unique("layer")
    made = published("a", name, Description="words", CompatibleRuntimes=[RUNTIME], LicenseInfo="MIT")
    assert checks.status(made) == 201
    assert made["LayerArn"] == arn("layer", name)
    assert made["LayerVersionArn"] == f"{arn('layer', name)}:1"
    assert (made["Version"], made["Description"], made["LicenseInfo"]) == (1, "words", "MIT"), made
    assert made["CompatibleRuntimes"] == [RUNTIME]
    content = zipped({"python/shared.py": "WORD = 'a'\n"})
    assert made["Content"]["CodeSize"] == len(content)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert made["Content"]["CodeSha256"] == digest
    assert published("b", name)["Version"] == 2
    found = api.get_layer_version(LayerName=name, VersionNumber=1)
    assert found["Content"]["CodeSha256"] == digest
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(found["Content"]["Location"], timeout=10) as response:
        assert response.read() == content
    by_arn = api.get_layer_version_by_arn(Arn=made["LayerVersionArn"])
    assert by_arn["Version"] == 1


def check_layers_are_listed_by_pages() -> None:
    names = {unique("layer") for _ in range(3)}
    for name in names:
        published("a", name)
        published("b", name)
    listed = checks.pages("list_layers", "Layers")
    mine = {each["LayerName"]: each for each in listed if each["LayerName"] in names}
    assert {each["LatestMatchingVersion"]["Version"] for each in mine.values()} == {2}
    assert set(mine) == names
    name = names.pop()
    published("c", name)
    found = checks.pages("list_layer_versions", "LayerVersions", LayerName=name)
    assert [each["Version"] for each in found] == [3, 2, 1], found


def check_a_function_uses_layers_and_the_last_one_wins() -> None:
    first, second = published("first"), published("second")
    name = create(USES, Layers=[first["LayerVersionArn"]])
    assert answer(name) == "first"
    found = api.get_function_configuration(FunctionName=name)["Layers"]
    assert [(each["Arn"], each["CodeSize"]) for each in found] == [
        (first["LayerVersionArn"], first["Content"]["CodeSize"])
    ]
    both = [first["LayerVersionArn"], second["LayerVersionArn"]]
    api.update_function_configuration(FunctionName=name, Layers=both)
    updated(name)
    assert answer(name) == "second"
    api.update_function_configuration(FunctionName=name, Layers=[])
    updated(name)
    assert "Layers" not in api.get_function_configuration(FunctionName=name)


def check_a_deleted_layer_is_still_used() -> None:
    made = published("kept")
    name = create(USES, Layers=[made["LayerVersionArn"]])
    layer = made["LayerArn"]
    assert checks.status(api.delete_layer_version(LayerName=layer, VersionNumber=1)) == 204
    assert checks.status(api.delete_layer_version(LayerName=layer, VersionNumber=1)) == 204
    with refused("ResourceNotFoundException", status=404):
        api.get_layer_version(LayerName=layer, VersionNumber=1)
    api.update_function_configuration(FunctionName=name, MemorySize=256)
    updated(name)
    assert answer(name) == "kept"
    assert published("other", layer.rsplit(":", 1)[1])["Version"] == 2


def check_layers_that_are_refused() -> None:
    name = unique("layer")
    one, two = published("a", name), published("b", name)
    invalid = "InvalidParameterValueException"
    with refused(
        invalid,
        "Two different versions of the same layer are not allowed to be referenced in the same function...",
        400,
    ):
        create(USES, Layers=[one["LayerVersionArn"], two["LayerVersionArn"]])
    six = [published(str(number))["LayerVersionArn"] for number in range(6)]
    with refused(invalid, "Cannot reference more than 5 layers.", 400):
        create(USES, Layers=six)
    with refused(invalid, status=400):
        create(USES, Layers=[f"{arn('layer', 'nobody')}:1"])
    with refused(invalid, status=400):
        api.publish_layer_version(LayerName=name, Content={"ZipFile": b"no zip"})


checks.run(globals())
