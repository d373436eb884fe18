"""LambdaRuntime passes the suite of runtimes, on a server that was not written here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from streamfn.core.outcomes import Cause, Failed, Throttled
from streamfn.errors import ConfigurationError
from streamfn.ports import Deployment, Runtime
from streamfn.testing.conformance import RuntimeFeatures, RuntimeHarness, RuntimeSuite, function
from streamfn.testing.conformance.runtimes import request, said
from streamfn_aws import LambdaRuntime
from tests.http.receiver import answer, receiving
from tests.servers.aws import KEY, REGION, SECRET, AwsServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.timeout(120),
    # aiohttp says so of what aiobotocore hands it above 1 MiB; outside of tests nobody hears it.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

EMULATED = "the emulator of AWS does not pass it on"
AWSS = "AWS has its own environments"


def runtime(endpoint: str, name: str, **options: Any) -> LambdaRuntime:
    given = {"access_key_id": KEY, "secret_access_key": SECRET, "region": REGION, "timeout": 1.0}
    return LambdaRuntime(name, endpoint_url=endpoint, **{**given, **options})


class Functions(RuntimeHarness):
    def __init__(self, aws: AwsServer) -> None:
        self.aws = aws
        self.name = aws.unique("f")

    async def create(self) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("function.py", Path(str(function.__file__)).read_text())
        async with self.aws.client("lambda") as client:
            await client.create_function(
                FunctionName=self.name,
                Runtime="python3.11",
                Role="arn:aws:iam::000000000000:role/r",
                Handler="function.handler",
                Code={"ZipFile": code.getvalue()},
                Timeout=1,
            )

    def runtime(self) -> Runtime:
        return runtime(self.aws.endpoint, self.name)

    def unusable(self) -> Runtime:
        return runtime(self.aws.endpoint, "nobody")

    async def spoil(self, environment: Any) -> None:
        async with self.aws.client("lambda") as client:
            await client.delete_function(FunctionName=self.name)


@pytest.fixture
async def functions(aws: AwsServer) -> Functions:
    made = Functions(aws)
    await made.create()
    return made


class TestLambda(RuntimeSuite):
    features = RuntimeFeatures(
        patience=20,
        ending=10,
        request_ids=EMULATED,
        arns=EMULATED,
        traces=EMULATED,
        client_contexts=EMULATED,
        deadlines=EMULATED,
        dying="the emulator of AWS calls all alike",
        large="the emulator of AWS has no limit",
        apart=AWSS,
        resetting=AWSS,
        init=AWSS,
        slow_init=AWSS,
        cutting="nothing can end it there",
    )

    @pytest.fixture
    def harness(self, functions: Functions) -> RuntimeHarness:
        return functions


async def test_a_throttle_comes_with_its_reason(functions: Functions) -> None:
    async with functions.aws.client("lambda") as client:
        await client.put_function_concurrency(FunctionName=functions.name, ReservedConcurrentExecutions=0)
    lambda_ = functions.runtime()
    async with lambda_.environment() as environment:
        outcome = (await environment.invoke(request())).outcome
    await lambda_.close()
    assert isinstance(outcome, Throttled)
    assert outcome.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert outcome.retry_after > 0


async def test_a_qualifier_asks_for_a_version(functions: Functions) -> None:
    async with functions.aws.client("lambda") as client:
        version = (await client.publish_version(FunctionName=functions.name))["Version"]
    for lambda_ in (
        runtime(functions.aws.endpoint, functions.name, qualifier=version),
        runtime(functions.aws.endpoint, f"{functions.name}:{version}"),
    ):
        await lambda_.check()
        async with lambda_.environment() as environment:
            assert said(await environment.invoke(request(value=1)))["value"] == 1
        await lambda_.close()


async def test_the_request_is_as_lambda_wants_it() -> None:
    async with receiving(answer(200, b"1", "X-Amz-Log-Result: bG9n")) as receiver:
        lambda_ = runtime(receiver.url.removesuffix("/hook"), "f", qualifier="live")
        async with lambda_.environment() as environment:
            answered = await environment.invoke(request())
        await lambda_.close()
    (got,) = receiver.got
    assert got.line.split(" ")[1] == "/2015-03-31/functions/f/invocations?Qualifier=live"
    assert got.one("x-amzn-trace-id") == request().trace
    assert got.one("x-amz-log-type") == "Tail"
    assert got.one("x-amz-client-context") == "eyJjdXN0b20iOiB7ImtleSI6ICJ2YWx1ZSJ9fQ=="
    assert got.body == request().payload
    assert (answered.payload, answered.log) == (b"1", b"log")


def refusal(status: int, code: str, *headers: str) -> bytes:
    body = b'{"message": "no", "Reason": "CallerRateLimitExceeded"}'
    return answer(status, body, f"X-Amzn-ErrorType: {code}", *headers)


async def test_what_may_have_run_is_not_made_again() -> None:
    async def breaks(got: object, writer: Any) -> None:
        writer.transport.abort()

    async def breaks_off(got: object, writer: Any) -> None:
        writer.write(answer(200, b"123456789")[:-4])
        writer.close()

    cases: list[tuple[Any, str, Cause]] = [
        (refusal(500, "ServiceException"), "ServiceException", Cause.CRASH),
        (breaks, "Lambda.ConnectionLost", Cause.CRASH),
        (breaks_off, "Lambda.ConnectionLost", Cause.CRASH),
        (refusal(413, "RequestTooLargeException"), "RequestTooLargeException", Cause.RUNTIME),
        (answer(200, b"no json", "X-Amz-Function-Error: Unhandled"), "Unhandled", Cause.FUNCTION),
    ]
    async with receiving() as receiver:
        lambda_ = runtime(receiver.url.removesuffix("/hook"), "f")
        async with lambda_.environment() as environment:
            for number, (says, type_, cause) in enumerate(cases, 1):
                receiver.usual = says
                outcome = (await environment.invoke(request())).outcome
                assert isinstance(outcome, Failed)
                assert (outcome.type, outcome.cause) == (type_, cause)
                assert len(receiver.got) == number
        await lambda_.close()


async def test_what_did_not_run_is_told_apart() -> None:
    async with receiving() as receiver:
        lambda_ = runtime(receiver.url.removesuffix("/hook"), "f")
        async with lambda_.environment() as environment:
            receiver.usual = refusal(429, "TooManyRequestsException", "Retry-After: 7")
            answered = await environment.invoke(request())
            assert answered.outcome == Throttled(7.0, "CallerRateLimitExceeded")
            for status, code in (
                (404, "ResourceNotFoundException"),
                (403, "AccessDeniedException"),
                (409, "ResourceConflictException"),
                (502, "KMSDisabledException"),
            ):
                receiver.usual = refusal(status, code)
                with pytest.raises(OSError, match=code):
                    await environment.invoke(request())
        await lambda_.close()


async def test_a_role_that_is_not_to_be_had_is_no_failure_of_the_function() -> None:
    async with receiving() as receiver:
        role = {"role_arn": "arn:aws:iam::123456789012:role/r", "sts_endpoint_url": receiver.url[:-5]}
        lambda_ = runtime(receiver.url[:-5], "f", **role)
        receiver.usual = answer(
            500, b"<ErrorResponse><Error><Code>InternalFailure</Code></Error></ErrorResponse>"
        )
        with pytest.raises(OSError, match="AssumeRole"):
            async with lambda_.environment() as environment:
                await environment.invoke(request())
        await lambda_.close()
        assert not [got for got in receiver.got if "functions" in got.line]


async def test_nobody_there_raises(own_port: str) -> None:
    lambda_ = runtime(own_port, "f")
    async with lambda_.environment() as environment:
        with pytest.raises(OSError, match="127.0.0.1"):
            await environment.invoke(request())
    await lambda_.close()


@pytest.fixture
async def own_port() -> str:
    async with receiving() as receiver:
        return receiver.url.removesuffix("/hook")


def test_options_of_a_uri() -> None:
    deployment = Deployment("f", "lambda:f", timeout=20, maximum_concurrency=5)
    made = LambdaRuntime.from_uri("lambda:f?region=eu-west-1&qualifier=live", {"deployment": deployment})
    assert made.name == "lambda:f"
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:g:live"
    assert LambdaRuntime.from_uri(f"{arn}?timeout=60", {}).name == "lambda:g:live"
    queue = "arn:aws:sqs:eu-west-1:123456789012:q"
    for uri in ("lambda:f g", "lambda:", queue, "lambda:f?timeout=0", "lambda:f?x=1"):
        with pytest.raises(ConfigurationError):
            LambdaRuntime.from_uri(uri, {})
