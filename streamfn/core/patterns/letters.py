"""Equality without regard to case, as Java has it: character by character.

A character of the pattern stands for its lower and its upper case (`ß` for `ß` and `SS`), whatever comes
before or after. Those beyond the basic plane stand for themselves, for Java takes them as two halves.
(event-ruler: EqualsIgnoreCaseParser, SuffixEqualsIgnoreCaseParser.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def equals(text: str) -> Callable[[str], bool]:
    """Whether a whole string is this one."""
    match = re.compile("".join(map(_either, text))).fullmatch
    return lambda value: match(value) is not None


def begins(text: str) -> Callable[[str], bool]:
    """Whether a string begins with this one."""
    match = re.compile("".join(map(_either, text))).match
    return lambda value: match(value) is not None


def ends(text: str) -> Callable[[str], bool]:
    """Whether a string ends with this one: backwards, to look at no more than its length."""
    match = re.compile("".join(_either(char, backwards=True) for char in reversed(text))).match
    longest = sum(max(map(len, _cases(char))) for char in text)
    return lambda value: match(value[: -longest - 1 : -1]) is not None


def _either(char: str, *, backwards: bool = False) -> str:
    cases = {re.escape(case[::-1] if backwards else case) for case in _cases(char)}
    return f"(?:{'|'.join(sorted(cases))})"


def _cases(char: str) -> tuple[str, str]:
    return (char.lower(), char.upper()) if char <= "\uffff" else (char, char)
