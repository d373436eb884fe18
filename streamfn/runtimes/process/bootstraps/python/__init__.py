"""For functions in Python: found by name in `/var/runtime`, where these files are copied to."""
