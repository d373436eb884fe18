"""Sources and destinations by the scheme of their URI. Nothing is imported before it is used.

Packages offer kinds by entry points, one group a role, with the scheme as the name:

    [project.entry-points."streamfn.sources"]
    kafka = "streamfn_kafka:KafkaSource"

An ARN stands for the kind of its service: `arn:aws:sqs:...` is of kind `sqs`.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from streamfn.errors import ConfigurationError, MissingExtra, UnknownKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.ports import (
        Bucket,
        Deployment,
        Destination,
        Key,
        LetterFetcher,
        LetterStore,
        Runtime,
        Secret,
        Source,
    )

SOURCES: Final = "streamfn.sources"
DESTINATIONS: Final = "streamfn.destinations"
LETTERS: Final = "streamfn.letters"
FETCHERS: Final = "streamfn.fetchers"
RUNTIMES: Final = "streamfn.runtimes"
KEYS: Final = "streamfn.keys"
BUCKETS: Final = "streamfn.buckets"
SECRETS: Final = "streamfn.secrets"

_NONE: Final[Mapping[str, object]] = MappingProxyType({})

_BUILT_IN: Final[Mapping[str, Mapping[str, str]]] = {
    SOURCES: {
        "local": "streamfn.local:LocalSource",
    },
    DESTINATIONS: {
        "file": "streamfn.destinations.file:FileDestination",
        "function": "streamfn.local:FunctionDestination",
        "local": "streamfn.local:LocalDestination",
        "log": "streamfn.destinations.log:LogDestination",
    },
    LETTERS: {
        "local": "streamfn.local:LocalLetters",
        "sequence": "streamfn.local:SequenceLetters",
    },
    FETCHERS: {
        "local": "streamfn.local:LocalFetcher",
    },
    RUNTIMES: {
        "docker": "streamfn.runtimes.container:ContainerRuntime",
        "podman": "streamfn.runtimes.container:ContainerRuntime",
    },
    KEYS: {
        "env": "streamfn.stores.keys:LocalKey",
        "file": "streamfn.stores.keys:LocalKey",
    },
    BUCKETS: {},
    SECRETS: {},
}
"""Part of streamfn itself, so that they are there in a bare checkout too."""

_ROLE: Final = {
    SOURCES: "source",
    DESTINATIONS: "destination",
    LETTERS: "store of dead letters",
    FETCHERS: "source to fetch from",
    RUNTIMES: "runtime",
    KEYS: "key",
    BUCKETS: "bucket",
    SECRETS: "secret",
}
_FIELD: Final = {
    SOURCES: "Source",
    DESTINATIONS: "Destination",
    LETTERS: "Store",
    FETCHERS: "Source",
    RUNTIMES: "Code",
    KEYS: "KMSKeyArn",
    BUCKETS: "S3Bucket",
    SECRETS: "SourceAccessConfigurations",
}


def source(uri: str, options: Mapping[str, object]) -> Source:
    """The source a URI names; nothing is connected yet. `options`: what the app knows and a URI does not say.

    Raises ConfigurationError for a kind that nobody or more than one package offers, and for what the kind
    refuses; MissingExtra where its client library is not installed.
    """
    made: Source = _make(SOURCES, uri, options)
    return made


def destination(uri: str, options: Mapping[str, object]) -> Destination:
    """The destination a URI names; as `source`."""
    made: Destination = _make(DESTINATIONS, uri, options)
    return made


def letters(uri: str, options: Mapping[str, object]) -> LetterStore:
    """The store of dead letters that a URI names; as `source`."""
    made: LetterStore = _make(LETTERS, uri, options)
    return made


def fetcher(uri: str, options: Mapping[str, object]) -> LetterFetcher:
    """What fetches records back from a source, by its URI or ARN; as `source`."""
    made: LetterFetcher = _make(FETCHERS, uri, options)
    return made


def runtime(deployment: Deployment, options: Mapping[str, object]) -> Runtime:
    """What runs code that is no folder, by its URI; as `source`."""
    made: Runtime = _make(RUNTIMES, deployment.code, {"deployment": deployment, **options})
    return made


def key(uri: str, options: Mapping[str, object]) -> Key:
    """A key by its URI or ARN; as `source`."""
    made: Key = _make(KEYS, uri, options)
    return made


def bucket(uri: str, options: Mapping[str, object] = _NONE) -> Bucket:
    """A bucket by its URI; as `source`."""
    made: Bucket = _make(BUCKETS, uri, options)
    return made


def secret(uri: str, options: Mapping[str, object] = _NONE) -> Secret:
    """A secret by its URI or ARN; as `source`."""
    made: Secret = _make(SECRETS, uri, options)
    return made


def kinds(group: str) -> dict[str, list[str]]:
    """Every kind of a group and who offers it. Imports none of them."""
    found = {kind: ["streamfn"] for kind in _BUILT_IN[group]}
    for kind, points in _installed(group).items():
        found.setdefault(kind, []).extend(_owner(point) for point in points)
    return dict(sorted(found.items()))


def scheme_of(uri: str) -> str:
    """The kind that a URI or an ARN names. Raises ConfigurationError where there is none."""
    scheme, colon, rest = uri.partition(":")
    if not colon or not scheme:
        raise ConfigurationError(f"{uri!r} is no URI", fix="write its kind first, such as local:flights")
    if scheme == "arn":
        service = rest.split(":")[1:2]
        return service[0] if service else scheme
    return scheme.lower()


def _make(group: str, uri: str, options: Mapping[str, object]) -> Any:
    kind = scheme_of(uri)
    built_in = _BUILT_IN[group].get(kind)
    if built_in is not None:
        # The common ones need no look at what is installed, which costs some ten milliseconds.
        module, _, name = built_in.partition(":")
        return getattr(import_module(module), name).from_uri(uri, options)
    point = _find(group, kind)
    try:
        offered = _offered(group, point)
        return offered.from_uri(uri, options)
    except ModuleNotFoundError as error:
        raise _missing(point, error) from error


def _offered(group: str, point: EntryPoint) -> Any:
    problem = "it has no from_uri()"
    try:
        offered = point.load()
    except AttributeError as error:
        problem = str(error)
    else:
        if hasattr(offered, "from_uri"):
            return offered
    raise ConfigurationError(
        f"what {_owner(point)} offers as {_ROLE[group]} of kind {point.name!r} is none: {problem}",
        field=_FIELD[group],
        fix=f"install another version of {_owner(point)}",
    )


def _find(group: str, kind: str) -> EntryPoint:
    points = _installed(group).get(kind, [])
    if len(points) == 1:
        return points[0]
    if points:
        owners = " and ".join(sorted(_owner(point) for point in points))
        raise ConfigurationError(
            f"more than one package offers {_ROLE[group]}s of kind {kind!r}: {owners}",
            field=_FIELD[group],
            fix="uninstall all but one of them",
        )
    known = list(kinds(group))
    near = get_close_matches(kind, known, n=1)
    raise UnknownKind(
        f"there is no {_ROLE[group]} of kind {kind!r}: known are {', '.join(known) or 'none'}",
        field=_FIELD[group],
        fix=f"did you mean {near[0]}:?" if near else f"install a package that offers {kind!r}",
    )


def _installed(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=group):
        # One package can be listed twice: by its wheel and by the checkout it is installed from.
        found.setdefault(point.name, {})[_owner(point), point.value] = point
    return {kind: list(points.values()) for kind, points in found.items()}


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def _missing(point: EntryPoint, error: ModuleNotFoundError) -> MissingExtra:
    module = (error.name or str(error)).partition(".")[0]
    owner = _owner(point)
    extras = point.dist.metadata.get_all("Provides-Extra") or [] if point.dist is not None else []
    # An extra has the name of the kind, or of the connector that offers several.
    connector = point.module.partition(".")[0].removeprefix(f"{owner}_")
    extra = next((name for name in (point.name, connector) if name in extras), None)
    wanted = module if extra is None else f"'{owner}[{extra}]'"
    return MissingExtra(f"{point.name!r} needs {module}: pip install {wanted}")
