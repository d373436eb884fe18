"""Reads what stands in the list of a key. Refuses what AWS refuses, in its order and its words.

(event-ruler: JsonRuleCompiler.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from streamfn.core.patterns import addresses, wildcards
from streamfn.core.patterns.numbers import LARGEST, Number
from streamfn.core.patterns.operators import (
    AnythingBut,
    Cidr,
    Exists,
    IgnoringCase,
    Literal,
    Operator,
    Prefix,
    Range,
    StringOperator,
    Suffix,
    Text,
)
from streamfn.errors import InvalidPattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfn.core.patterns.scanning import Token
    from streamfn.core.patterns.tokens import Tokens

_LITERALS: Final = {"null": None, "true": True, "false": False}
_ONE_KEY: Final = "Only one key allowed in match expression"
_TOO_MANY: Final = "Too many elements in numeric expression"


class Expressions:
    """Reads the members of one list, which stands at `place`."""

    def __init__(self, tokens: Tokens, place: str) -> None:
        self._tokens = tokens
        self._place = place
        self._operators: dict[str, Callable[[], Operator]] = {
            "exactly": lambda: Text(self._string("exact match pattern must be a string")),
            "prefix": self._prefix,
            "suffix": self._suffix,
            "equals-ignore-case": self._ignoring_case,
            "wildcard": self._wildcard,
            "anything-but": self._anything_but,
            "numeric": self._numeric,
            "exists": self._exists,
            "cidr": self._cidr,
        }

    def members(self) -> list[Operator]:
        """What follows the opening bracket, with the closing one."""
        operators: list[Operator] = []
        while (token := self._tokens.take()).kind != "]":
            operators.append(self._member(token))
        if not operators:
            self._refuse("Empty arrays are not allowed")
        return operators

    def _member(self, token: Token) -> Operator:
        if token.kind == "[":
            self._refuse("Match value must be String, number, true, false, or null")
        match token.kind:
            case "{":
                return self._expression()
            case "string":
                return Text(token.text)
            case "number":
                return Number(token.text)
            case _:
                return Literal(_LITERALS[token.kind])

    def _expression(self) -> Operator:
        name = self._name("Match expression name not found")
        if name not in self._operators:
            self._refuse(f"Unrecognized match type {name}")
        operator = self._operators[name]()
        self._close(_TOO_MANY if name in ("numeric", "anything-but") else _ONE_KEY)
        return operator

    def _prefix(self) -> Prefix:
        return Prefix(*self._affix("prefix"))

    def _suffix(self) -> Suffix:
        return Suffix(*self._affix("suffix"))

    def _affix(self, which: str) -> tuple[str, bool]:
        token = self._tokens.take()
        if token.kind == "{":
            name = self._name(f"{which.capitalize()} expression name not found")
            if name != "equals-ignore-case":
                self._refuse(f"Unsupported {which} pattern: {name}")
            text = self._ignoring_case().value
            self._close(_ONE_KEY)
            return text, True
        if token.kind != "string":
            self._refuse(f"{which} match pattern must be a string")
        return token.text, False

    def _ignoring_case(self) -> IgnoringCase:
        return IgnoringCase(self._string("equals-ignore-case match pattern must be a string"))

    def _wildcard(self) -> wildcards.Wildcard:
        return wildcards.parse(self._string("wildcard match pattern must be a string"), self._place)

    def _exists(self) -> Exists:
        token = self._tokens.take()
        if token.kind not in ("true", "false"):
            self._refuse("exists match pattern must be either true or false.")
        return Exists(token.kind == "true")

    def _cidr(self) -> Cidr:
        network = self._string("prefix match pattern must be a string")  # AWS's words
        addresses.is_in(network, self._place)
        return Cidr(network)

    def _anything_but(self) -> AnythingBut:
        token = self._tokens.take()
        if token.kind == "{":
            return self._anything_but_of(self._name("Anything-But expression name not found"))
        if token.kind not in ("[", "string", "number"):
            self._refuse("Value of anything-but must be an array or single string/number value.")
        if token.kind != "[":
            return self._but([token])
        members = []
        while (member := self._tokens.take()).kind != "]":
            if member.kind not in ("string", "number"):
                self._refuse("Inside anything but list, start|null|boolean is not supported.")
            members.append(member)
        if len({member.kind for member in members}) != 1:
            self._refuse(
                "Inside anything but list, either all values are number or string, "
                "mixed type is not supported"
            )
        return self._but(members)

    def _but(self, tokens: list[Token]) -> AnythingBut:
        if tokens[0].kind == "string":
            return AnythingBut(strings=tuple(Text(token.text) for token in tokens))
        return AnythingBut(numbers=tuple(self._comparable(token) for token in tokens))

    def _anything_but_of(self, name: str) -> AnythingBut:
        if name not in ("equals-ignore-case", "prefix", "suffix", "wildcard"):
            self._refuse(f"Unsupported anything-but pattern: {name}")
        token = self._tokens.take()
        if token.kind not in ("[", "string", "number"):
            self._refuse("Value of anything-but must be an array or single string/number value.")
        strings = []
        if token.kind == "[":
            while (member := self._tokens.take()).kind != "]":
                strings.append(self._string_operator(name, member))
        else:
            strings.append(self._string_operator(name, token))
        self._close(_TOO_MANY)
        return AnythingBut(strings=tuple(strings))

    def _string_operator(self, name: str, token: Token) -> StringOperator:
        if name == "equals-ignore-case":
            if token.kind != "string":
                self._refuse(
                    "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."
                )
            return IgnoringCase(token.text)
        if name == "wildcard":
            if token.kind != "string":
                self._refuse("wildcard match pattern must be a string")
            return wildcards.parse(token.text, self._place)
        if token.kind != "string":
            self._refuse("prefix/suffix match pattern must be a string")
        if not token.text:
            self._refuse("Null prefix/suffix not allowed")
        return Prefix(token.text) if name == "prefix" else Suffix(token.text)

    def _numeric(self) -> Number | Range:
        if self._tokens.take().kind != "[":
            self._refuse("Value of numeric must be an array.")
        token = self._tokens.take()
        if token.kind != "string":
            self._refuse(f"Invalid member in numeric match: {token.text}")
        operator = token.text
        value = self._tokens.take()
        if operator not in ("=", ">", ">=", "<", "<="):
            self._refuse(f"Unrecognized numeric range operator: {operator}")
        if value.kind != "number":
            self._refuse(f"Value of {'equals' if operator == '=' else operator} must be numeric")
        token = self._tokens.take()
        if operator in ("=", "<", "<=") and token.kind != "]":
            self._refuse(_TOO_MANY)
        if operator == "=":
            return self._comparable(value)
        if operator in ("<", "<="):
            return self._range(top=value, open_top=operator == "<")
        if token.kind == "]":
            return self._range(bottom=value, open_bottom=operator == ">")
        return self._between(value, operator == ">", token)

    def _between(self, bottom: Token, open_bottom: bool, token: Token) -> Range:
        if token.kind != "string":
            self._refuse(f"Bad value in numeric range: {token.text}")
        if token.text not in ("<", "<="):
            self._refuse(f"Bad numeric range operator: {token.text}")
        top = self._tokens.take()
        if top.kind != "number":
            self._refuse(f"Value of {token.text} must be numeric")
        if self._tokens.take().kind != "]":
            self._refuse("Too many terms in numeric range expression")
        return self._range(bottom, top, open_bottom, token.text == "<")

    def _range(
        self,
        bottom: Token | None = None,
        top: Token | None = None,
        open_bottom: bool = False,
        open_top: bool = False,
    ) -> Range:
        low = self._comparable(bottom).double if bottom else -LARGEST
        high = self._comparable(top).double if top else LARGEST
        if low >= high:
            self._refuse("Bottom must be less than top")
        return Range(low, high, open_bottom, open_top)

    def _comparable(self, token: Token) -> Number:
        number = Number(token.text)
        if not number.is_comparable:
            self._refuse(f"Cannot compare number : {token.text}")
        return number

    def _name(self, missing: str) -> str:
        token = self._tokens.take()
        if token.kind != "key":
            self._refuse(missing)
        return token.text

    def _string(self, otherwise: str) -> str:
        token = self._tokens.take()
        if token.kind != "string":
            self._refuse(otherwise)
        return token.text

    def _close(self, otherwise: str) -> None:
        if self._tokens.take().kind != "}":
            self._refuse(otherwise)

    def _refuse(self, reason: str) -> NoReturn:
        raise InvalidPattern(reason, self._place)
