"""What a Python function needs before it is one: imported once, for all forks."""

from __future__ import annotations

import importlib

# What awslambdaric imports, and nothing that a function may bring in another version.
_MODULES = (
    "atexit", "collections.abc", "contextlib", "copyreg", "dataclasses", "datetime", "decimal",
    "encodings.idna", "enum",
    "functools", "http", "http.client", "importlib.util", "json", "keyword", "linecache", "logging", "math",
    "numbers", "operator", "os", "re", "reprlib", "runpy", "signal", "socket", "string", "sys", "textwrap",
    "threading", "time", "token", "tokenize", "traceback", "types", "typing", "uuid", "warnings", "weakref",
)  # fmt: skip


def everything() -> None:
    for name in _MODULES:
        importlib.import_module(name)
