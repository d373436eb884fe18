"""Versions, aliases, their weights, and layers that functions use."""

from __future__ import annotations

import json
from typing import Any

import checks
from checks import SOON, api, arn, create, refused, updated, zipped


def returning(number: int) -> str:
    return f"def handler(event, context):\n    return {number}\n"


def versions(count: int) -> str:
    """A function whose version 1 gives 1, and so on."""
    name = create(returning(1))
    for number in range(1, count + 1):
        if number > 1:
            api.update_function_code(FunctionName=name, ZipFile=zipped(returning(number)))
            updated(name)
        assert api.publish_version(FunctionName=name)["Version"] == str(number)
    return name


def answer(name: str, qualifier: str) -> Any:
    return json.loads(api.invoke(FunctionName=name, Qualifier=qualifier)["Payload"].read())


def check_a_version_keeps_what_was_published() -> None:
    name = create(returning(1), Description="first")
    made = api.publish_version(FunctionName=name, Description="of the version")
    assert checks.status(made) == 201
    assert (made["Version"], made["Description"]) == ("1", "of the version"), made
    assert made["FunctionArn"] == f"{arn('function', name)}:1"
    api.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig=SOON)
    api.update_function_code(FunctionName=name, ZipFile=zipped(returning(2)))
    updated(name)
    assert (answer(name, "1"), answer(name, "$LATEST")) == (1, 2)
    found = api.get_function_configuration(FunctionName=name, Qualifier="1")
    assert (found["Version"], found["State"]) == ("1", "Active"), found
    assert found["CodeSha256"] == made["CodeSha256"]


def check_publishing_what_is_unchanged_gives_the_same_version() -> None:
    name = create(returning(1))
    first = api.publish_version(FunctionName=name)
    again = api.publish_version(FunctionName=name)
    assert (first["Version"], again["Version"]) == ("1", "1")
    api.update_function_configuration(FunctionName=name, Timeout=9)
    updated(name)
    assert api.publish_version(FunctionName=name)["Version"] == "2"


def check_publish_at_once() -> None:
    name = checks.unique("f")
    made = api.create_function(
        FunctionName=name,
        Runtime=checks.RUNTIME,
        Role=checks.ROLE,
        Handler="index.handler",
        Code={"ZipFile": zipped(returning(1))},
        Publish=True,
    )
    assert (made["Version"], made["FunctionArn"]) == ("1", arn("function", name)), made
    api.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=SOON)
    said = api.update_function_code(FunctionName=name, ZipFile=zipped(returning(2)), Publish=True)
    assert said["Version"] == "2", said
    updated(name)
    assert (answer(name, "1"), answer(name, "2")) == (1, 2)


def check_numbers_are_never_used_again() -> None:
    name = versions(2)
    assert checks.status(api.delete_function(FunctionName=name, Qualifier="2")) == 204
    api.update_function_code(FunctionName=name, ZipFile=zipped(returning(7)))
    updated(name)
    assert api.publish_version(FunctionName=name)["Version"] == "3"
    # One that is not there is deleted as well.
    assert checks.status(api.delete_function(FunctionName=name, Qualifier="77")) == 204


def check_versions_are_listed_by_pages() -> None:
    name = versions(3)
    listed = checks.pages("list_versions_by_function", "Versions", FunctionName=name)
    assert [each["Version"] for each in listed] == ["$LATEST", "1", "2", "3"], listed


def check_a_publication_is_guarded() -> None:
    name = create(returning(1))
    with refused("InvalidParameterValueException", status=400):
        api.publish_version(FunctionName=name, CodeSha256="x" * 43 + "=")
    with refused("PreconditionFailedException", status=412):
        api.publish_version(FunctionName=name, RevisionId="00000000-0000-0000-0000-000000000000")
    with refused("ResourceNotFoundException", status=404):
        api.publish_version(FunctionName="nobody")


def check_aliases() -> None:
    name = versions(2)
    made = api.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="for all")
    assert checks.status(made) == 201
    assert made["AliasArn"] == f"{arn('function', name)}:live"
    assert (made["Name"], made["FunctionVersion"], made["Description"]) == ("live", "1", "for all"), made
    assert answer(name, "live") == 1
    changed = api.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert (changed["FunctionVersion"], changed["Description"]) == ("2", "for all")
    assert changed["RevisionId"] != made["RevisionId"]
    assert answer(name, "live") == 2
    with refused("PreconditionFailedException", status=412):
        api.update_alias(FunctionName=name, Name="live", FunctionVersion="1", RevisionId=made["RevisionId"])
    found = api.get_alias(FunctionName=name, Name="live")
    assert found["FunctionVersion"] == "2"
    assert found["RevisionId"] == changed["RevisionId"]
    assert checks.status(api.delete_alias(FunctionName=name, Name="live")) == 204
    assert checks.status(api.delete_alias(FunctionName=name, Name="live")) == 204
    with refused("ResourceNotFoundException", status=404):
        api.get_alias(FunctionName=name, Name="live")


def check_what_was_put_for_an_alias_goes_with_it() -> None:
    name = versions(1)
    alias = {"FunctionName": name, "Qualifier": "live"}
    permission = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    revision = api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")["RevisionId"]
    api.put_function_event_invoke_config(**alias, MaximumRetryAttempts=0)
    api.create_function_url_config(**alias, AuthType="NONE")
    api.add_permission(**alias, **permission, RevisionId=revision)
    now = api.get_alias(FunctionName=name, Name="live")["RevisionId"]
    assert api.get_policy(**alias)["RevisionId"] == now != revision
    api.delete_alias(FunctionName=name, Name="live")
    assert api.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []
    assert api.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"] == []
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for operation in (api.get_policy, api.get_function_event_invoke_config, api.get_function_url_config):
        with refused("ResourceNotFoundException", status=404):
            operation(**alias)


def check_aliases_are_listed_by_pages() -> None:
    name = versions(2)
    for alias, version in (("a", "1"), ("b", "2"), ("c", "1"), ("d", "$LATEST")):
        api.create_alias(FunctionName=name, Name=alias, FunctionVersion=version)
    listed = checks.pages("list_aliases", "Aliases", FunctionName=name)
    assert [each["Name"] for each in listed] == ["a", "b", "c", "d"], listed
    of_one = api.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]
    assert {each["Name"] for each in of_one} == {"a", "c"}


def check_weights_share_invocations() -> None:
    name = versions(2)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    made = api.create_alias(FunctionName=name, Name="half", FunctionVersion="1", RoutingConfig=weights)
    assert made["RoutingConfig"] == weights
    executed = [api.invoke(FunctionName=name, Qualifier="half")["ExecutedVersion"] for _ in range(200)]
    assert set(executed) == {"1", "2"}
    # 200 throws of a coin lie outside of this once in 10 million times.
    assert 60 <= executed.count("2") <= 140, executed.count("2")
    api.update_alias(FunctionName=name, Name="half", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    assert {answer(name, "half") for _ in range(10)} == {2}
    api.update_alias(FunctionName=name, Name="half", RoutingConfig={"AdditionalVersionWeights": {}})
    assert {answer(name, "half") for _ in range(10)} == {1}
    assert (
        not api.get_alias(FunctionName=name, Name="half")
        .get("RoutingConfig", {})
        .get("AdditionalVersionWeights")
    )


def check_weights_that_are_refused() -> None:
    name = versions(3)

    def create_alias(version: str, weights: dict[str, float]) -> None:
        routing = {"AdditionalVersionWeights": weights}
        api.create_alias(FunctionName=name, Name="w", FunctionVersion=version, RoutingConfig=routing)

    invalid = "InvalidParameterValueException"
    with refused(invalid, "Number of items in AdditionalVersionWeights cannot be greater than 1", 400):
        create_alias("1", {"2": 0.1, "3": 0.1})
    with refused(invalid, "$LATEST is not supported for an alias pointing to more than 1 version", 400):
        create_alias("$LATEST", {"1": 0.1})
    with refused(
        invalid,
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
        400,
    ):
        create_alias("1", {"1": 0.1})


def check_aliases_that_are_refused() -> None:
    name = versions(1)
    api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with refused("ResourceConflictException", f"Alias already exists: {arn('function', name)}:live", 409):
        api.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with refused("ResourceNotFoundException", status=404):
        api.create_alias(FunctionName=name, Name="other", FunctionVersion="9")
    with refused("ResourceNotFoundException", status=404):
        api.create_alias(FunctionName="nobody", Name="other", FunctionVersion="1")
    with refused("ValidationException", status=400):
        api.create_alias(FunctionName=name, Name="123", FunctionVersion="1")
    with refused("ResourceConflictException", status=409):
        api.delete_function(FunctionName=name, Qualifier="1")
    with refused("ResourceNotFoundException", status=404):
        api.update_alias(FunctionName=name, Name="nobody", FunctionVersion="1")


checks.run(globals())
