"""Functions in Node.js, under streamfn's own bootstrap."""

from __future__ import annotations

import re
import shutil

import anyio
import orjson
import pytest
from anyio import create_task_group

from streamfn.core.outcomes import Cause, Failed, Succeeded
from tests.gates import gate
from tests.runtimes.process.environments import ARN, Made, said
from tests.runtimes.process.streaming import Asked

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js here"),
]


NODE = "nodejs20.x"


async def test_an_es_module_is_called_with_event_and_context(made: Made) -> None:
    made.write(
        "app/index.mjs",
        """
        export const handler = async (event, context) => [
          event, context.awsRequestId, context.invokedFunctionArn, context.functionName,
          context.functionVersion, context.memoryLimitInMB, context.clientContext,
          context.getRemainingTimeInMillis() > 0,
          process.env.AWS_EXECUTION_ENV, process.env._X_AMZN_TRACE_ID, process.cwd(),
        ];
        """,
    )
    async with made.runtime(runtime=NODE, handler="app/index.handler").environment() as environment:
        answer = await environment.invoke(made.request({"a": "ü"}, client_context='{"k":1}', trace="Root=1"))
    assert answer.outcome == Succeeded()
    assert said(answer) == [
        *({"a": "ü"}, "id-1", ARN, "orders", "$LATEST", "128", {"k": 1}, True),
        *("AWS_Lambda_nodejs20.x", "Root=1", "/var/task"),
    ]


FUNCTION = """
    const calls = [];
    exports.deep = { er: { handler: async (event) => "deep" } };
    exports.handler = (event, context, callback) => {
      calls.push(event);
      switch (event) {
        case "callback": return void setTimeout(() => callback(null, calls), 10);
        case "waits":
          setTimeout(() => calls.push("waited"), 100);
          return void callback(null, calls);
        case "hurries":
          context.callbackWaitsForEmptyEventLoop = false;
          setTimeout(() => calls.push("late"), 10_000);
          return void callback(null, "at once");
        case "error": return void callback(new TypeError("wrong"));
        case "text": return void callback("just text");
        case "throw": throw new RangeError("thrown");
        case "reject": return Promise.reject(new RangeError("rejected"));
        case "never": return new Promise(() => {});
        case "done": return void context.succeed("done");
        case "circular": { const a = {}; a.a = a; return Promise.resolve(a); }
        case "unhandled":
          Promise.reject(new Error("left alone"));
          return new Promise(() => setTimeout(() => {}, 5000));
        case "uncaught": setTimeout(() => { throw new Error("not caught"); }, 1); return;
        case "large": return Promise.resolve("x".repeat(7 * 1024 * 1024));
        case "log": console.log("said %s", "this"); console.error("two\\nlines"); return Promise.resolve();
      }
    };
"""


async def test_callbacks_and_promises(made: Made) -> None:
    made.write("index.js", FUNCTION)
    async with made.runtime(runtime=NODE).environment() as environment:

        async def call(event: str) -> object:
            answer = await environment.invoke(made.request(event))
            assert answer.outcome == Succeeded()
            return said(answer)

        assert await call("callback") == ["callback"]
        assert await call("waits") == ["callback", "waits", "waited"]
        assert await call("done") == "done"
        assert await call("never") is None
        assert await call("nothing") is None
        assert await call("hurries") == "at once"


async def test_errors_are_answered_as_lambda_does(made: Made) -> None:
    made.write("index.js", FUNCTION)
    async with made.runtime(runtime=NODE).environment() as environment:
        for event, error_type, message in [
            ("error", "TypeError", "wrong"),
            ("text", "string", "just text"),
            ("throw", "RangeError", "thrown"),
            ("reject", "RangeError", "rejected"),
        ]:
            answer = await environment.invoke(made.request(event))
            error = said(answer)
            assert (error["errorType"], error["errorMessage"]) == (error_type, message)
            assert error["trace"][0].endswith(message)
            assert isinstance(answer.outcome, Failed)
            assert answer.outcome.cause is Cause.FUNCTION
            assert answer.outcome.stack == tuple(error["trace"])
        assert environment.ready
        answer = await environment.invoke(made.request("circular"))
        assert said(answer)["errorType"] == "Runtime.MarshalError"


async def test_an_error_that_nobody_catches_ends_the_process(made: Made) -> None:
    made.write("index.js", FUNCTION)
    async with made.runtime(runtime=NODE).environment() as environment:
        for event, error_type in [("unhandled", "Runtime.UnhandledPromiseRejection"), ("uncaught", "Error")]:
            error = said(await environment.invoke(made.request(event)))
            assert error["errorType"] == error_type
            # What it knew is gone.
            assert said(await environment.invoke(made.request("callback"))) == ["callback"]


async def test_an_answer_that_is_too_large(made: Made) -> None:
    made.write("index.js", FUNCTION)
    async with made.runtime(runtime=NODE, timeout=10).environment() as environment:
        error = said(await environment.invoke(made.request("large")))
        assert error["errorType"] == "Function.ResponseSizeTooLarge"
        assert said(await environment.invoke(made.request("callback"))) == ["large", "callback"]


async def test_lines_of_the_console_have_request_and_level(made: Made) -> None:
    made.write("index.js", FUNCTION)
    async with made.runtime(runtime=NODE).environment() as environment:
        answer = await environment.invoke(made.request("log"))
    lines = answer.log.decode().split("\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z\tid-1\tINFO\tsaid this", lines[1])
    assert lines[2].endswith("Z\tid-1\tERROR\ttwo\rlines")
    async with made.runtime(runtime=NODE, log_format="JSON").environment() as environment:
        answer = await environment.invoke(made.request("log"))
    record = orjson.loads(answer.log.splitlines()[1])
    assert (record["level"], record["message"], record["requestId"]) == ("INFO", "said this", "id-2")


@pytest.mark.parametrize(
    ("source", "handler", "error_type"),
    [
        ("exports.handler = 1;", "index.handler", "Runtime.HandlerNotFound"),
        ("exports.handler = 1;", "nowhere.handler", "Runtime.ImportModuleError"),
        ("require('nowhere');", "index.handler", "Runtime.ImportModuleError"),
        ("exports.handler = (", "index.handler", "Runtime.UserCodeSyntaxError"),
        ("null.x;", "index.handler", "TypeError"),
        ("", "index", "Runtime.MalformedHandlerName"),
    ],
)
async def test_an_error_of_the_init(made: Made, source: str, handler: str, error_type: str) -> None:
    made.write("index.js", source)
    async with made.runtime(runtime=NODE, handler=handler).environment() as environment:
        assert not environment.ready
        assert said(await environment.invoke(made.request()))["errorType"] == error_type


async def test_modules_of_all_kinds_and_exports_within_exports(made: Made) -> None:
    made.write("index.js", FUNCTION)
    made.write("esm/package.json", '{"type": "module"}')
    made.write("esm/index.js", "await null; export const handler = async () => 'es module';")
    made.write("plain.cjs", "exports.handler = async () => 'commonjs';")
    for handler, answer in [
        ("index.deep.er.handler", "deep"),
        ("esm/index.handler", "es module"),
        ("plain.handler", "commonjs"),
    ]:
        async with made.runtime(runtime=NODE, handler=handler).environment() as environment:
            assert said(await environment.invoke(made.request())) == answer


async def test_streams(made: Made) -> None:
    made.write(
        "index.mjs",
        """
        export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
          if (event === "early") throw new RangeError("early");
          if (event === "http") stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201 });
          else stream.setContentType("text/plain");
          stream.write("first,");
          await new Promise((resolve) => setTimeout(resolve, 20));
          if (event === "late") throw new RangeError("late");
          stream.write(context.awsRequestId);
          stream.end();
        });
        """,
    )
    async with made.runtime(runtime=NODE).environment() as environment:
        assert (await environment.invoke(made.request())).payload == b"first,id-1"
        prelude, _, body = (await environment.invoke(made.request("http"))).payload.partition(bytes(8))
        assert (orjson.loads(prelude), body) == ({"statusCode": 201}, b"first,id-2")
        for event in ("early", "late"):
            answer = await environment.invoke(made.request(event))
            assert isinstance(answer.outcome, Failed)
            assert (answer.outcome.type, answer.outcome.message) == ("RangeError", event)
        assert (await environment.invoke(made.request())).payload == b"first,id-5"


async def test_pieces_of_a_stream_come_as_they_are_written(made: Made) -> None:
    made.write(
        "index.mjs",
        """
        import net from "node:net";
        const waiting = (port) => new Promise((resolve) => {
          net.connect(port, "127.0.0.1").on("close", resolve).resume();
        });
        export const handler = awslambda.streamifyResponse(async (event, stream) => {
          stream.setContentType("text/plain");
          stream.write("first,");
          await waiting(event.port);
          if (event.raised) throw new RangeError("raised");
          if (!event.thrown) return stream.end("second");
          setTimeout(() => { throw new RangeError("thrown"); });
          await waiting(event.never);
        });
        """,
    )
    async with made.runtime(runtime=NODE, timeout=60).environment() as environment:
        for more, second, kind in [
            ({}, b"second", ""),
            ({"raised": True}, b"", "RangeError"),
            ({"thrown": True}, b"", "RangeError"),
        ]:
            async with gate() as door, gate() as never, create_task_group() as tasks:
                event = {"port": door.port, **more}
                if "thrown" in more:
                    event["never"] = never.port
                asked = Asked(made.request(event))
                tasks.start_soon(asked.run, environment)
                pieces = asked.stream.pieces()
                assert await anext(pieces) == b"first,"
                assert asked.stream.content_type == "text/plain"
                await door.reached.wait()
                assert not asked.answered
                door.open()
                assert b"".join([piece async for piece in pieces]) == second
            assert getattr(asked.answer.outcome, "type", "") == kind


async def test_several_invocations_run_at_a_time(made: Made) -> None:
    made.write(
        "index.mjs",
        """
        let meet, here = 0;
        const all = new Promise((resolve) => { meet = resolve; });
        export const handler = async (event) => {
          if (++here === 3) meet();
          await all;
          return event;
        };
        """,
    )
    answers: list[object] = []
    async with made.runtime(runtime=NODE, maximum_concurrency=3).environment() as environment:

        async def invoke(number: int) -> None:
            answers.append(said(await environment.invoke(made.request(number))))

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(invoke, number)
    assert sorted(answers, key=str) == [0, 1, 2]


async def test_a_client_that_the_function_brings_is_used_if_it_was_built(made: Made) -> None:
    made.write("index.js", "exports.handler = async () => 'ours';")
    made.write(
        "node_modules/aws-lambda-ric/bin/index.mjs",
        """
        const url = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/`;
        for (;;) {
          const next = await fetch(`${url}next`);
          const id = next.headers.get("lambda-runtime-aws-request-id");
          const body = JSON.stringify(process.argv.slice(2));
          await fetch(`${url}${id}/response`, { method: "POST", body });
        }
        """,
    )
    async with made.runtime(runtime=NODE).environment() as environment:
        assert said(await environment.invoke(made.request())) == "ours"
    made.write("node_modules/aws-lambda-ric/dist/rapid-client.node", "")
    async with made.runtime(runtime=NODE).environment() as environment:
        for _ in range(2):
            assert said(await environment.invoke(made.request())) == ["index.handler"]
