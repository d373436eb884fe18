"""Runtimes: how a function is run on a batch. Here in this process: coroutines on the loop, others on
threads.
"""

from streamfn.runtimes.events import prepare_event as prepare_event
from streamfn.runtimes.inline import is_async as is_async
from streamfn.runtimes.inline import prepare as prepare
from streamfn.runtimes.letters import prepare_letter as prepare_letter

__all__ = ["is_async", "prepare", "prepare_event", "prepare_letter"]
