"""JSON text as tokens, strictly: with the text of each number, and with the place of each mistake.

The standard library's parser gives neither, keeps one of a repeated key, and recurses. Mistakes are worded as
by Jackson, which reads patterns on AWS.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from streamfn.errors import InvalidPattern

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSES: Final = {"{": "}", "[": "]"}

_CALLED = {"{": "Object", "[": "Array"}
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.+-])", re.ASCII)
_WORD = re.compile(r"\w*")
_STRINGS = json.JSONDecoder()


class Token(NamedTuple):
    """`kind` is a bracket, or one of key, string, number, true, false, null."""

    kind: str
    text: str


class Scanner:
    """Reads one value of JSON, and insists that nothing follows it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._opened: list[str] = []

    def tokens(self) -> Iterator[Token]:
        """Raises InvalidPattern where the text stops to be JSON."""
        token = self._value()
        yield token
        while self._opened:
            container = self._opened[-1]
            if self._next() == CLOSES[container]:
                token = self._close()
                yield token
                continue
            if token.kind not in CLOSES:
                self._separator(",", f"comma to separate {_CALLED[container]} entries")
            if container == "{":
                yield self._key()
            token = self._value()
            yield token
        if self._skip():
            raise self._unexpected("the end of the pattern")

    def _skip(self) -> str:
        """What comes after white space; nothing at the end."""
        space = _SPACE.match(self._text, self._place)
        self._place = space.end() if space else self._place
        return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        char = self._skip()
        if not char:
            raise self._refused("Unexpected end-of-input")
        return char

    def _value(self) -> Token:
        match self._next():
            case "{" | "[" as bracket:
                self._opened.append(bracket)
                self._place += 1
                return Token(bracket, bracket)
            case '"':
                return Token("string", self._string())
            case char if char in "-0123456789":
                return Token("number", self._number())
            case char if char.isalpha():
                return self._word()
            case _:
                raise self._unexpected("a value")

    def _close(self) -> Token:
        bracket = CLOSES[self._opened.pop()]
        self._place += 1
        return Token(bracket, bracket)

    def _key(self) -> Token:
        if self._next() != '"':
            raise self._unexpected("double-quote to start field name")
        name = self._string()
        self._separator(":", "a colon to separate field name and value")
        return Token("key", name)

    def _separator(self, wanted: str, called: str) -> None:
        char = self._next()
        if char in "}]" and wanted == ",":
            container = self._opened[-1]
            called = _CALLED[container]
            raise self._refused(
                f"Unexpected close marker '{char}': expected '{CLOSES[container]}' (for {called})"
            )
        if char != wanted:
            raise self._unexpected(called)
        self._place += 1

    def _string(self) -> str:
        try:
            value, self._place = _STRINGS.raw_decode(self._text, self._place)
        except json.JSONDecodeError as error:
            self._place = error.pos
            raise self._refused(_about_string(self._text, error)) from error
        text: str = value
        return text

    def _number(self) -> str:
        found = _NUMBER.match(self._text, self._place)
        if found is None:
            raise self._unexpected("a number as JSON has it")
        self._place = found.end()
        return found[0]

    def _word(self) -> Token:
        found = _WORD.match(self._text, self._place)
        word = found[0] if found else ""
        if word not in ("true", "false", "null"):
            raise self._refused(
                f"Unrecognized token '{word}': was expecting "
                "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
            )
        self._place += len(word)
        return Token(word, word)

    def _unexpected(self, wanted: str) -> InvalidPattern:
        char = self._text[self._place]
        return self._refused(f"Unexpected character ('{char}' (code {ord(char)})): was expecting {wanted}")

    def _refused(self, reason: str) -> InvalidPattern:
        before = self._text[: self._place]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return InvalidPattern(reason, f"line {line}, column {column}")


def _about_string(text: str, error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Invalid \\escape"):
        char = text[error.pos + 1]
        return f"Unrecognized character escape '{char}' (code {ord(char)})"
    return error.msg
