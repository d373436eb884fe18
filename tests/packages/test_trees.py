"""Links of a tree that was found good lead nowhere else, as the system itself follows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.errors import ConfigurationError
from streamfn.packages.tree import Entry, Kind, check, clean
from streamfn.packages.writing import Writer

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map("/".join)
trees = st.dictionaries(
    paths,
    st.one_of(
        targets.map(lambda target: Entry(Kind.LINK, target=target)),
        st.just(Entry(Kind.FOLDER)),
        st.just(Entry(Kind.FILE)),
    ),
    max_size=8,
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(trees)
def test_what_is_found_good_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Entry]
) -> None:
    try:
        check(tree)
    except ConfigurationError:
        return
    place = tmp_path_factory.mktemp("tree") / "root"
    place.mkdir()
    writer = Writer(place)
    for path, entry in tree.items():
        if entry.kind is Kind.FOLDER:
            writer.folder(path)
        elif entry.kind is Kind.FILE:
            writer.file(path, entry, [b"x"])
    writer.links(tree)
    writer.close()
    for path in tree:
        assert Path(os.path.realpath(place / path)).is_relative_to(place)


@given(st.text(st.sampled_from("ab./\\:"), max_size=12), st.booleans())
def test_a_clean_path_is_inside(name: str, windows: bool) -> None:
    try:
        path = clean(name, windows=windows)
    except ConfigurationError:
        return
    assert not os.path.isabs(path)
    assert ".." not in path.split("/")
    assert os.path.normpath(f"/root/{path}") == (f"/root/{path}" if path else "/root")
    assert clean(path) == path
