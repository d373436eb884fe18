"""Code that is given as text, as CloudFormation's `ZipFile` and SAM's `InlineCode` are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streamfn.packages.tree import refused

_MODULE: Final = re.compile(r"^\s*(import\b\s*[\w{*'\"]|export\s)", re.MULTILINE)
"""What ES modules have and CommonJS has not."""


@dataclass(frozen=True, slots=True)
class InlineCode:
    """The source of a function in one file."""

    text: str


def file_name(code: InlineCode, runtime: str, handler: str) -> str:
    """The file it is put into: named as its handler asks, else `index`.

    Raises ConfigurationError for runtimes that take no source.
    """
    module = handler.rpartition(".")[0]
    stem = module if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", module) else "index"
    if runtime.startswith("python"):
        return f"{stem}.py"
    if runtime.startswith("nodejs"):
        return f"{stem}.mjs" if _MODULE.search(code.text) else f"{stem}.js"
    raise refused(
        f"inline code is for Python and Node.js, not for {runtime or 'no runtime'}", "name a folder or a zip"
    )
