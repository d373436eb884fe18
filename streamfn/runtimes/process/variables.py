"""The environment variables of a function: Lambda's, the function's own, and nothing of streamfn's.

(Developer Guide: configuration-envvars, configuration-layers.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamfn.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamfn.core.runtime_ids import RuntimeId
    from streamfn.ports import Deployment
    from streamfn.runtimes.process.sandbox import Layout

CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
)
"""What a function may be given to talk to AWS, or to an emulator of it."""


def variables(
    deployment: Deployment,
    runtime: RuntimeId,
    layout: Layout,
    *,
    stream: str,
    initialization_type: str,
    programs: str = "",
    credentials: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All that a process gets but `AWS_LAMBDA_RUNTIME_API`. `programs`: a folder that leads the PATH."""
    own = dict(deployment.environment)
    made = _presets(layout, programs) | _of_language(runtime, layout) | own
    if runtime.family == "python":
        made["PYTHONPATH"] = _joined(own.get("PYTHONPATH", ""), *_python_path(runtime, layout))
    if layout.tmp != "/tmp":  # noqa: S108 - the environment's own
        made.setdefault("TMPDIR", layout.tmp)
    return (
        made | dict(credentials or {}) | _reserved(deployment, runtime, layout, stream, initialization_type)
    )


def _presets(layout: Layout, programs: str) -> dict[str, str]:
    task, opt, runtime = layout.task_root, layout.opt or "/opt", layout.runtime or "/var/runtime"
    libraries = ("/lib64", "/usr/lib64", runtime, f"{runtime}/lib", task, f"{task}/lib", f"{opt}/lib")
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": _joined(programs, "/usr/local/bin", "/usr/bin/", "/bin", f"{opt}/bin"),
        "LD_LIBRARY_PATH": _joined(*libraries),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    }


def _of_language(runtime: RuntimeId, layout: Layout) -> dict[str, str]:
    opt, own = layout.opt or "/opt", layout.runtime or "/var/runtime"
    if runtime.family == "nodejs":
        modules = f"{opt}/nodejs/node{runtime.version[0]}/node_modules"
        places = (modules, f"{opt}/nodejs/node_modules", f"{own}/node_modules", own, layout.task_root)
        return {"NODE_PATH": _joined(*places)}
    if runtime.family == "ruby":
        version = f"{'.'.join(map(str, runtime.version))}.0"
        return {
            "GEM_PATH": _joined(
                f"{layout.task_root}/vendor/bundle/ruby/{version}", f"{opt}/ruby/gems/{version}"
            ),
            "RUBYLIB": f"{opt}/ruby/lib",
        }
    return {}


def _python_path(runtime: RuntimeId, layout: Layout) -> tuple[str, ...]:
    """Layers, and behind them the runtime's own packages: those that a function brings come first."""
    minor = ".".join(map(str, runtime.version[:2]))
    layers = (f"{layout.opt}/python", f"{layout.opt}/python/lib/python{minor}/site-packages")
    return (*(layers if layout.opt else ()), layout.runtime)


def _reserved(
    deployment: Deployment, runtime: RuntimeId, layout: Layout, stream: str, initialization_type: str
) -> dict[str, str]:
    made = {
        "_HANDLER": deployment.handler,
        "AWS_REGION": deployment.region,
        "AWS_DEFAULT_REGION": deployment.region,
        "AWS_LAMBDA_FUNCTION_NAME": deployment.function,
        "AWS_LAMBDA_FUNCTION_VERSION": deployment.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(deployment.memory_size),
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization_type,
        "AWS_LAMBDA_LOG_FORMAT": deployment.log_format,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{deployment.function}",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "LAMBDA_TASK_ROOT": layout.task_root,
        "LAMBDA_RUNTIME_DIR": layout.runtime or "/var/runtime",
    }
    if runtime.family != "provided":  # Lambda leaves it out there
        made["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime.text}"
    if deployment.maximum_concurrency > 1:
        made["AWS_LAMBDA_MAX_CONCURRENCY"] = str(deployment.maximum_concurrency)
    return made


def checked(credentials: Mapping[str, str]) -> dict[str, str]:
    """Variables that are credentials. Raises ConfigurationError for others."""
    for name in credentials:
        if not name.startswith("AWS_") or name.startswith("AWS_LAMBDA_"):
            raise ConfigurationError(
                f"{name} is no credential that a function can be given",
                field="credentials",
                fix=f"give some of {', '.join(CREDENTIALS)}",
            )
    return dict(credentials)


def _joined(*parts: str) -> str:
    return ":".join(part for part in parts if part)
