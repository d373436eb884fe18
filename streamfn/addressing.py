"""Where an ARN, or a name, leads: which server and with which credentials, by the endpoint map. No I/O.

Nothing here looks at `AWS_ENDPOINT_URL` and its kin: where the map says nothing, the SDK finds them itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamfn.config import Endpoint

_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:(?P<service>[a-z0-9-]+):(?P<region>[^:]*):(?P<account>[^:]*):(?P<rest>.+)"
)
_KAFKA: Final = "kafka://"
_LOCAL: Final = "local:"

CONNECTION: Final = ("client_id", "security_protocol", "sasl_", "ssl_")
"""How options of a `kafka:` URI begin that say how to reach the cluster, for reading and sending alike."""


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of an ARN that tell who serves it."""

    text: str
    service: str
    region: str
    account: str
    rest: str

    @property
    def name(self) -> str:
        """Of the queue, stream, table, cluster, topic, bucket, function, bus or secret."""
        return re.split(r"[:/]", self.path)[0]

    @property
    def path(self) -> str:
        """The name and what follows it: `CLUSTER/UUID` of Kafka, `TABLE/stream/TIME` of DynamoDB."""
        word, rest = re.split(r"[:/]", f"{self.rest}/", maxsplit=1)
        return rest.rstrip("/") if rest and word == _TYPED.get(self.service) else self.rest


_TYPED: Final = {
    "kinesis": "stream",
    "dynamodb": "table",
    "kafka": "cluster",
    "lambda": "function",
    "events": "event-bus",
    "secretsmanager": "secret",
}
"""Words before the name."""
_SERVICES: Final = {
    **{service: service for service in ("sqs", "kinesis", "dynamodb", "sns", "s3", "events")},
    "eventbridge": "events",
}
"""Of URIs that name something of AWS, by their schemes."""
_NAMED: Final = re.compile(r"(?:(?P<account>\d{12})/)?(?P<name>.+)")


def arn_of(uri: str) -> Arn | None:
    """The ARN that a URI is, without the options behind it; None: it is none."""
    place = uri.partition("?")[0]
    found = _ARN.fullmatch(place)
    return None if found is None else Arn(place, **found.groupdict())


def resolve_source(uri: str, endpoints: Iterable[Endpoint]) -> str:
    """The URI to read from, with all options. `sqs://NAME` and its like are found as ARNs are, and a `kafka:`
    URI by its brokers; others come back as they are.

    What is written behind an ARN goes first. It is left out where the embedded broker stands in, which has
    other options. Functions see the ARN as `eventSourceARN` in any case. The result may hold secrets. Raises
    ConfigurationError for an MSK cluster whose brokers the map does not say.
    """
    arn = arn_of(uri)
    if arn is None:
        return _by_name(uri, endpoints)
    seen = {"event_source_arn": arn.text}
    if arn.service == "kafka":
        return _topic_of(arn, uri, endpoints, seen)
    return _reached(uri, arn, endpoints, seen)


def resolve_destination(uri: str, endpoints: Iterable[Endpoint]) -> str:
    """The URI to send to, as `resolve_source`. The ARN of a function is `function:NAME[:QUALIFIER]`."""
    arn = arn_of(uri)
    if arn is None:
        return _by_name(uri, endpoints)
    if arn.service == "lambda":
        return arn.rest
    if arn.service == "kafka":
        return _topic_of(arn, uri, endpoints, {})
    return _reached(uri, arn, endpoints, {})


def found_for(arn: Arn, endpoints: Iterable[Endpoint]) -> Endpoint | None:
    """The entry that holds for an ARN, if there is one."""
    for endpoint in endpoints:
        if any(endpoint.matches(arn.service, arn.region, arn.account, name) for name in (arn.name, arn.path)):
            return endpoint
    return None


def connection_of(arn: Arn, endpoint: Endpoint | None) -> dict[str, str]:
    """Options of a connection to AWS, or to what stands in for it. They may hold secrets."""
    if endpoint is None:
        return {}
    options = endpoint.options()
    if endpoint.url is not None:
        options["endpoint_url"] = endpoint.url
    if not arn.region and endpoint.region is not None:
        options["region"] = endpoint.region
    return options


def resolve_name(service: str, name: str, endpoints: Iterable[Endpoint]) -> str:
    """The URI of a bucket, or of what else is known by its name alone, with the options to reach it."""
    arn = Arn(name, service, "", "", name)
    return with_options(f"{service}://{name}", connection_of(arn, found_for(arn, endpoints)))


def with_options(uri: str, options: Mapping[str, str]) -> str:
    """A URI with more options; those that it has go first."""
    if not options:
        return uri
    place, _, query = uri.partition("?")
    every = {**options, **dict(parse_qsl(query, keep_blank_values=True))}
    return f"{place}?{urlencode(every, safe=':/')}"


def without_access(uri: str) -> str:
    """A `kafka:` URI without what says how to reach the cluster."""
    place, _, query = uri.partition("?")
    own = dict(parse_qsl(query, keep_blank_values=True))
    return with_options(
        place, {name: value for name, value in own.items() if not name.startswith(CONNECTION)}
    )


def same_cluster(uri: str, other: str) -> bool:
    """Whether two URIs are topics of one Kafka cluster, by one of its brokers."""
    if not (uri.startswith(_KAFKA) and other.startswith(_KAFKA)):
        return False
    return not _brokers(uri).isdisjoint(_brokers(other))


def _brokers(uri: str) -> set[str]:
    return set(urlsplit(uri).netloc.split(","))


def _by_name(uri: str, endpoints: Iterable[Endpoint]) -> str:
    place, _, query = uri.partition("?")
    scheme, _, rest = place.partition(":")
    service = _SERVICES.get(scheme.lower())
    found = _NAMED.fullmatch(unquote(rest.strip("/")))
    if service is None or found is None:
        return _cluster_of(uri, endpoints)
    region = dict(parse_qsl(query)).get("region", "")
    return _reached(uri, Arn(place, service, region, found["account"] or "", found["name"]), endpoints, {})


def _reached(uri: str, arn: Arn, endpoints: Iterable[Endpoint], seen: Mapping[str, str]) -> str:
    """A URI with the options to reach what it names. `seen`: those for the embedded broker, in its stead."""
    endpoint = found_for(arn, endpoints)
    if endpoint is not None and endpoint.url == _LOCAL:
        return with_options(_embedded(arn), seen)
    return with_options(uri, connection_of(arn, endpoint))


def _embedded(arn: Arn) -> str:
    return f"{_LOCAL}queue/{arn.name}" if arn.service == "sqs" else f"{_LOCAL}{arn.name}"


def _topic_of(arn: Arn, uri: str, endpoints: Iterable[Endpoint], more: Mapping[str, str]) -> str:
    """A topic of an MSK cluster: its ARN with `?topic=NAME`."""
    own = dict(parse_qsl(uri.partition("?")[2], keep_blank_values=True))
    topic = own.pop("topic", "")
    if not topic:
        raise ConfigurationError(
            f"{arn.text} names a cluster and no topic", field="Topics", fix="name one topic"
        )
    endpoint = found_for(arn, (one for one in endpoints if one.url is not None))
    if endpoint is None:
        raise ConfigurationError(
            f"the brokers of the MSK cluster {arn.name} are not in its ARN, and no endpoint says them",
            field="EventSourceArn",
            fix=f"add {{service: kafka, name: {arn.name}, url: 'HOST:9092'}} to endpoints, "
            "or give SelfManagedEventSource too",
        )
    return with_options(f"{_KAFKA}{endpoint.url}/{topic}", {**endpoint.options(), **more, **own})


def _cluster_of(uri: str, endpoints: Iterable[Endpoint]) -> str:
    """A `kafka:` URI whose brokers an entry names: as that entry has them."""
    if not uri.startswith(_KAFKA):
        return uri
    parts = urlsplit(uri)
    for endpoint in endpoints:
        if endpoint.name is None:
            continue  # else the entry of an MSK cluster would lead all others astray
        if any(endpoint.matches("kafka", "", "", broker) for broker in parts.netloc.split(",")):
            place = parts._replace(netloc=endpoint.url or parts.netloc).geturl()
            return with_options(place, endpoint.options())
    return uri
