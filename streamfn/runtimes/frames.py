"""Where an error came from, kept cheaply: most errors are tried again and never told of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary, StackSummary
from typing import TYPE_CHECKING, Final, overload

if TYPE_CHECKING:
    from types import TracebackType


_OURS: Final = str(Path(__file__).parent)


class Frames(Sequence[str]):
    """The frames of an error as Python prints them, innermost last; written out when they are looked at.

    Keeps names and numbers only, so that no frame and none of its variables is kept alive. Frames of our own
    that led to the function are left out.
    """

    __slots__ = ("_places",)

    def __init__(self, traceback: TracebackType | None) -> None:
        places: list[tuple[str, int, str]] = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            places.append((code.co_filename, traceback.tb_lineno, code.co_name))
            traceback = traceback.tb_next
        own = next((i for i, place in enumerate(places) if not place[0].startswith(_OURS)), 0)
        self._places = tuple(places[own:])

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._lines()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frames) and self._places == other._places

    def __hash__(self) -> int:
        return hash(self._places)

    def _lines(self) -> list[str]:
        return StackSummary.from_list([FrameSummary(*place) for place in self._places]).format()
