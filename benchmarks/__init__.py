"""Measurements of streamfn against its targets: `make bench`, or `python -m benchmarks`.

Nothing here is installed. What the figures mean, and those of a real run, are in `docs/performance.md`.
"""
