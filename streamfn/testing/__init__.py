"""For tests of what is built with streamfn: virtual time, fakes, scripted functions, conformance suites.

The suites are in `streamfn.testing.conformance`, and import pytest; nothing here does.
"""

from __future__ import annotations

from streamfn.testing.clock import Deadlock as Deadlock
from streamfn.testing.clock import VirtualTimeLoop as VirtualTimeLoop
from streamfn.testing.clock import virtual_backend as virtual_backend
from streamfn.testing.functions import Recorder as Recorder
from streamfn.testing.functions import answers as answers
from streamfn.testing.functions import fails as fails
from streamfn.testing.functions import poison as poison
from streamfn.testing.functions import reports as reports
from streamfn.testing.functions import takes as takes
from streamfn.testing.functions import throttles_until as throttles_until
from streamfn.testing.functions import waits_for as waits_for
from streamfn.testing.memory import MemoryDestination as MemoryDestination
from streamfn.testing.memory import MemoryEvents as MemoryEvents
from streamfn.testing.memory import MemoryQueue as MemoryQueue
from streamfn.testing.memory import MemoryStream as MemoryStream
from streamfn.testing.memory import MemoryTelemetry as MemoryTelemetry
