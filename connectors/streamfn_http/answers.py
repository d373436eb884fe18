"""What an answer means. Pure.

Which status is which: the table of Knative Eventing's data plane contract ("Event Acknowledgement and
Delivery Retry"). `Retry-After`: RFC 9110, 10.2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PASSING: Final = frozenset({404, 408, 409, 429})
"""Statuses below 500 that may be others next time. 408 is not in the table, but Knative and RFC 9110 (15.5.9)
have it sent again.
"""

_WITH_PAUSE: Final = frozenset({429, 503})

_LONGEST: Final = 200
"""Characters that are shown of an answer."""


class Verdict(Enum):
    """What became of a message."""

    TAKEN = "taken"
    AGAIN = "again"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as far as it was read."""

    status: int
    phrase: str = ""
    """`Service Unavailable`."""
    retry_after: str | None = None
    """The header, as it came."""
    text: str = ""
    """What it begins with, for people."""

    @property
    def verdict(self) -> Verdict:
        """Whether the message was taken, is to be sent again, or never will be taken."""
        if 200 <= self.status < 300:
            return Verdict.TAKEN
        return Verdict.AGAIN if self.status >= 500 or self.status in _PASSING else Verdict.REFUSED

    @property
    def reason(self) -> str:
        """Why it was not taken, in one line."""
        said = f"HTTP {self.status} {self.phrase}".rstrip()
        text = "redirects are not followed" if 300 <= self.status < 400 else self.text
        return f"{said}: {text}" if text else said

    def pause(self, now: float) -> float:
        """Seconds for which nothing more is to be sent; `now` in epoch seconds."""
        if self.retry_after is None or self.status not in _WITH_PAUSE:
            return 0.0
        return _seconds(self.retry_after.strip(), now)


def excerpt(body: bytes, hidden: Sequence[str]) -> str:
    """The beginning of a body as one line of text, without what is `hidden`: some servers repeat what they
    were sent.
    """
    text = body.decode(errors="replace")
    for secret in hidden:
        text = text.replace(secret, "***")
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _seconds(value: str, now: float) -> float:
    """Seconds or a date; 0 where it is neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # A date without a zone is of the form of asctime, which is in GMT.
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, at - now)
