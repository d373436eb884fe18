"""The laws of chains: the header round trip, and loops that end."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, pairwise
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamfn.core.lineage import (
    HEADER_LIMIT,
    LINEAGE_LIMIT,
    LOOP_LIMIT,
    OTHERS_LIMIT,
    TRACE_HEADER,
    Trace,
)

pytestmark = pytest.mark.timeout(120)  # a nightly run walks five thousand chains for each law

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
GUIDE = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1|68fd508a:5"
NEW = Trace(ROOT)
HIGHEST = range(7, 4999, 4992 // LINEAGE_LIMIT)


def arn(function: int | str) -> str:
    return f"arn:aws:lambda:eu-west-1:123456789012:function:{function}"


def parsed(text: str) -> Trace:
    trace = Trace.parse(text)
    assert trace is not None
    return trace


def after(*functions: int, trace: Trace = NEW) -> Trace:
    for function in functions:
        trace = trace.invoked(arn(function))
    return trace


def hexes(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdefABCDEF", min_size=length, max_size=length)


entries = st.builds("{}{}:{}".format, st.sampled_from(["", "1:", "32767:"]), hexes(8), st.integers(0, 10**9))
lineages = st.lists(st.one_of(entries, entries, st.text(max_size=8))).map("|".join)
fields = st.one_of(
    st.builds("Parent={}".format, hexes(16)),
    st.builds("Sampled={}".format, st.sampled_from("01?x")),
    st.builds("Lineage={}".format, lineages),
    st.builds("Self={}".format, hexes(8)),
    st.builds(
        "{}={}".format, st.sampled_from(["root", " PARENT ", "lineage", "Self", ""]), st.text(max_size=20)
    ),
    st.text(max_size=20),
)
headers = st.builds(
    lambda fields, root, place: ";".join([*fields[:place], f"Root=1-{root[:8]}-{root[8:]}", *fields[place:]]),
    st.lists(fields, max_size=12),
    hexes(32),
    st.integers(0, 12),
)
traces = headers.map(parsed)
functions = st.integers(0, 200)


def test_a_header_is_read_field_by_field() -> None:
    assert parsed(GUIDE) == Trace(ROOT, "53995c3f42cd8ad8", "1", (("a87bd80c", 1), ("68fd508a", 5)))
    assert str(parsed(GUIDE)) == GUIDE


def test_what_lambda_counts_now_is_carried_on() -> None:
    text = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:fe460cdd:0"
    assert str(parsed(text)) == text
    assert str(parsed(text).invoked(arn("resize"))).startswith(f"{text}|")


def test_counts_of_lambdas_own_leave_ours_alone() -> None:
    mine = str(NEW.invoked(arn("resize"))).removeprefix(f"Root={ROOT};Lineage=")
    trace = parsed(f"Root={ROOT};Lineage=1:{mine.replace(':1', ':9')}|{mine}")
    assert trace.count(arn("resize")) == 1


def test_unknown_fields_stay_as_they_came_behind_the_known_ones() -> None:
    trace = parsed(f"Self=1-67891234-12456789abcdef012345678;Root={ROOT}; later ;A=b=c;;A=d")
    assert trace.others == ("Self=1-67891234-12456789abcdef012345678", "later", "A=b=c", "A=d")
    assert str(trace) == f"Root={ROOT};Self=1-67891234-12456789abcdef012345678;later;A=b=c;A=d"


def test_names_are_read_in_any_case_and_blanks_do_not_count() -> None:
    assert parsed(f" root = {ROOT} ;SAMPLED=?; lineage = A87BD80C:2 | 68fd508a:3 ") == Trace(
        ROOT, sampled="?", lineage=(("a87bd80c", 2), ("68fd508a", 3))
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";;;",
        ROOT,
        "Root=",
        "Parent=53995c3f42cd8ad8;Sampled=1",
        f"Root={ROOT}0",
        f"Root={ROOT[:-1]}",
        f"Root=2{ROOT[1:]}",
        f"Root={ROOT[:-1]}g",
        f"Root={ROOT[:-1]}٣",
        f"Root={ROOT.replace('-', '')}",
    ],
)
def test_without_a_root_it_is_no_trace_header(text: str) -> None:
    assert Trace.parse(text) is None


def test_malformed_parents_and_decisions_are_left_out() -> None:
    assert parsed(f"Root={ROOT};Parent=53995c3f;Sampled=yes;Sampled=;Parent=") == NEW


def test_the_first_well_formed_of_a_known_field_is_taken() -> None:
    text = f"Root=;Root={ROOT};Root={ROOT[:-1]}4;Sampled=x;Sampled=0;Sampled=1"
    assert parsed(text) == Trace(ROOT, sampled="0")


@pytest.mark.parametrize(
    "entry",
    [
        "68fd508a",
        "68fd508a:",
        "68fd508a:-1",
        "68fd508a:x",
        "68fd508a:1.5",
        "68fd508a:٣",
        "68fd508a:1234567890",
        "68fd508a:" + "9" * 5000,
        "x:68fd508a:5",
        "1:2:68fd508a:5",
        "68fd:5",
        ":5",
    ],
)
def test_malformed_counts_are_ignored(entry: str) -> None:
    assert parsed(f"Root={ROOT};Lineage={entry}|a87bd80c:1").lineage == (("a87bd80c", 1),)


def test_of_counts_of_one_function_the_highest_is_taken() -> None:
    trace = parsed(f"Root={ROOT};Lineage=a87bd80c:3|68fd508a:5|a87bd80c:7;Lineage=A87BD80C:4|68fd508a:6")
    assert trace.lineage == (("a87bd80c", 7), ("68fd508a", 6))


def test_a_count_beyond_what_is_counted_is_drawn_back_and_not_lost() -> None:
    assert parsed(f"Root={ROOT};Lineage=a87bd80c:999999999").lineage == (("a87bd80c", 255),)
    assert after(*[1] * 300).count(arn(1)) == 255


def test_a_field_that_could_break_a_header_is_left_out() -> None:
    assert parsed(f"Root={ROOT};a\r\nX-Evil: 1;Ä=1;b\x00;c").others == ("c",)


def test_unknown_fields_are_kept_while_they_fit_and_never_cut_within() -> None:
    long, rest = "a" * (OTHERS_LIMIT - 10), "b" * 8
    assert parsed(f"Root={ROOT};{long};{rest};c").others == (long, rest)
    assert parsed(f"Root={ROOT};{long};{rest}b;c").others == (long, "c")
    assert parsed(f"Root={ROOT};{'a' * OTHERS_LIMIT};c").others == ("c",)


def test_a_lineage_that_is_too_long_keeps_the_highest_counts() -> None:
    many = [f"{number:08x}:{100 if number in HIGHEST else number % 100}" for number in range(5000)]
    kept = parsed(f"Root={ROOT};Lineage={'|'.join(many)}").lineage
    assert kept == tuple((f"{number:08x}", 100) for number in HIGHEST)


def test_the_largest_header_is_within_its_limit_and_nearly_reaches_it() -> None:
    lineage = "|".join(f"32767:{number:08x}:255" for number in range(100))
    others = ";".join("xyz" for _ in range(500))
    text = str(parsed(f"Root={ROOT};Parent={'a' * 16};Sampled=1;Lineage={lineage};{others}"))
    assert HEADER_LIMIT * 0.85 < len(text) <= HEADER_LIMIT


@given(st.one_of(st.text(), headers))
@example(f"Root={ROOT};" + "9" * 100_000)
@example("\ud800=;\x1f;" + GUIDE)
def test_reading_never_raises_and_writing_gives_what_reads_the_same(text: str) -> None:
    trace = Trace.parse(text)
    if trace is not None:
        written = str(trace)
        assert Trace.parse(written) == trace
        assert str(parsed(written)) == written
        assert len(written) <= HEADER_LIMIT
        assert written.isascii()
        assert written.isprintable()


@given(traces, st.lists(functions, max_size=90))
def test_invoked_traces_round_trip_within_the_limit_too(trace: Trace, chain: list[int]) -> None:
    trace = after(*chain, trace=trace)
    assert parsed(str(trace)) == trace
    assert len(str(trace)) <= HEADER_LIMIT


@given(st.floats(0, 2**32, exclude_max=True), hexes(24))
def test_a_new_chain_has_its_second_and_its_digits(now: float, digits: str) -> None:
    trace = Trace.begun(now, digits)
    version, second, unique = trace.root.split("-")
    assert (version, int(second, 16), unique) == ("1", int(now), digits)
    assert trace == Trace(trace.root)
    assert parsed(str(trace)) == trace


def test_a_new_chain_as_the_guide_has_it() -> None:
    assert str(Trace.begun(1465510280.9, "bd862e3fe1be46a994272793")) == f"Root={ROOT}"


@pytest.mark.parametrize("now", [-1.0, 2.0**32, 1e18])
def test_an_instant_that_eight_digits_do_not_hold_still_begins_a_chain(now: float) -> None:
    trace = Trace.begun(now, "0" * 24)
    assert parsed(str(trace)) == trace


@pytest.mark.parametrize("digits", ["", "0" * 23, "0" * 25, "x" * 24])
def test_a_new_chain_wants_its_digits(digits: str) -> None:
    with pytest.raises(ValueError, match="is not 24 hex digits"):
        Trace.begun(0, digits)


def test_the_hash_of_a_function_stays_what_it_is() -> None:
    """Chains pass between processes and releases."""
    assert str(NEW.invoked(arn("resize"))) == f"Root={ROOT};Lineage=90226c09:1"
    assert TRACE_HEADER == "AWSTraceHeader"


@pytest.mark.parametrize("qualifier", [":$LATEST", ":7", ":live"])
def test_versions_and_aliases_are_one_function(qualifier: str) -> None:
    trace = NEW.invoked(arn("resize") + qualifier)
    assert trace == NEW.invoked(arn("resize"))
    assert trace.count(arn("resize") + qualifier) == 1
    assert trace.count(arn("resized")) == 0


@given(traces, functions, functions)
def test_an_invocation_counts_one_up_and_nothing_down(trace: Trace, function: int, other: int) -> None:
    """And nobody else's up, but for those that a full lineage does not name."""
    later = trace.invoked(arn(function))
    assert later.count(arn(function)) == min(trace.count(arn(function)) + 1, 255)
    assert later.count(arn(other)) >= trace.count(arn(other))
    if other != function and len(later.lineage) < LINEAGE_LIMIT:
        assert later.count(arn(other)) == trace.count(arn(other))
    assert (later.root, later.parent, later.sampled, later.others) == (
        trace.root,
        trace.parent,
        trace.sampled,
        trace.others,
    )


@given(traces.filter(lambda trace: len(trace.lineage) < LINEAGE_LIMIT), functions)
def test_a_function_that_calls_itself_is_stopped_at_its_17th_invocation(trace: Trace, function: int) -> None:
    for _ in range(LOOP_LIMIT):
        assert not trace.loops(arn(function))
        trace = parsed(str(trace.invoked(arn(function))))
    assert trace.loops(arn(function))
    if len(trace.lineage) < LINEAGE_LIMIT:
        assert not trace.loops(arn("another"))


@given(st.integers(1, LINEAGE_LIMIT))
@example(LINEAGE_LIMIT)
def test_a_ring_of_functions_is_stopped_after_16_rounds(size: int) -> None:
    chain = NEW
    for number in list(range(size)) * LOOP_LIMIT:
        assert not chain.loops(arn(number))
        chain = chain.invoked(arn(number))
    assert all(chain.loops(arn(number)) for number in range(size))


@given(st.integers(LINEAGE_LIMIT + 1, 4 * LINEAGE_LIMIT))
def test_a_ring_larger_than_a_lineage_is_stopped_too(size: int) -> None:
    chain, made = NEW, 0
    for number in cycle(range(size)):
        if chain.loops(arn(number)):
            break
        chain, made = chain.invoked(arn(number)), made + 1
    assert made <= LINEAGE_LIMIT * LOOP_LIMIT


def test_functions_that_run_once_do_not_hide_one_that_loops() -> None:
    chain = after(*range(LINEAGE_LIMIT - 1), *[1000] * LOOP_LIMIT)
    assert chain.loops(arn(1000))
    chain = after(*range(2000, 2000 + 5 * LINEAGE_LIMIT), trace=chain)
    assert chain.loops(arn(1000))


@given(traces, st.integers(0), st.integers(1, 200))
def test_every_chain_comes_to_an_end(trace: Trace, seed: int, size: int) -> None:
    """Whatever it calls next, in whatever order, and whatever came in its header."""
    choose, made = Random(seed), 0
    while not trace.loops(arn(function := choose.randrange(size))):
        trace, made = trace.invoked(arn(function)), made + 1
        assert made <= LINEAGE_LIMIT * LOOP_LIMIT


@given(st.lists(functions, max_size=300))
def test_counts_are_never_too_low_and_exact_while_there_is_room(chain: list[int]) -> None:
    trace, truly = after(*chain), Counter(chain)
    for function in range(201):
        assert trace.count(arn(function)) >= truly[function]
        if len(truly) < LINEAGE_LIMIT:
            assert trace.count(arn(function)) == truly[function]


@given(st.lists(functions, max_size=40))
def test_counts_only_rise_along_a_chain(chain: list[int]) -> None:
    steps = [after(*chain[:length]) for length in range(len(chain) + 1)]
    for before, later in pairwise(steps):
        assert all(later.count(arn(function)) >= before.count(arn(function)) for function in chain)
