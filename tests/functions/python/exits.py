"""Exits while it is initialised."""

import os

os.write(1, b"about to exit\n")
os._exit(7)
