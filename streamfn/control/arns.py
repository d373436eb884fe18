"""ARNs of requests: they say what is meant, never where it is or who asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.addressing import arn_of

if TYPE_CHECKING:
    from streamfn.addressing import Arn


def plain_arn(text: str) -> Arn | None:
    """The ARN that a text is; None where it is none, or has options behind it.

    In a configuration such options name servers, credentials and variables of the daemon. Whoever may only
    send requests must not choose them.
    """
    arn = arn_of(text)
    return arn if arn is not None and arn.text == text else None
