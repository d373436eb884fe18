"""Pollers: how many a queue's mapping has, when one is added and when one ends. Pure.

A poller has one batch in flight at a time; without one it waits, in one long poll after the other. So a
queue that is idle costs as many requests as pollers are to wait, and one under load gets a poller for each
batch that can be in flight.
"""

from __future__ import annotations


class Pollers:
    """The counts of one mapping.

    While fewer than `minimum` wait, one more is started, up to what is allowed: each poller that takes up
    messages leaves another waiting. Nothing else limits how fast they grow (Lambda adds 300 a minute), for
    each of them has to find messages first. One that found nothing ends where enough others wait.

    Allowed are `maximum`, until batches fail: each failure takes one away from those there are, each success
    gives one back (Developer Guide: services-sqs-errorhandling, which says "gradually" and no number).
    """

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self.allowed = maximum
        """Pollers that there may be now: `minimum` to `maximum`."""
        self.waiting = 0
        """Pollers that wait for messages, or that gather a batch and find few."""
        self.working = 0
        """Pollers with a batch in flight, or that find more than they can take at once."""

    @property
    def running(self) -> int:
        """All pollers there are."""
        return self.waiting + self.working

    @property
    def missing(self) -> int:
        """Pollers to start now."""
        return max(0, min(self._minimum - self.waiting, self.allowed - self.running))

    def started(self) -> None:
        """A new poller waits."""
        self.waiting += 1

    def took_up(self) -> None:
        """One that waited has work."""
        self.waiting -= 1
        self.working += 1

    def finished(self) -> None:
        """One that worked waits."""
        self.working -= 1
        self.waiting += 1

    def ended(self, *, working: bool) -> None:
        """A poller is gone, in whichever state it was."""
        if working:
            self.working -= 1
        else:
            self.waiting -= 1

    def spares(self, *, found_nothing: bool) -> bool:
        """Whether one that waits is to end: more than are allowed, or idle beside enough others."""
        return self.running > self.allowed or (found_nothing and self.waiting > self._minimum)

    def failed(self) -> None:
        """A batch failed or was throttled."""
        self.allowed = max(self._minimum, min(self.allowed, self.running) - 1)

    def succeeded(self) -> None:
        """A batch succeeded, or failed in the way that its function may report."""
        self.allowed = min(self._maximum, self.allowed + 1)
