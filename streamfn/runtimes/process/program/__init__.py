"""The launcher's own program: small, of the standard library only, and at home on Python 3.9 and later.

It knows nothing of functions: what it starts reads its order itself, so that no fork finds another's secrets
in its memory.
"""

from __future__ import annotations

from .launching import main as main
