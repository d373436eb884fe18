"""Tables of plain text: the same on a terminal, in a file and in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines of columns, numbers to the right."""
    cells = [list(heads), *([_text(cell) for cell in row] for row in rows)]
    right = [bool(rows) and all(isinstance(row[i], int | None) for row in rows) for i in range(len(heads))]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    lines = (
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )
    return "\n".join(lines) + "\n"


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return (
        f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else " ".join(str(cell).split())
    )
