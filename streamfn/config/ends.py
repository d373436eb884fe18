"""What a configuration names: functions and their qualifiers, sources, destinations, stores of letters."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, PlainValidator

from streamfn.config.errors import wrong
from streamfn.ports import Destination, Source

_LATEST: Final = "$LATEST"

_ARN: Final = re.compile(r"arn:aws[a-zA-Z0-9-]*:[a-zA-Z0-9-]+:([a-z]{2}(-[a-z]+)+-\d+)?:(\d{12})?:.+")


def unqualified(function: str) -> tuple[str, str | None]:
    """Name and qualifier out of any of the forms that AWS takes; None where there is no qualifier."""
    if ":" not in function:
        return function, None
    parts = function.split(":")
    at = parts.index("function") + 1 if "function" in parts else 0
    name, qualifier = parts[at : at + 1], parts[at + 1 :]
    return "".join(name), ":".join(qualifier) if qualifier else None


def function_of(destination: object) -> str | None:
    """The function that a destination is, by `function:NAME` or an ARN; None for others."""
    name = destination if isinstance(destination, str) else getattr(destination, "name", "")
    uri = str(name).partition("?")[0]
    if uri.startswith("function:") or (uri.startswith("arn:") and uri.split(":")[2:3] == ["lambda"]):
        return unqualified(uri)[0]
    return None


def _unversioned(value: str) -> str:
    name, qualifier = unqualified(value)
    if qualifier not in (None, _LATEST):
        raise wrong(
            "The derived qualifier from the function name does not match the specified qualifier.",
            f"write {name} and keep Qualifier",
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise wrong(f"{value!r} is no function's name: 1 to 64 letters, digits, - or _")
    return name


def _qualifier(value: Any) -> str | None:
    # YAML reads the number of a version as one.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text in (None, _LATEST):
        return None
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        return text
    raise wrong(
        f"{value!r} is no qualifier: $LATEST, a version's number, "
        "or an alias of 1 to 128 letters, digits, - or _"
    )


def _source(value: Any) -> Any:
    if isinstance(value, str):
        if not _is_uri(value):
            raise wrong(f"{value!r} is no URI", "write its kind first, such as local:flights")
    elif not (hasattr(value, "shards") or hasattr(value, "open")):
        raise wrong(f"must be a URI or a source, not {value!r}", "write a URI such as local:flights")
    return value


def _destination(value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, str):
        if not _is_uri(value):
            raise wrong(f"{value!r} is no URI", "write its kind first, such as file:dead-letters.jsonl")
    elif value is not None and not hasattr(value, "send"):
        raise wrong(
            f"must be a URI or a destination, not {value!r}", "write a URI such as local:dead-letters"
        )
    return value


def _well_formed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("arn:") and not _ARN.fullmatch(value):
        raise wrong(
            f"The destination ARN {value} is invalid.", "write arn:aws:SERVICE:REGION:ACCOUNT:NAME, or a URI"
        )
    return _destination(value)


def _dead_letters(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None or hasattr(value, "send"):
        return value if isinstance(value, bool) else _well_formed(value)
    raise wrong(
        f"must be true, false, a URI or a destination, not {value!r}",
        "write true for local:queue/dead-letters",
    )


def _is_uri(value: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*:", value) is not None


FunctionName = Annotated[str, AfterValidator(_unversioned)]
"""The bare name, out of any of the forms that AWS takes; of other versions than `$LATEST` none."""
Qualifier = Annotated[str | None, PlainValidator(_qualifier)]
"""A version's number or an alias; None is `$LATEST`."""
SourceOption = Annotated[str | Source, PlainValidator(_source)]
"""A URI, or a Source object."""
DestinationOption = Annotated[str | Destination | None, PlainValidator(_destination)]
"""A URI, or a Destination object; empty text, as on AWS, is none."""
CheckedDestination = Annotated[str | Destination | None, PlainValidator(_well_formed)]
"""As `DestinationOption`; an ARN has to be one."""
DeadLetters = Annotated[bool | str | Destination | None, PlainValidator(_dead_letters)]
"""True: the embedded queue `dead-letters`. False: none are kept. None: what holds further out."""
