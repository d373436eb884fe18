"""Reads a pattern into its rules: one for each way through its `$or`, each a leaf by path.

A path joins the names of keys with dots: `{"a.b": […]}` and `{"a": {"b": […]}}` are the same, in patterns and
in events. Where a path comes twice in one rule, the last one holds. (event-ruler: JsonRuleCompiler.)
"""

from __future__ import annotations

from typing import Final, NoReturn

from streamfn.core.patterns import wildcards
from streamfn.core.patterns.expressions import Expressions
from streamfn.core.patterns.operators import RESERVED, AnythingBut, Leaf, Rule
from streamfn.core.patterns.tokens import DEEPEST, Tokens
from streamfn.core.patterns.wildcards import Wildcard
from streamfn.errors import InvalidPattern

MOST_RULES: Final = 1000
"""Ways through all `$or` of a pattern (EventBridge User Guide: eb-create-pattern-operators)."""


def parse(pattern: object) -> tuple[Rule, ...]:
    """Takes a dict, or JSON as str or bytes. Raises nothing but InvalidPattern, whatever it gets."""
    if not isinstance(pattern, (dict, str, bytes, bytearray, memoryview)):
        raise InvalidPattern("Filter is not an object")
    return tuple(_Parser(Tokens(pattern)).rules())


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def rules(self) -> list[Rule]:
        if self._tokens.take().kind != "{":
            raise InvalidPattern("Filter is not an object")
        rules: list[Rule] = []
        self._object(rules, None, within_or=False)
        self._tokens.end()
        return rules

    def _object(self, rules: list[Rule], path: str | None, *, within_or: bool) -> None:
        """Reads what follows an opening bracket into each of the rules."""
        is_empty = True
        while (key := self._tokens.take()).kind != "}":
            is_empty = False
            name = key.text
            here = name if path is None else f"{path}.{name}"
            if name == "$or" and self._is_or():
                self._either(rules, path, here)
                continue
            if within_or and name in RESERVED:
                self._refuse(f"{name} is Ruler reserved fieldName which cannot be used inside $or.", here)
            match self._tokens.take().kind:
                case "{":
                    self._object(rules, here, within_or=within_or)
                case "[":
                    self._write(rules, here)
                case _:
                    self._refuse(f'"{name}" must be an object or an array', here)
        if is_empty:
            self._refuse("Empty objects are not allowed", path or "")

    def _is_or(self) -> bool:
        """Whether `$or` is the relation, and not a key that happens to be called so."""
        if self._tokens.peek(0).kind != "[" or self._tokens.peek(1).kind != "{":
            return False
        first = self._tokens.peek(2)
        return first.kind != "key" or first.text not in RESERVED

    def _either(self, rules: list[Rule], path: str | None, here: str) -> None:
        """Each branch goes on from the rules so far."""
        before = rules.copy()
        rules.clear()
        self._tokens.take()
        branches = 0
        while (token := self._tokens.take()).kind != "]":
            branches += 1
            if token.kind != "{":
                self._refuse("Only JSON object is allowed in array of $or relationship.", here)
            branch = [rule.copy() for rule in before] or [{}]
            self._object(branch, path, within_or=True)
            rules += branch
            if len(rules) > MOST_RULES:
                self._refuse(f"Rule is too complex - $or makes more than {MOST_RULES} combinations", here)
        if branches < 2:
            self._refuse("There must have at least 2 Objects in $or relationship.", here)

    def _write(self, rules: list[Rule], path: str) -> None:
        if path.count(".") >= DEEPEST:
            self._refuse(f"Pattern is nested more than {DEEPEST} levels deep", path)
        leaf = Leaf(tuple(Expressions(self._tokens, path).members()))
        groups = [
            [operator]
            if isinstance(operator, Wildcard)
            else [string for string in operator.strings if isinstance(string, Wildcard)]
            for operator in leaf.operators
            if isinstance(operator, Wildcard | AnythingBut)
        ]
        if wildcards.complexity(groups) > wildcards.MOST_COMPLEX:
            self._refuse(wildcards.TOO_COMPLEX, path)
        rules[:] = rules or [{}]
        for rule in rules:
            rule[path] = leaf

    def _refuse(self, reason: str, place: str) -> NoReturn:
        raise InvalidPattern(reason, place)
