"""Filter patterns of a mapping: JSON text or objects, refused when they are loaded if they are not valid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from streamfn.config.errors import Places, wrong
from streamfn.config.kinds import Kind
from streamfn.core.filtering import MOST_FILTERS, DataKind, asked_kinds
from streamfn.core.patterns import parse
from streamfn.core.patterns.tokens import LONGEST
from streamfn.errors import ConfigurationError, InvalidPattern

INVALID = "Invalid filter pattern definition."
"""All that AWS says of any pattern that it refuses."""


def _pattern(value: Any) -> str:
    if not isinstance(value, str | dict):
        raise wrong(
            f"must be JSON text or a set of names and values, not {value!r}",
            'write for example {"body": {"kind": ["a"]}}',
        )
    try:
        parse(value)
    except InvalidPattern as error:
        raise wrong(
            f"{INVALID} {error.reason}", f"correct it at {error.place}" if error.place else ""
        ) from None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) > LONGEST:
        raise wrong(f"{INVALID} Pattern is longer than {LONGEST} characters")
    return text


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) > MOST_FILTERS:
        raise wrong(
            f"must be at most {MOST_FILTERS} filters, not {len(value)}",
            "join some: values of one list are alternatives, and so is what stands in $or",
        )
    return () if value is None else value


PatternText = Annotated[str, PlainValidator(_pattern)]
"""A pattern as its JSON."""
ListOfFilters = BeforeValidator(_listed)
"""None of them, or as many as a mapping may have."""


def refused_filters(patterns: Sequence[str], kind: Kind, places: Places) -> Iterator[ConfigurationError]:
    """What a kind of source does not take: patterns for plain text, where its data is JSON always (Developer
    Guide: with-kinesis-filtering, with-ddb-filtering, the tables of formats).
    """
    if kind.filtering.takes_text:
        return
    key = kind.filtering.paths[0]
    short = ("filter_criteria",) not in places.lines
    way = ("filters",) if short else ("filter_criteria", "filters")
    for index, pattern in enumerate(patterns):
        if DataKind.TEXT in asked_kinds(pattern, kind.filtering):
            yield ConfigurationError(
                f"{INVALID} The data of a {kind.name} is matched as JSON only",
                field=f"Filters[{index}]" if short else f"FilterCriteria.Filters[{index}].Pattern",
                where=places.of((*way, index)),
                fix=f'write an object below {key}, such as {{"{key}": {{"kind": ["a"]}}}}',
            )
