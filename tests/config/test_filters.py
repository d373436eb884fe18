"""Filter patterns as options: both spellings, what is refused when they are loaded, and how they change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamfn.config import (
    DYNAMODB,
    FIFO,
    KAFKA,
    QUEUE,
    STREAM,
    ConfigurationErrors,
    EventSourceMapping,
    Kind,
)
from streamfn.config.file import load as load_file

WHERE = "app.py:7"
MINIMAL: dict[str, Any] = {"function": "f", "source": "local:flights"}
PATTERN = '{"body": {"kind": ["a"]}}'
OTHER = {"messageAttributes": {"size": {"stringValue": ["large"]}}}
OTHER_TEXT = '{"messageAttributes":{"size":{"stringValue":["large"]}}}'


def load(**options: Any) -> EventSourceMapping:
    return EventSourceMapping.load(MINIMAL | options, WHERE)


def said(**options: Any) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        load(**options)
    return [line.removeprefix(f"{WHERE}: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        {"filters": [PATTERN, OTHER]},
        {"Filters": (PATTERN, OTHER_TEXT)},
        {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}, {"Pattern": OTHER_TEXT}]}},
        {"filter_criteria": {"filters": [{"pattern": PATTERN}, {"pattern": OTHER}]}},
    ],
)
def test_filters_are_given_in_either_spelling_as_text_or_objects(options: dict[str, Any]) -> None:
    assert load(**options).filters == (PATTERN, OTHER_TEXT)


@pytest.mark.parametrize("nothing", [None, {}, {"Filters": []}, {"Filters": None}, {"filters": ()}])
def test_no_filters_are_none(nothing: object) -> None:
    assert load(FilterCriteria=nothing).filters == ()
    assert load(filters=None).filters == load(filters=[]).filters == load().filters == ()


def test_a_text_keeps_what_an_object_cannot_say() -> None:
    twice = '{"body": ["a"], "body": ["b"]}'
    assert load(filters=[twice]).filters == (twice,)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        # Recorded on AWS, which says the first sentence only.
        ("null", "Filter is not an object"),
        ('"text"', "Filter is not an object"),
        (
            '{"eventSource": "aws:sqs"',
            '"eventSource" must be an object or an array. Fix: correct it at eventSource',
        ),
        (
            '{"eventSource":"aws:sqs"}',
            '"eventSource" must be an object or an array. Fix: correct it at eventSource',
        ),
        ('{"eventSource":[]}', "Empty arrays are not allowed. Fix: correct it at eventSource"),
        ("{}", "Empty objects are not allowed"),
        ({}, "Empty objects are not allowed"),
        ({1: ["a"]}, "A key must be a string, not int"),
        ({"a": [f"{'x' * 4096}"]}, "Pattern is longer than 4096 characters"),
        ({"a": ["\n" * 3000]}, "Pattern is longer than 4096 characters"),
        (f'{{"a": ["{"x" * 4096}"]}}', "Pattern is longer than 4096 characters"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason_and_the_place(pattern: object, reason: str) -> None:
    known = [{"Pattern": PATTERN}, {"Pattern": pattern}]
    assert said(FilterCriteria={"Filters": known}) == [
        f"FilterCriteria.Filters[1].Pattern: Invalid filter pattern definition. {reason}"
    ]
    assert said(filters=[pattern]) == [f"Filters[0]: Invalid filter pattern definition. {reason}"]


def test_a_pattern_of_the_longest_kind_is_taken() -> None:
    longest = json.dumps({"a": ["x" * (4096 - len('{"a": [""]}'))]})
    assert len(longest) == 4096
    assert load(filters=[longest]).filters == (longest,)


def test_a_place_in_text_that_is_not_json_is_line_and_column() -> None:
    (message,) = said(filters=['{"a":'])
    assert message.endswith("Fix: correct it at line 1, column 6")


def test_ten_filters_are_taken_and_no_more() -> None:
    assert len(load(filters=[PATTERN] * 10).filters) == 10
    message = (
        "must be at most 10 filters, not 11. "
        "Fix: join some: values of one list are alternatives, and so is what stands in $or"
    )
    assert said(filters=[PATTERN] * 11) == [f"Filters: {message}"]
    body = {"Filters": [{"Pattern": PATTERN}] * 11}
    assert said(FilterCriteria=body) == [f"FilterCriteria.Filters: {message}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": PATTERN}, f"Filters: must be a list, not {PATTERN!r}"),
        ({"filters": OTHER}, "Filters: must be a list, not {'messageAttributes': "),
        ({"filters": [3]}, "Filters[0]: must be JSON text or a set of names and values, not 3. Fix: "),
        ({"FilterCriteria": [PATTERN]}, "FilterCriteria: must be a set of names and values, not"),
        ({"FilterCriteria": {"Filters": [{}]}}, "FilterCriteria.Filters[0].Pattern: is required"),
        (
            {"FilterCriteria": {"Filter": []}},
            "FilterCriteria.Filter: unknown option. Fix: did you mean Filters?",
        ),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}]}, "filters": [PATTERN]},
            "FilterCriteria: is given twice, here and as Filters. Fix: keep one of the two",
        ),
    ],
)
def test_another_form_is_refused(options: dict[str, Any], message: str) -> None:
    (told,) = said(**options)
    assert told.startswith(message)


@pytest.mark.parametrize(
    ("kind", "key", "fine"),
    [
        (STREAM, "data", False),
        (STREAM, "kinesis.data", False),
        (DYNAMODB, "dynamodb", False),
        (KAFKA, "value", True),
        (QUEUE, "body", True),
        (FIFO, "body", True),
    ],
)
def test_a_pattern_for_plain_text_is_refused_where_data_is_json_only(
    kind: Kind, key: str, fine: bool
) -> None:
    load(filters=[{key: {"kind": ["a"]}}, {"eventID": ["1"]}]).check(kind)
    mapping = load(filters=[{key: {"kind": ["a"]}}, {"$or": [{"eventID": ["1"]}, {key: ["plain"]}]}])
    if fine:
        mapping.check(kind)
        return
    with pytest.raises(ConfigurationErrors) as caught:
        mapping.check(kind)
    data = key.rpartition(".")[2]
    assert str(caught.value) == (
        f"{WHERE}: Filters[1]: Invalid filter pattern definition. The data of a {kind.name} is matched as "
        f'JSON only. Fix: write an object below {data}, such as {{"{data}": {{"kind": ["a"]}}}}'
    )


def test_an_update_sets_filters_anew_and_takes_them_away() -> None:
    mapping = load(filters=[PATTERN], batch_size=5)
    assert mapping.updated({"BatchSize": 6}).filters == (PATTERN,)
    assert mapping.updated({"filters": [OTHER]}).filters == (OTHER_TEXT,)
    body = {"Filters": [{"Pattern": OTHER_TEXT}]}
    assert mapping.updated({"FilterCriteria": body}).filters == (OTHER_TEXT,)
    for nothing in ({}, {"Filters": []}, None):
        assert mapping.updated({"FilterCriteria": nothing}).filters == ()
        assert mapping.updated({"filter_criteria": nothing}).filters == ()
    assert mapping.updated({"Filters": []}).filters == ()
    with pytest.raises(ConfigurationErrors, match="Invalid filter pattern definition"):
        mapping.updated({"FilterCriteria": {"Filters": [{"Pattern": "null"}]}})


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ("FilterCriteria:\n      Filters:\n        - Pattern: '{\"a\": [1]}'\n        - Pattern: 'x'", 9),
        ("filters:\n      - a: [1]\n      - a: 1", 8),
    ],
)
def test_a_file_names_the_line_of_a_pattern(tmp_path: Path, filters: str, where: int) -> None:
    file = tmp_path / "streamfn.yaml"
    file.write_text(
        "functions:\n  f: app:f\nevent_source_mappings:\n"
        f"  - FunctionName: f\n    Source: local:x\n    {filters}\n"
    )
    with pytest.raises(ConfigurationErrors) as caught:
        load_file(file)
    assert caught.value.where == f"{file}:{where}"


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        (
            'FilterCriteria: {Filters: [\n{Pattern: \'{"data": {"a": [1]}}\'},'
            "\n{Pattern: '{\"data\": [1]}'}]}",
            8,
        ),
        ("filters:\n      - data: {a: [1]}\n      - data: [1]", 8),
    ],
)
def test_what_the_source_does_not_take_has_its_line_too(tmp_path: Path, filters: str, where: int) -> None:
    file = tmp_path / "streamfn.yaml"
    file.write_text(
        "functions:\n  f: app:f\nevent_source_mappings:\n"
        f"  - FunctionName: f\n    Source: local:x\n    {filters}\n"
    )
    (mapping,) = load_file(file).mappings
    with pytest.raises(ConfigurationErrors) as caught:
        mapping.check(STREAM)
    assert caught.value.where == f"{file}:{where}"
