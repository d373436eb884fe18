"""How often a shard of Kinesis may be asked."""

from __future__ import annotations

from typing import Final

from streamfn.core.policies import Backoff
from streamfn_aws.polling import Pace

BETWEEN: Final = 0.2
"""Seconds between the starts of two calls: a shard takes five a second, reads from all its readers, and
subscriptions from one consumer.
"""
_BACKOFF: Final = Backoff(first=0.5, factor=2.0, cap=5.0)
"""After what failed. An answer of 10 MB is paid for with five seconds, and a subscription that broke off is
in the way of the next for as long.
"""


def pace_of(place: str) -> Pace:
    """Of the calls for one shard, whose name in messages is `place`."""
    return Pace(place, BETWEEN, _BACKOFF)
