"""microburst on loopback for tests: it stands before an AWS endpoint and lets requests fail as AWS would.

Rules say which requests, how, and how often; the first that matches a request counts. A proxy is always one
of our own: pip puts it once into an environment in the user's cache.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tests.servers.aws import AwsServer
from tests.servers.aws_process import found, request
from tests.servers.aws_ways import Way, server_python
from tests.servers.kafka_ways import HOST

Rule = Mapping[str, Any]

# It would read the models of all 400 services, for 5 s, to find one in the host name 127.0.0.1.
MAIN = """
from microburst.detection import host
host._endpoint_prefix_map = dict
from microburst.cli import main
raise SystemExit(main())
"""

REQUESTS = {"service", "operation", "region", "headers", "body"}
HOW_OFTEN = {"times", "probability", "sequence", "rate", "ttl_s"}
EFFECTS = {"error", "latency", "timeout_ms", "reset", "response", "request"}

THROTTLES: Mapping[str, tuple[str, int]] = {
    "dynamodb": ("ProvisionedThroughputExceededException", 400),
    "kinesis": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
    "sns": ("Throttled", 429),
    "sqs": ("RequestThrottled", 503),  # botocore would not try again after a 400
}


def find_microburst() -> Way | str:
    """The way to a proxy that injects faults, or the reason (a ``str``) why there is none."""
    python = server_python()
    return f"no microburst: {python}" if isinstance(python, str) else Way("process", program=python)


class Microburst(AwsServer):
    """A proxy before ``upstream``, with clients of its own: ``async with microburst.client("sqs")``."""

    name: ClassVar[str] = "microburst"
    address_env: ClassVar[str] = ""
    ready_path: ClassVar[str] = "/_microburst/health"

    def __init__(self, way: Way, upstream: str) -> None:
        super().__init__(way)
        self.upstream = upstream

    def command(self) -> list[str]:
        where = ["--upstream", self.upstream, "--host", HOST, "--port", str(self.port)]
        return [str(self.way.program), "-c", MAIN, *where, "--no-resign"]

    def rules(self, *rules: Rule) -> None:
        """From now on these rules and no other; see the functions below. Forgets what fired."""
        for rule in rules:
            if not EFFECTS & rule.keys() or rule.keys() - REQUESTS - HOW_OFTEN - EFFECTS:
                raise ValueError(f"not a rule, and the proxy would not say so: {rule}")
        self._control("POST", "rules", [])  # else one of before could still fire
        self._control("DELETE", "fired")
        self._control("POST", "rules", list(rules))

    def reset(self) -> None:
        """No rule any more, and nothing fired."""
        self.rules()

    def fired(self, operation: str | None = None) -> list[dict[str, Any]]:
        """What fired since the last ``rules``, the oldest first: ``operation``, ``action`` and more."""
        events: list[dict[str, Any]] = self._control("GET", "fired?limit=10000")
        return [event for event in events if operation in (None, event["operation"])]

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        return json.loads(request(f"{self.endpoint}/_microburst/{path}", method, sent))


@contextlib.contextmanager
def run_microburst(upstream: str) -> Iterator[Microburst]:
    """A running proxy before this endpoint, for a sync fixture; skips with the reason if there is none."""
    with Microburst(found(find_microburst()), upstream) as proxy:
        yield proxy


# --- Rules ---------------------------------------------------------------------------
# ``service`` and ``operation`` are AWS's words ("dynamodbstreams", "GetRecords"); no operation means all.
# ``more`` narrows a rule: times=2, probability=0.5, sequence={"fail": 3, "pass": 2}, or a JMESPath that must
# hold: body="contains(QueueUrl, 'orders')".


def error(service: str, operation: str | None, code: str, status: int | None = None, **more: Any) -> Rule:
    """The request does not reach the service, AWS's error comes back; without a status, the model's."""
    said = {"code": code} if status is None else {"code": code, "status": status}
    return _rule(service, operation, error=said, **more)


def throttle(service: str, operation: str | None = None, **more: Any) -> Rule:
    """Throttled, in the words of the service, so that AWS's own clients see it as that."""
    code, status = THROTTLES.get(service, ("ThrottlingException", 400))
    return error(service, operation, code, status, **more)


def unavailable(service: str, operation: str | None = None, **more: Any) -> Rule:
    """503: the service is away."""
    return error(service, operation, "ServiceUnavailable", 503, **more)


def reset(service: str, operation: str | None = None, **more: Any) -> Rule:
    """The connection breaks before the request reaches the service."""
    return _rule(service, operation, reset=True, **more)


def answer_lost(service: str, operation: str | None = None, **more: Any) -> Rule:
    """The service has done it, and the connection breaks before the answer: the client can't know."""
    return _rule(service, operation, response={"abort_bytes": 0}, **more)


def latency(service: str, operation: str | None, milliseconds: float, **more: Any) -> Rule:
    """The request reaches the service that much later."""
    return _rule(service, operation, latency=milliseconds, **more)


def _rule(service: str, operation: str | None, **effects: Any) -> Rule:
    return {"service": service, **({} if operation is None else {"operation": operation}), **effects}
