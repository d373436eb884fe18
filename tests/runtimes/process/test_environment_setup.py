"""What an environment is made of: interpreters, variables, layers, isolation, bootstraps."""

from __future__ import annotations

import os
import re
from pathlib import Path

import orjson
import pytest

from streamfn.core.outcomes import Succeeded
from streamfn.core.runtime_ids import parse
from streamfn.errors import ConfigurationError
from streamfn.runtimes.process.interpreters import find
from streamfn.runtimes.process.launchers import Launchers
from streamfn.runtimes.process.runtime import ProcessRuntime
from streamfn.runtimes.process.sandbox import Allowed
from tests.runtimes.process.environments import Made, said

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("runtime", ["python3.9", "python3.10", "python3.12", "python3.13", "python3.14"])
async def test_other_versions_of_python(made: Made, runtime: str) -> None:
    try:
        interpreter = find(parse(runtime), strict=True)
    except ConfigurationError as error:
        pytest.skip(error.problem)
    source = """
        import os, sys
        def handler(event, context):
            if event == "raise":
                raise ValueError("no")
            return [list(sys.version_info[:2]), os.environ["AWS_EXECUTION_ENV"], event]
    """
    async with made.python(source, runtime=runtime) as environment:
        for event in ("ü", "x" * 300_000):
            answer = said(await environment.invoke(made.request(event)))
            assert answer == [list(interpreter.version[:2]), f"AWS_Lambda_{runtime}", event]
        assert said(await environment.invoke(made.request("raise")))["errorType"] == "ValueError"


async def test_a_cold_start_is_reported_once(made: Made) -> None:
    async with made.python("def handler(event, context): print('hello')") as environment:
        cold, warm = [(await environment.invoke(made.request())).log.decode() for _ in range(2)]
    assert re.fullmatch(
        r"START RequestId: id-1 Version: \$LATEST\nhello\nEND RequestId: id-1\n"
        r"REPORT RequestId: id-1\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: [1-9]\d* MB\tInit Duration: [\d.]+ ms\t\n",
        cold,
    )
    assert "Init Duration" not in warm
    assert re.fullmatch(r"INIT_START Runtime Version: python:3\.11\.\d+", made.sink.texts[0])
    assert [request_id for request_id, _ in made.sink.lines] == ["", *["id-1"] * 4, *["id-2"] * 4]


async def test_a_provisioned_environment_says_so(made: Made) -> None:
    made.write(
        "index.py", "import os\ndef handler(e, c): return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']"
    )
    async with made.runtime().environment(provisioned=True) as environment:
        assert said(await environment.invoke(made.request())) == "provisioned-concurrency"
    assert any("Phase: init\tStatus: success" in text for text in made.sink.texts)


# ------------------------------------------------------------------------------------------- surroundings


async def test_the_environment_variables_are_lambdas_and_the_functions_own(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "never")
    source = """
        import os, time
        def handler(event, context):
            return [dict(os.environ), open("/proc/self/environ").read(), time.localtime(0).tm_hour]
    """
    async with made.python(
        source,
        environment={"COLOUR": "blue", "TZ": "Asia/Tokyo", "AWS_REGION": "never"},
        region="eu-central-1",
        options={"credentials": {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}},
    ) as environment:
        variables, raw, hour = said(await environment.invoke(made.request(trace="Root=1-2-3")))
    assert "never" not in raw
    stream = variables.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    assert made.sink.streams == {("orders", "$LATEST", stream)}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", variables.pop("AWS_LAMBDA_RUNTIME_API"))
    assert re.fullmatch(r"/\S+/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin", variables.pop("PATH"))
    assert variables == {
        "_HANDLER": "index.handler",
        "_X_AMZN_TRACE_ID": "Root=1-2-3",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "Text",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
        "AWS_REGION": "eu-central-1",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "COLOUR": "blue",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "PYTHONPATH": "/var/runtime",
        "TZ": "Asia/Tokyo",
    }
    assert hour == 9


async def test_layers_are_found_and_packages_of_the_function_win(made: Made, tmp_path: Path) -> None:
    layers = tmp_path / "layers"
    for folder, text in (
        ("python", "where = 'layer'"),
        ("python/lib/python3.11/site-packages", "x = 'deep'"),
    ):
        (layers / folder).mkdir(parents=True, exist_ok=True)
        (layers / folder / ("shallow.py" if folder == "python" else "deep.py")).write_text(text)
    made.write("snapshot_restore_py.py", "where = 'function'")
    source = """
        import shallow, deep, snapshot_restore_py, sys
        def handler(event, context):
            return [shallow.where, deep.x, snapshot_restore_py.where, sys.path[:4]]
    """
    async with made.python(source, layers=str(layers)) as environment:
        assert said(await environment.invoke(made.request())) == [
            "layer",
            "deep",
            "function",
            ["/var/task", "/opt/python", "/opt/python/lib/python3.11/site-packages", "/var/runtime"],
        ]


async def test_the_runtime_api_of_one_environment_is_closed_to_another(made: Made) -> None:
    source = """
        import os, socket
        def handler(event, context):
            if event is None:
                return os.environ["AWS_LAMBDA_RUNTIME_API"]
            host, port = event.split(":")
            with socket.create_connection((host, int(port))) as mine:
                mine.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
                try:
                    return mine.recv(100).decode()
                except ConnectionResetError:
                    return ""
    """
    async with made.python(source) as victim, made.runtime().environment() as intruder:
        address = said(await victim.invoke(made.request()))
        assert said(await intruder.invoke(made.request(address))) == ""
        # Its own would be answered, if with a refusal.
        own = said(await intruder.invoke(made.request()))
        assert said(await intruder.invoke(made.request(own))).startswith("HTTP/1.1 403 ")


async def test_without_namespaces_and_users_folders_are_where_they_are(tmp_path: Path) -> None:
    allowed = Allowed(namespaces=False, users=False, cgroups=False)
    async with Launchers(tmp_path / "run", allowed) as launchers:
        made = Made(launchers, tmp_path / "code")
        layer = tmp_path / "layers" / "python"
        layer.mkdir(parents=True)
        (layer / "layered.py").write_text("x = 1")
        source = """
            import layered, os, socket, tempfile, time
            def handler(event, context):
                if event == "hang":
                    time.sleep(60)
                if event:
                    host, port = event.split(":")
                    with socket.create_connection((host, int(port))) as mine:
                        return mine.recv(100).decode()
                names = ("LAMBDA_TASK_ROOT", "TMPDIR", "AWS_LAMBDA_RUNTIME_API")
                return [os.getcwd(), tempfile.gettempdir(), *(os.environ[name] for name in names)]
        """
        made.write("index.py", source)
        runtime = made.runtime(layers=str(layer.parent), timeout=2)
        async with runtime.environment() as environment, runtime.environment() as other:
            code, tmp, task_root, tmpdir, address = said(await environment.invoke(made.request()))
            assert (code, task_root) == (str(made.folder), str(made.folder))
            assert tmp == tmpdir
            assert Path(tmp).parent == launchers._workspace.folder
            assert said(await other.invoke(made.request(address))) == ""
            assert said(await environment.invoke(made.request("hang")))["errorType"] == "Sandbox.Timedout"
            assert said(await environment.invoke(made.request()))[0] == str(made.folder)
        assert not Path(tmp).exists()
        assert any(sentence.startswith("no namespaces: ") for sentence in launchers.missing)


async def test_nothing_is_left_of_an_environment(made: Made, launchers: Launchers) -> None:
    source = """
        import os, pathlib, subprocess
        def handler(event, context):
            pathlib.Path("/tmp/a/b").mkdir(parents=True)
            pathlib.Path("/tmp/a/b").chmod(0)
            pathlib.Path("/tmp/a").chmod(0)
            subprocess.Popen(["sleep", "300"], start_new_session=True)
    """
    descriptors = len(os.listdir("/proc/self/fd"))
    folder = launchers._workspace.folder
    before = set(folder.iterdir())
    async with made.python(source) as environment:
        await environment.invoke(made.request())
        assert len(set(folder.iterdir()) - before) == 1
    assert set(folder.iterdir()) == before
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_logs_in_json(made: Made) -> None:
    source = """
        import logging
        def handler(event, context): logging.getLogger().error("trouble")
    """
    async with made.python(source, log_format="JSON") as environment:
        answer = await environment.invoke(made.request())
    start, trouble, report = [orjson.loads(line) for line in answer.log.splitlines()]
    assert (start["type"], trouble["message"], report["type"]) == (
        "platform.start",
        "trouble",
        "platform.report",
    )
    assert trouble["requestId"] == report["record"]["requestId"] == "id-1"


# ------------------------------------------------------------------------------------------ other programs


async def test_a_bootstrap_answers_what_it_likes(made: Made) -> None:
    made.write(
        "bootstrap",
        """\
        #!/bin/bash
        API=${AWS_LAMBDA_RUNTIME_API/:/\\/}
        ask() {
            exec 3<>/dev/tcp/$API
            printf '%s' "$1" >&3
        }
        while true; do
            ask $'GET /2018-06-01/runtime/invocation/next HTTP/1.0\\r\\n\\r\\n'
            answer=$(cat <&3)
            id=$(grep -i '^Lambda-Runtime-Aws-Request-Id' <<<"$answer" | tr -d '\\r' | cut -d' ' -f2)
            text="no json of $_HANDLER"
            url=/2018-06-01/runtime/invocation/$id/response
            ask "POST $url HTTP/1.0"$'\\r\\n'"Content-Length: ${#text}"$'\\r\\n\\r\\n'"$text"
            cat <&3 >/dev/null
        done
        """,
        0o755,
    )
    async with made.runtime(runtime="provided.al2023", handler="h").environment() as environment:
        for _ in range(2):
            answer = await environment.invoke(made.request({"a": 1}))
            assert (answer.outcome, answer.payload) == (Succeeded(), b"no json of h")


async def test_a_bootstrap_that_cannot_be_run(made: Made) -> None:
    made.write("bootstrap", "#!/nowhere/sh\n", 0o755)
    async with made.runtime(runtime="provided.al2").environment() as environment:
        answer = await environment.invoke(made.request())
    assert said(answer) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": "RequestId: id-1 Error: fork/exec /var/task/bootstrap: no such file or directory",
    }


async def test_check_names_what_is_missing(made: Made) -> None:
    with pytest.raises(ConfigurationError, match="neither the code nor a layer has a file bootstrap"):
        await made.runtime(runtime="provided.al2023").check()
    with pytest.raises(ConfigurationError, match="java21 is not part of streamfn"):
        await made.runtime(runtime="java21").check()
    made.write("bootstrap", "")
    with pytest.raises(ConfigurationError, match="is not executable. Fix: chmod"):
        await made.runtime(runtime="provided.al2023").check()
    with pytest.raises(ConfigurationError, match="no handler is named"):
        await made.runtime(handler="").check()
    made.folder = made.folder / "nowhere"
    with pytest.raises(ConfigurationError, match="there is no folder"):
        await made.runtime().check()


async def test_only_credentials_may_be_given(made: Made) -> None:
    with pytest.raises(ConfigurationError, match="PATH is no credential"):
        made.runtime(options={"credentials": {"PATH": "/"}})


async def test_a_runtime_says_its_name(made: Made) -> None:
    made.write("index.py", "")
    runtime = made.runtime()
    assert isinstance(runtime, ProcessRuntime)
    await runtime.check()
    assert runtime.name == "python3.11"
    await runtime.close()


async def test_elsewhere_than_on_linux_it_says_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(ConfigurationError, match="built for Linux, not Darwin"):
        made.python("def handler(event, context): ...")
