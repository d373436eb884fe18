"""Users of their own: an environment has a uid that nobody else has while it lives."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import socket

FIRST, COUNT = 700_000, 65_536
"""A range that neither people, nor services, nor containers of common engines use."""


class User:
    """A claimed uid. Only one process of the machine can hold it: the name of a socket stands for it, which
    the kernel takes away with the last process that has it open.
    """

    def __init__(self, number: int, claim: socket.socket) -> None:
        self.number = number
        self._claim = claim

    def become(self) -> None:
        """Gives up all that root can do, for good."""
        os.setgroups([])
        os.setresgid(self.number, self.number, self.number)
        os.setresuid(self.number, self.number, self.number)

    def own(self, folder: str) -> None:
        """Makes a folder, and what is in it, this user's."""
        if os.stat(folder).st_uid == self.number:
            return
        os.chown(folder, self.number, self.number)
        os.chmod(folder, 0o700)
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                os.chown(os.path.join(parent, name), self.number, self.number, follow_symlinks=False)

    def kill_all(self) -> None:
        """All processes of this user, at one stroke."""
        pid = os.fork()
        if pid == 0:
            try:
                self.become()
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


def claim(turn: int, owner: int = 0) -> User:
    """A free uid; that of `owner`, if it is one of ours and free. Raises OSError if all are taken."""
    ours = [owner] if FIRST <= owner < FIRST + COUNT else []
    for number in itertools.chain(ours, (FIRST + (turn + i) % COUNT for i in range(COUNT))):
        claimed = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claimed.bind(f"\0streamfn-user-{number}")
            return User(number, claimed)
        except OSError as error:
            claimed.close()
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EUSERS, "all users of environments are taken")


def possible() -> bool:
    """Whether this process can become one of these users; tried in a fork."""
    if os.geteuid() != 0:
        return False
    pid = os.fork()
    if pid == 0:
        try:
            User(FIRST, socket.socket()).become()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
