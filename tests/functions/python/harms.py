"""Does harm, to itself at least: `{"how": ...}` says in which way."""

import ctypes
import os
import signal
import socket
import sys
import threading


def handler(event, context):
    return globals()[event["how"]](event)


def nothing(event):
    return event


def raises(event):
    raise ValueError("as asked")


def hangs(event):
    threading.Event().wait()


def hangs_deaf(event):
    """Neither SIGTERM nor SIGINT ends it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        threading.Event().wait(3600)


def exits(event):
    os._exit(event.get("status", 0))


def raises_system_exit(event):
    sys.exit(event.get("status", 1))


def segfaults(event):
    ctypes.string_at(0)


def is_killed(event):
    os.kill(os.getpid(), signal.SIGKILL)


def kills_everything(event):
    """All that it may: its own init too, if nothing protects that."""
    os.kill(-1, signal.SIGKILL)


def leaks(event):
    """Takes memory until it is stopped."""
    kept = []
    while True:
        kept.append(b"x" * 4_000_000)


def opens_files(event):
    """Takes descriptors until there are no more, and dies with them open."""
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        event["opened"] = len(opened)
        if event.get("dies"):
            os._exit(1)
        return {"opened": len(opened), "error": type(error).__name__}


def forks(event):
    """Leaves a process behind with a session of its own, nobody's child, that ignores signals and holds what
    was open: a daemon. Its name is event["mark"].
    """
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.execv("/bin/sleep", [event["mark"], "3600"])
        os._exit(0)
    os.wait()
    if event.get("dies"):
        os._exit(1)
    if event.get("hangs"):
        threading.Event().wait()
    return "forked"


def forks_zombies(event):
    """Children that end and that nobody waits for."""
    for _ in range(20):
        if os.fork() == 0:
            os._exit(0)
    return "forked"


def forks_without_end(event):
    """Until no more can be had."""
    made = 0
    try:
        while True:
            if os.fork() == 0:
                threading.Event().wait()
            made += 1
    except OSError as error:
        return {"made": made, "error": type(error).__name__}


def prints(event):
    """So many bytes, in lines, or in one."""
    left, line = event["bytes"], event.get("line", 100)
    while left > 0:
        sys.stdout.write("x" * min(line, left) + "\n")
        left -= line
    sys.stdout.flush()
    return "printed"


def returns_large(event):
    return "x" * event["bytes"]


def closes_everything(event):
    """Its connection and its output too."""
    os.closerange(0, 1024)
    return "closed"


def calls_others(event):
    """Tries to speak to Runtime APIs that are not its own: whoever listens on 127.0.0.1."""
    answered = {}
    own = int(os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")[2])
    for port in event["ports"]:
        if port == own:
            continue
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(
                    b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
                )
                answered[port] = connection.recv(100).decode()
        except OSError as error:
            answered[port] = type(error).__name__
    return answered
