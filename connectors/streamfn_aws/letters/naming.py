"""What stores of dead letters and sources of records are called. All functions raise ConfigurationError."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from streamfn.errors import ConfigurationError
from streamfn_aws.options import Resource, arn_of, parsed_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

STORE: Final = "Store"
SOURCE: Final = "Source"
"""The fields that errors name."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


def split_uri(uri: str, role: str, types: Mapping[str, type]) -> tuple[str, dict[str, Any]]:
    """The place that stands in a URI, or the ARN itself; and the options behind it."""
    _, given = parsed_uri(uri, role, types)
    place = uri.partition("?")[0]
    return place if place.startswith("arn:") else unquote(place.partition(":")[2].strip("/")), given


def named(place: str, service: str, role: str, prefix: str = "") -> Resource:
    """What a name, `account/name` or an ARN of a service stands for. `prefix`: before the name in ARNs."""
    if place.startswith("arn:"):
        resource = arn_of(place, role)
        name = resource.name.removeprefix(prefix) if resource.name.startswith(prefix) else ""
    else:
        resource, _ = parsed_uri(f"{service}://{place}", role, {})
        name = resource.name
    if resource.service != service or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{place!r} names nothing of {service}",
            field=role,
            fix=f"write {service}://NAME or arn:aws:{service}:REGION:ACCOUNT:{prefix}NAME",
        )
    return replace(resource, name=name)
