"""What goes wrong with a fake, and when."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from streamfn.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable


class Faults:
    """The faults of one fake, planned ahead: by count, by hand, or by a hook (hypothesis draws from it).

    Operations carry the names of the ports' methods: `read`, `commit`, `ack`, `release`, `extend`, `send`.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """How often each operation was begun."""
        self.down = False
        """While true, every operation fails as one out of reach does."""
        self.hook: Callable[[str], None] | None = None
        """Called with its name before each operation. What it raises, the operation raises."""
        self._before: defaultdict[str, deque[Exception]] = defaultdict(deque)
        self._after: defaultdict[str, deque[Exception]] = defaultdict(deque)

    def fail_next(
        self, operation: str, times: int = 1, error: Exception | None = None, *, after: bool = False
    ) -> None:
        """The next operations of that name raise; with `after` they take effect, only the answer is lost."""
        planned = self._after if after else self._before
        planned[operation].extend([error or SourceError(f"{operation} fails: the test planned it")] * times)

    def before(self, operation: str) -> None:
        """Called by the fake before it does anything."""
        self.calls[operation] += 1
        if self.down:
            raise SourceError(f"{operation} fails: out of reach, the test planned it")
        if self.hook is not None:
            self.hook(operation)
        _raise_next(self._before.get(operation))

    def after(self, operation: str) -> None:
        """Called by the fake when all is done."""
        _raise_next(self._after.get(operation))


def _raise_next(errors: deque[Exception] | None) -> None:
    if errors:
        raise errors.popleft()
