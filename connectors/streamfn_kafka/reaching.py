"""Can a topic be reached, and if not, why?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]
from aiokafka.client import create_conn  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, for_code  # type: ignore[import-untyped]
from anyio import to_thread

from streamfn.errors import ConfigurationError, SourceError
from streamfn_kafka.contact import ration_client_logs, started

if TYPE_CHECKING:
    from streamfn_kafka.options import Connection

_PATIENCE = 5.0
_UNKNOWN_TOPIC = 3


async def check_topic(connection: Connection, topic: str, name: str, role: str) -> None:
    """Raises SourceError where no broker answers, ConfigurationError where there is no such topic."""
    ration_client_logs()
    options = await to_thread.run_sync(connection.client_options)
    admin = AIOKafkaAdminClient(request_timeout_ms=int(_PATIENCE * 1000), **options)
    try:
        async with asyncio.timeout(2 * _PATIENCE):
            try:
                await started(admin.start())
            except (KafkaError, OSError) as error:
                raise SourceError(f"{name}: {await explain(connection, error)}") from error
            try:
                (found,) = await admin.describe_topics([topic])
            except KafkaError as error:
                raise SourceError(f"{name}: {type(error).__name__}: {error}") from error
    except TimeoutError as error:
        raise SourceError(f"{name}: no answer within {2 * _PATIENCE:g} s") from error
    finally:
        await admin.close()
    code = found["error_code"]
    if code == _UNKNOWN_TOPIC:
        raise ConfigurationError(
            f"{name}: there is no topic {topic}",
            field=role,
            fix=f"create it: kafka-topics.sh --bootstrap-server {connection.bootstrap_servers[0]} "
            f"--create --topic {topic}",
        )
    if code:
        raise SourceError(f"{name}: {for_code(code).__name__}", retryable=for_code(code).retriable)


async def explain(connection: Connection, error: Exception) -> str:
    """Why no broker can be reached. The client itself only says that none can."""
    reasons = []
    options = await to_thread.run_sync(connection.client_options)
    for server in options.pop("bootstrap_servers"):
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(_PATIENCE):
                opened = await create_conn(
                    host.strip("[]"), int(port), request_timeout_ms=int(_PATIENCE * 1000), **options
                )
        except TimeoutError:
            reasons.append(f"{server}: no answer within {_PATIENCE:g} s{_hint(connection)}")
        except (OSError, KafkaError) as cause:
            reasons.append(f"{server}: {type(cause).__name__}: {cause}{_hint(connection, cause)}")
        else:
            opened.close()
    # A connection that was made and says nothing, or is closed at the first word.
    return "; ".join(reasons) or f"{error}{_hint(connection)}"


def _hint(connection: Connection, cause: Exception | None = None) -> str:
    text = f"{type(cause).__name__} {cause}"
    if "CERTIFICATE_VERIFY" in text:
        return ". Fix: give the cluster's certificates as ssl_cafile"
    if "Authentication" in text or "SaslHandshake" in text or "UnsupportedSasl" in text:
        return ". Fix: check sasl_mechanism, sasl_username and sasl_password"
    if isinstance(cause, ConnectionRefusedError):
        return ". Fix: check host and port, and whether the broker runs"
    if connection.security_protocol == "PLAINTEXT":
        return ". The broker may want TLS or SASL on this port"
    return ""
