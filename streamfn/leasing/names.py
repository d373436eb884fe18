"""Workers' names, and whether a worker is known to be dead."""

from __future__ import annotations

import os
import socket
import uuid


def worker_name() -> str:
    """A name for a worker that no other ever had."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def is_dead_here(worker: str) -> bool:
    """Whether a worker was a process of this machine that is no more. False where that can't be known.

    A process id that was given out again only means that the lease time has to pass.
    """
    host, _, rest = worker.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
