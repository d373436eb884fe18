"""Sources and destinations of an app as a template names them, where AWS has such a thing. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_NAME: Final = {
    "sqs": "sqs",
    "kinesis": "kinesis",
    "sns": "sns",
    "events": "events",
    "eventbridge": "events",
}
_BEFORE: Final = {"kinesis": "stream/", "events": "event-bus/"}
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


def source_options(source: Any, group: str | None) -> dict[str, Any] | None:
    """The properties of a mapping that say what it reads; None: AWS has no such source."""
    if not isinstance(source, str):
        return None
    place, _, query = source.partition("?")
    options = dict(parse_qsl(query))
    if place.startswith("arn:aws"):
        is_kafka = place.split(":")[2] == "kafka"
        topic = {"Topics": [options["topic"]]} if is_kafka and "topic" in options else {}
        return {"EventSourceArn": place} | topic | _group("AmazonManagedKafka", group if is_kafka else None)
    if place.startswith("kafka://"):
        parts = urlsplit(place)
        servers = parts.netloc.rpartition("@")[2].split(",")
        return {
            "SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": servers}},
            "Topics": [parts.path.strip("/")],
        } | _group("SelfManagedKafka", group)
    scheme = place.partition(":")[0]
    arn = _arn(place) if scheme in ("sqs", "kinesis") else None
    return None if arn is None else {"EventSourceArn": arn}


def lost_options(source: Any) -> list[str]:
    """Options of a source that a template has no words for."""
    query = source.partition("?")[2] if isinstance(source, str) else ""
    return [name for name, _ in parse_qsl(query) if name != "topic"]


def consumer_of(source: Any) -> str | None:
    """The consumer through which a stream of Kinesis is read."""
    place, _, query = source.partition("?") if isinstance(source, str) else ("", "", "")
    is_stream = place.startswith("kinesis:") or ":kinesis:" in place
    return dict(parse_qsl(query)).get("consumer") if is_stream else None


def topic_beside(target: Any, source: Any) -> str | None:
    """`kafka://TOPIC`, as AWS writes a destination on the cluster of the source; None: it is none."""
    if not isinstance(target, str) or not isinstance(source, str):
        return None
    place, _, query = target.partition("?")
    if place.startswith("kafka://"):
        there, here = urlsplit(place), urlsplit(source)
        return f"kafka://{there.path.strip('/')}" if there.netloc == here.netloc else None
    topic = dict(parse_qsl(query)).get("topic")
    return f"kafka://{topic}" if topic and place == source.partition("?")[0] else None


def destination(target: Any, logical: Mapping[str, str]) -> Any:
    """A destination as a template names it; None: AWS has no such thing. `logical`: functions' names."""
    if not isinstance(target, str):
        return None
    place = target.partition("?")[0]
    if place.startswith(("arn:aws", "kafka://")):
        return place
    if place.startswith("function:"):
        name, _, qualifier = place.removeprefix("function:").partition(":")
        if name not in logical:
            return None
        arn = f"${{{logical[name]}.Arn}}"
        return {"Fn::Sub": f"{arn}:{qualifier}"} if qualifier else {"Fn::GetAtt": [logical[name], "Arn"]}
    if place.startswith("s3://"):
        return {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{place.removeprefix('s3://').partition('/')[0]}"}
    return _arn(place)


def service(end: Any) -> str:
    """The service of AWS behind what `source_options` or `destination` gave; empty: none."""
    text = end.get("Fn::Sub", "") if isinstance(end, dict) else str(end)
    parts = text.split(":")
    return next((word for word in parts if word in ("sqs", "kinesis", "dynamodb", "kafka", "sns", "s3")), "")


def _arn(place: str) -> dict[str, str] | None:
    """The ARN of `sqs://NAME` and the like, in whatever account the template is deployed to."""
    scheme, _, name = place.partition("://")
    if scheme not in _BY_NAME or not _NAME.fullmatch(name):
        return None
    own = _BY_NAME[scheme]
    where = f"${{AWS::Partition}}:{own}:${{AWS::Region}}:${{AWS::AccountId}}"
    return {"Fn::Sub": f"arn:{where}:{_BEFORE.get(own, '')}{name}"}


def _group(kind: str, group: str | None) -> dict[str, Any]:
    return {f"{kind}EventSourceConfig": {"ConsumerGroupId": group}} if group is not None else {}
