"""Tells what a function sees of where it runs."""

import os
import tempfile


def handler(event, context):
    context_fields = (
        "aws_request_id",
        "function_name",
        "function_version",
        "invoked_function_arn",
        "log_group_name",
        "log_stream_name",
        "memory_limit_in_mb",
    )
    return {
        "context": {name: getattr(context, name) for name in context_fields},
        "remaining": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "user": os.getuid(),
        "session": os.getsid(0) == os.getpid(),
        "open": len(os.listdir("/proc/self/fd")),
        "new_privileges": _status("NoNewPrivs"),
    }


def _status(name):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(name))


def keeps(event, context):
    """Writes a file into /tmp if there is none, and tells what is in it."""
    path = os.path.join(tempfile.gettempdir(), "kept")
    if not os.path.exists(path):
        with open(path, "w") as file:
            file.write(event["text"])
    with open(path) as file:
        return file.read()


def reads(event, context):
    """The names of what is in a folder, or why they cannot be had."""
    try:
        return sorted(os.listdir(event["path"]))
    except OSError as error:
        return type(error).__name__


def writes(event, context):
    """Writes so many megabytes below a folder."""
    with open(os.path.join(event.get("folder", tempfile.gettempdir()), "written"), "wb") as file:
        file.writelines(b"\0" * 1_000_000 for _ in range(event["megabytes"]))
    return event["megabytes"]
