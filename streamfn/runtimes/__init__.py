"""Runtimes: how a function is run on a batch. In this process, coroutines on the loop and others on threads;
or in execution environments of its own.
"""

from streamfn.runtimes.events import prepare_event as prepare_event
from streamfn.runtimes.external import Invoke as Invoke
from streamfn.runtimes.external import external as external
from streamfn.runtimes.external import external_event as external_event
from streamfn.runtimes.inline import is_async as is_async
from streamfn.runtimes.inline import prepare as prepare
from streamfn.runtimes.letters import prepare_letter as prepare_letter

__all__ = ["Invoke", "external", "external_event", "is_async", "prepare", "prepare_event", "prepare_letter"]
