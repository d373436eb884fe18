"""How a queue is reached: credentials, regions, profiles, roles, addresses, proxies; and what is said where
one is wrong. That keys are wrong cannot be seen here: no emulator looks at them.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from aiobotocore.session import get_session

from streamfn.errors import ConfigurationError, SourceError
from streamfn_aws.api import Api
from streamfn_aws.options import Connection
from streamfn_aws.sqs import SqsQueue
from tests.aws.others import relay, sts
from tests.aws.queues import SqsEnd, queue_end
from tests.cli.conftest import command, environment
from tests.servers.aws import KEY, REGION, SECRET, Ministack
from tests.servers.kafka_ways import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

ROLE = "arn:aws:iam::000000000000:role/reader"
BOTH = pytest.mark.parametrize("transport", ["lean", "botocore"])
KEYS = {"access_key_id": KEY, "secret_access_key": SECRET}


@pytest.fixture
async def queue(aws: Ministack) -> AsyncIterator[SqsEnd]:
    async with queue_end(aws) as end:
        yield await end.create()


@pytest.fixture
def hanging() -> Iterator[str]:
    """An address where connections are taken and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    """An address where nobody is."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(made))
    what = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    subprocess.run([openssl, *what, *subject, *files], check=True, capture_output=True)
    return made, key


def uri(queue: SqsEnd, **options: Any) -> str:
    """The queue, by an address with keys and region unless told otherwise; None leaves one out."""
    given = {
        "endpoint_url": queue.server.endpoint,
        "region": REGION,
        **KEYS,
        "wait_time_seconds": 1,
        **options,
    }
    return f"sqs://{queue.name}?" + urlencode({name: it for name, it in given.items() if it is not None})


NO_KEYS: dict[str, None] = dict.fromkeys(KEYS)


async def reads(place: str, queue: SqsEnd) -> None:
    """Proves that the queue is found, and that a message comes through and can be deleted."""
    source = SqsQueue.from_uri(place, {})
    await source.check()
    await queue.put(["hello"])
    async with source.open() as poller:
        with anyio.fail_after(20):
            records = await poller.read(10, 5.0)
        assert [record.value for record in records] == [b"hello"]
        await poller.ack(records)
    await queue.empty()


async def refused(place: str) -> ConfigurationError:
    """What a check says; reading says it too."""
    with pytest.raises(ConfigurationError) as caught:
        await SqsQueue.from_uri(place, {}).check()
    assert SECRET not in str(caught.value)
    assert caught.value.fix
    with pytest.raises((ConfigurationError, SourceError)) as other:
        async with SqsQueue.from_uri(place, {}).open():
            pass
    assert not getattr(other.value, "retryable", False)
    return caught.value


# ------------------------------------------------------------------------------------ who, and in what region


async def test_no_credentials(queue: SqsEnd) -> None:
    error = await refused(uri(queue, **NO_KEYS))
    assert (error.field, error.problem) == ("access_key_id", "there are no credentials for AWS")


@BOTH
async def test_credentials_of_the_environment(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    await reads(uri(queue, **NO_KEYS, transport=transport), queue)


async def test_no_region(queue: SqsEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    place = uri(queue, region=None)
    error = await refused(place)
    assert (error.field, error.problem) == ("region", "no region is given")
    # What the fix says helps.
    assert error.fix.endswith("or set AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    await reads(place, queue)


async def test_the_region_of_an_arn(queue: SqsEnd) -> None:
    query = uri(queue, region=None).partition("?")[2]
    await reads(f"{queue.arn}?{query}", queue)


async def test_a_profile_that_is_not_there(queue: SqsEnd) -> None:
    error = await refused(uri(queue, **NO_KEYS, profile="nobody"))
    assert (error.field, error.fix) == ("profile", "check ~/.aws/config, or remove it")
    assert "nobody" in error.problem


@BOTH
async def test_a_profile_with_region_and_keys(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str
) -> None:
    config = f"region = {REGION}\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "config").write_text(f"[profile work]\n{config}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    await reads(uri(queue, **NO_KEYS, region=None, profile="work", transport=transport), queue)


@BOTH
async def test_a_role(queue: SqsEnd, aws: Ministack, transport: str) -> None:
    role = {"role_arn": ROLE, "sts_endpoint_url": aws.endpoint, "external_id": "of ours"}
    await reads(uri(queue, **role, transport=transport), queue)


@BOTH
async def test_a_role_is_asked_for_again_before_it_ends(queue: SqsEnd, transport: str) -> None:
    async with sts() as service:
        role = {"role_arn": ROLE, "sts_endpoint_url": service.endpoint, "role_session_name": "me"}
        await reads(uri(queue, **role, transport=transport), queue)
    # What is given ends in five minutes, so it is renewed with each call.
    assert len(service.asked) > 2
    assert {(asked["RoleArn"], asked["RoleSessionName"]) for asked in service.asked} == {(ROLE, "me")}


async def test_a_role_that_is_refused(queue: SqsEnd) -> None:
    async with sts(refuses=True) as service:
        error = await refused(uri(queue, role_arn=ROLE, sts_endpoint_url=service.endpoint))
    assert error.field == "Source"
    assert "AssumeRole: AccessDenied: not you" in error.problem
    assert error.fix == "allow the action AssumeRole in the policy of the user or role"


@BOTH
async def test_a_role_that_is_taken_away_while_reading(queue: SqsEnd, transport: str) -> None:
    """The next poll finds it, and only a person can mend it."""
    async with sts() as service:
        role = {"role_arn": ROLE, "sts_endpoint_url": service.endpoint}
        async with SqsQueue.from_uri(uri(queue, **role, transport=transport), {}).open() as poller:
            assert list(await poller.read(10, 0.0)) == []
            service.refuses = True
            with pytest.raises(SourceError, match="AssumeRole: AccessDenied") as caught:
                await poller.read(10, 0.0)
    assert not caught.value.retryable


async def test_a_role_without_anybody_to_take_it_on(queue: SqsEnd, aws: Ministack) -> None:
    error = await refused(uri(queue, **NO_KEYS, role_arn=ROLE, sts_endpoint_url=aws.endpoint))
    assert error.field == "access_key_id"


async def test_nobody_where_the_role_is_asked_for(queue: SqsEnd, refusing: str) -> None:
    place = uri(queue, role_arn=ROLE, sts_endpoint_url=refusing)
    with pytest.raises(SourceError, match=re.escape(refusing)) as caught:
        await SqsQueue.from_uri(place, {}).check()
    assert caught.value.retryable


# ---------------------------------------------------------------------------------------------------- where


@BOTH
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"])
async def test_an_endpoint_of_the_environment(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, name: str, transport: str
) -> None:
    monkeypatch.setenv(name, queue.server.endpoint)
    await reads(uri(queue, endpoint_url=None, transport=transport), queue)


async def test_an_endpoint_that_refuses(queue: SqsEnd, refusing: str) -> None:
    with pytest.raises(SourceError, match=f"^sqs://{queue.name}: {refusing}") as caught:
        await SqsQueue.from_uri(uri(queue, endpoint_url=refusing), {}).check()
    assert caught.value.retryable


@BOTH
async def test_an_endpoint_that_hangs(hanging: str, transport: str) -> None:
    connection = Connection.of({"endpoint_url": hanging, "region": REGION, "transport": transport, **KEYS})
    async with Api.shared(connection, "sqs") as api:
        for operation, asked in (
            ("GetQueueUrl", {"QueueName": "q"}),
            ("ReceiveMessage", {"QueueUrl": f"{hanging}/000000000000/q"}),
        ):
            with pytest.raises(TimeoutError, match="no answer within 0.1 s"):
                await api.call(operation, asked, patience=0.1)


@BOTH
async def test_tls_with_a_certificate_of_our_own(
    queue: SqsEnd, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with relay(queue.server.endpoint, context) as tls:
        place = uri(queue, endpoint_url=tls.endpoint, transport=transport)
        with pytest.raises(SourceError, match="give its certificate as ca_bundle"):
            await SqsQueue.from_uri(place, {}).check()
        await reads(f"{place}&ca_bundle={certificate[0]}", queue)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        await reads(place, queue)
    assert b"AmazonSQS.ReceiveMessage" in tls.asked


async def test_a_profile_that_names_a_program_that_is_not_there(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile work]\ncredential_process = /nowhere/program\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    error = await refused(uri(queue, **NO_KEYS, profile="work"))
    assert error.field == "profile"
    assert "/nowhere/program" in error.problem


async def test_a_bundle_that_is_not_there(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", f"{tmp_path}/ca.pem")
    error = await refused(uri(queue, endpoint_url="https://127.0.0.1:1"))
    assert (error.field, error.problem) == ("ca_bundle", f"there are no certificates in {tmp_path}/ca.pem")


async def test_a_bundle_without_certificates(queue: SqsEnd, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    error = await refused(uri(queue, endpoint_url="https://127.0.0.1:1", ca_bundle=str(tmp_path / "ca.pem")))
    assert (error.field, error.problem) == ("ca_bundle", f"there are no certificates in {tmp_path}/ca.pem")


@BOTH
async def test_a_proxy_of_the_environment(
    queue: SqsEnd, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    async with relay(queue.server.endpoint) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        await reads(uri(queue, transport=transport), queue)
        for operation in (b"GetQueueUrl", b"ReceiveMessage", b"DeleteMessageBatch"):
            assert b"AmazonSQS." + operation in proxy.asked
        proxy.asked.clear()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await reads(uri(queue, transport=transport), queue)
        assert proxy.asked == []


# ----------------------------------------------------------------------------------------------------- what


@BOTH
async def test_a_queue_that_does_not_exist(queue: SqsEnd, transport: str) -> None:
    place = uri(queue, transport=transport).replace(queue.name, "nowhere")
    error = await refused(place)
    assert error.field == "Source"
    assert error.problem.startswith("sqs://nowhere: GetQueueUrl: ")
    assert error.fix == "create it, or check name, region, account and endpoint_url"


async def test_a_queue_that_is_deleted_while_reading(queue: SqsEnd) -> None:
    async with SqsQueue.from_uri(uri(queue), {}).open() as poller:
        assert list(await poller.read(10, 0.0)) == []
        await queue.sqs.delete_queue(QueueUrl=queue.url)
        with pytest.raises(SourceError, match="Fix: create it") as caught:
            await poller.read(10, 0.0)
    assert not caught.value.retryable


@BOTH
async def test_a_queue_of_another_account(queue: SqsEnd, aws: Ministack, transport: str) -> None:
    """Its name alone finds nothing. Here an account is known by its key."""
    other, name = "111122223333", aws.unique("theirs")
    where = {"region_name": REGION, "endpoint_url": aws.endpoint}
    theirs = get_session().create_client(
        "sqs", aws_access_key_id=other, aws_secret_access_key=SECRET, **where
    )
    async with theirs as client:
        url = (await client.create_queue(QueueName=name))["QueueUrl"]
        await client.send_message(QueueUrl=url, MessageBody="hello")
    place = uri(queue, transport=transport)
    await refused(place.replace(queue.name, name))
    source = SqsQueue.from_uri(place.replace(queue.name, f"{other}/{name}"), {})
    await source.check()
    async with source.open() as poller:
        (record,) = await poller.read(10, 5.0)
        (shown,) = poller.shape.to_event([record])["Records"]
        assert (shown["body"], shown["eventSourceARN"]) == ("hello", f"arn:aws:sqs:{REGION}:{other}:{name}")
        await poller.ack([record])


def test_what_streamfn_check_says_of_each(
    aws: Ministack,
    refusing: str,
    hanging: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n")
    (tmp_path / "ca.pem").write_text("nothing")
    known = {"endpoint_url": aws.endpoint, "region": REGION, **KEYS}
    ways: dict[str, dict[str, Any]] = {
        "missing": {},
        "nobody": NO_KEYS,
        "nowhere": {"region": None},
        "profile": {**NO_KEYS, "profile": "nope"},
        "halfprofile": {**NO_KEYS, "region": None, "profile": "work"},
        "refusing": {"endpoint_url": refusing},
        "hanging": {"endpoint_url": hanging},
        "strange": {"region": "Frankfurt"},
        "half": {"secret_access_key": None},
        "bundle": {"endpoint_url": "https://127.0.0.1:1", "ca_bundle": str(tmp_path / "ca.pem")},
        "typo": {"wait_time_second": 1},
    }
    places = {
        name: f"sqs://{name}?" + urlencode({k: v for k, v in {**known, **way}.items() if v is not None})
        for name, way in ways.items()
    }
    (tmp_path / "app.py").write_text(
        "import streamfn\n"
        "app = streamfn.App(name='check')\n"
        "@app.function\n"
        "def f(event, context): ...\n"
        f"for name, place in {places!r}.items():\n"
        "    app.event_source_mapping(f, place, name=name)\n"
    )
    done = subprocess.run(
        command("check", "app:app", "--json", "--timeout", "6"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert SECRET not in done.stdout + done.stderr
    found = {finding["mapping"]: finding for finding in json.loads(done.stdout)}
    assert {name: (finding["ok"], finding["field"]) for name, finding in found.items()} == {
        "missing": (False, "Source"),
        "nobody": (False, "access_key_id"),
        "nowhere": (False, "region"),
        "profile": (False, "profile"),
        "halfprofile": (False, "access_key_id"),
        "refusing": (False, "Source"),
        "hanging": (False, "Source"),
        "strange": (False, "region"),
        "half": (False, "secret_access_key"),
        "bundle": (False, "ca_bundle"),
        "typo": (False, "wait_time_second"),
    }
    assert all(finding["fix"] for finding in found.values())
    assert {finding["where"].partition(":")[0] for finding in found.values()} == {"app.py"}
    assert found["missing"]["name"] == "sqs://missing"
    assert found["missing"]["fix"] == "create it, or check name, region, account and endpoint_url"
    assert found["hanging"]["problem"] == "no answer within 6 s"
    assert refusing in found["refusing"]["problem"]
    assert found["refusing"]["fix"] == "see that it runs, and that this machine may reach it"
    assert found["typo"]["fix"] == "did you mean wait_time_seconds?"
