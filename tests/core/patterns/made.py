"""Patterns and events made by chance, of few keys and values: so that they often fit."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c", "a.b", "b.c"])
TEXTS = st.sampled_from(
    ["", "x", "X", "xy", "yx", "xyx", "ß", "SS", "*", "\\", "1", "10.0.0.1", "10.0.0.9", "::1"]
)
NUMBERS = st.sampled_from([0, 1, -1, 2, 1.0, 0.5, -0.0, 1e3, 1000, 2**53, 1e-7])
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
WILDCARDS = st.sampled_from(["", "*", "x*", "*x", "x*x", "*y*", "*x*y*", r"\*", r"*\\", r"\**"])
NETWORKS = st.sampled_from(["10.0.0.0/24", "10.0.0.0/29", "10.0.0.9/31", "::/64", "0.0.0.0/0"])


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


def numeric() -> st.SearchStrategy[Any]:
    low = st.tuples(st.sampled_from([">", ">="]), st.sampled_from([-1, 0, 0.5]))
    high = st.tuples(st.sampled_from(["<", "<="]), st.sampled_from([1, 2, 1000]))
    equal = st.tuples(st.just("="), NUMBERS)
    between = st.tuples(low, high).map(lambda both: [*both[0], *both[1]])
    return (low | high | equal).map(list) | between


OPERATORS = st.one_of(
    SCALARS,
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"prefix": TEXTS | st.fixed_dictionaries({"equals-ignore-case": TEXTS})}),
    st.fixed_dictionaries({"suffix": TEXTS | st.fixed_dictionaries({"equals-ignore-case": TEXTS})}),
    st.fixed_dictionaries({"equals-ignore-case": TEXTS}),
    st.fixed_dictionaries({"exactly": TEXTS}),
    st.fixed_dictionaries({"wildcard": WILDCARDS}),
    st.fixed_dictionaries({"cidr": NETWORKS}),
    st.fixed_dictionaries({"numeric": numeric()}),
    st.fixed_dictionaries({"anything-but": one_or_more(TEXTS) | one_or_more(NUMBERS)}),
    st.fixed_dictionaries(
        {
            "anything-but": st.one_of(
                st.fixed_dictionaries({"prefix": one_or_more(TEXTS.filter(bool))}),
                st.fixed_dictionaries({"suffix": one_or_more(TEXTS.filter(bool))}),
                st.fixed_dictionaries({"equals-ignore-case": one_or_more(TEXTS)}),
                st.fixed_dictionaries({"wildcard": one_or_more(WILDCARDS)}),
            )
        }
    ),
)
# Those that fit often: what is tested here is which of them have to fit together.
LEAVES = st.one_of(
    st.lists(OPERATORS, min_size=1, max_size=3),
    st.lists(st.sampled_from(["x", 1, {"exists": True}, {"exists": False}]), min_size=1, max_size=2),
)


def objects(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(KEYS, below, min_size=1, max_size=3)


def with_or(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object, with `$or` at any place among its keys, or without."""

    def put(parts: tuple[dict[str, Any], list[Any], int]) -> dict[str, Any]:
        entries = list(parts[0].items())
        entries.insert(parts[2], ("$or", parts[1]))
        return dict(entries)

    return plain | st.tuples(plain, st.lists(plain, min_size=2, max_size=3), st.integers(0, 3)).map(put)


PATTERNS = with_or(objects(LEAVES | with_or(objects(LEAVES | objects(LEAVES)))))

EVENTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)
