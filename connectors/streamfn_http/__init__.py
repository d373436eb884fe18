"""HTTP for streamfn: an address as a destination, signed as Standard Webhooks says, and functions behind one.

https://host/path?secret=env:WEBHOOK_SECRET&timeout=20
"""

from __future__ import annotations

from streamfn_http.destination import HttpDestination as HttpDestination
from streamfn_http.runtime import HttpRuntime as HttpRuntime
