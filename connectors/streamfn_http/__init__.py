"""Webhooks for streamfn: an HTTP address as a destination, signed as Standard Webhooks says.

https://host/path?secret=env:WEBHOOK_SECRET&timeout=20
"""

from __future__ import annotations

from streamfn_http.destination import HttpDestination as HttpDestination
