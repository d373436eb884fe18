"""A pattern as the tokens of JSON, from its text or from values of Python alike.

A pattern is read token by token, for AWS reports what stands first: an operator that gets the wrong kind of
value before the missing bracket behind it. Numbers stay as they are written, a repeated key comes twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn.core.patterns.scanning import CLOSES, Scanner, Token
from streamfn.errors import InvalidPattern

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST: Final = 4096
"""Characters of a pattern (Lambda's API: Filter.Pattern). Values of Python count as compact JSON."""
DEEPEST: Final = 100
"""Objects and lists within each other, and steps of a path. AWS names no limit; its patterns have about 5."""


_AROUND: Final = {"key": 3, "string": 2}
"""Quotes, and a colon."""


class Tokens:
    """What is to be read of a pattern."""

    def __init__(self, pattern: object) -> None:
        if isinstance(pattern, (bytearray, memoryview)):
            pattern = bytes(pattern)
        self._ahead: list[Token] = []
        self._rest = _limited(
            Scanner(_decoded(pattern)).tokens() if isinstance(pattern, str | bytes) else _of(pattern)
        )

    def take(self) -> Token:
        """The next token. There is one, as long as not all brackets are closed."""
        return self._ahead.pop(0) if self._ahead else next(self._rest)

    def peek(self, position: int) -> Token:
        """One of the next ones, which stays."""
        while len(self._ahead) <= position:
            self._ahead.append(next(self._rest))
        return self._ahead[position]

    def end(self) -> None:
        """Raises InvalidPattern if anything follows the last bracket."""
        next(self._rest, None)


def _limited(tokens: Iterator[Token]) -> Iterator[Token]:
    depth = size = 0
    for token in tokens:
        depth += (token.kind in CLOSES) - (token.kind in ("}", "]"))
        size += len(token.text) + _AROUND.get(token.kind, 0)
        if depth > DEEPEST:
            raise InvalidPattern(f"Pattern is nested more than {DEEPEST} levels deep")
        if size > LONGEST:
            raise InvalidPattern(f"Pattern is longer than {LONGEST} characters")
        yield token


def _decoded(pattern: str | bytes) -> str:
    if len(pattern) > 4 * LONGEST:
        raise InvalidPattern(f"Pattern is longer than {LONGEST} characters")
    try:
        text = pattern.decode() if isinstance(pattern, bytes) else str.__str__(pattern)
    except UnicodeDecodeError as error:
        raise InvalidPattern(f"Invalid UTF-8 at byte {error.start}") from error
    if len(text) > LONGEST:
        raise InvalidPattern(f"Pattern is longer than {LONGEST} characters")
    return text


def _of(value: object) -> Iterator[Token]:
    """The tokens of values of Python: dict, list or tuple, str, int, float, bool, None."""
    opened = [iter([value])]
    closing = [Token("", "")]
    while opened:
        try:
            item = next(opened[-1])
        except StopIteration:
            opened.pop()
            if (token := closing.pop()).kind:
                yield token
            continue
        if isinstance(item, _Key):
            yield Token("key", item.text)
        elif isinstance(item, dict):
            yield Token("{", "{")
            opened.append(_entries(item))
            closing.append(Token("}", "}"))
        elif isinstance(item, list | tuple):
            yield Token("[", "[")
            opened.append(iter(item))
            closing.append(Token("]", "]"))
        else:
            yield _scalar(item)


class _Key(NamedTuple):
    text: str


def _entries(values: dict[object, object]) -> Iterator[object]:
    for key, value in values.items():
        if not isinstance(key, str):
            raise InvalidPattern(f"A key must be a string, not {type(key).__name__}")
        yield _Key(str.__str__(key))
        yield value


def _scalar(value: object) -> Token:
    match value:
        case None:
            return Token("null", "null")
        case bool():
            return Token("true", "true") if value else Token("false", "false")
        case str():
            return Token("string", str.__str__(value))
        case int() if value.bit_length() <= 3 * LONGEST:
            return Token("number", int.__repr__(value))
        case float() if abs(value) < float("inf"):
            return Token("number", float.__repr__(value))
        case int() | float():
            raise InvalidPattern("Cannot compare number : it has no decimal form of a sensible length")
        case _:
            kind = type(value).__name__
            raise InvalidPattern(f"Match value must be String, number, true, false, or null, not {kind}")
