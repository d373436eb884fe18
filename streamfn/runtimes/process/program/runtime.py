"""The process that becomes the runtime: limits, a clean environment, then a program or a module."""

from __future__ import annotations

import os
import resource
import signal
import sys

from . import interpreter, kernel, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .init import Place

_MB = 1 << 20
_ALLOWANCE = 256 * _MB
"""What programs reserve and do not use, where resident memory is watched."""
_FILES, _PROCESSES = 1024, 1024  # Lambda's quotas


def become(
    place: Place, port: int, control: socket.socket, output: int, trouble: int, others: list[socket.socket]
) -> Callable[[], None]:
    """Never returns if it runs a program, or cannot; for a module returns what runs it, to be called last."""
    order = place.order
    environment = dict(order["environment"], AWS_LAMBDA_RUNTIME_API=f"127.0.0.1:{port}")
    module = order.get("module")
    arguments = list(order["arguments"])
    forked = bool(module) and interpreter.may_fork(environment)
    if module and not forked:
        arguments = [sys.executable, "-s", "-m", module, *arguments]
    try:
        os.setsid()
        place.group.enter()
        control.send(b'{"event": "started"}')
        for some in [control, *others]:
            some.detach()  # they are closed by number, and must not be again
        trouble = _take_descriptors(output, trouble)
        _confine(place)
        os.chdir(order["task_root"])
        signals.as_at_start(program=not forked)
        if module and forked:
            os.close(trouble)
            return interpreter.module(module, arguments, environment)
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606
    except OSError as error:
        name = error.filename or arguments[0] if forked else arguments[0]
        os.write(trouble, f"fork/exec {name}: {(error.strerror or '').lower()}".encode())
    os._exit(127)


def _confine(place: Place) -> None:
    os.umask(0o022)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, place.sandbox["ephemeral_storage"] * _MB)
    if not place.group_name:
        _limit(resource.RLIMIT_DATA, place.sandbox["memory_size"] * _MB + _ALLOWANCE)
    if place.user is not None:
        _limit(resource.RLIMIT_NPROC, _PROCESSES)
        place.user.become()
        kernel.own_proc_files()
    if not place.means.namespaces:
        kernel.die_with_parent(signal.SIGKILL)
    kernel.forbid_new_privileges()


def _limit(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(kind, (value, value))


def _take_descriptors(output: int, trouble: int) -> int:
    """Leaves standard input, output and error, and the pipe for troubles, which a program does not get."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    for number, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    os.dup2(trouble, 3, inheritable=False)
    os.closerange(4, _FILES)
    return 3
