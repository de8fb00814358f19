"""A netlist at a glance: a line for each population, as text and in a notebook, and never its arrays."""

import html
import re

from exchange_netlists import start
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.netlist.checks import NAME

NAMES = st.from_regex(NAME, fullmatch=True).filter(lambda name: name != "input")


@st.composite
def netlists(draw):
    """A chain of convolutions and max-poolings under names that are allowed, read out as lists, maps or both."""
    b = start(draw(st.integers(0, 99)), draw(st.integers(1, 255)), (2, 4, 4), signed=draw(st.booleans()))
    *hidden, first, second = draw(st.lists(NAMES, min_size=3, max_size=6, unique=True))
    for index, name in enumerate(hidden):
        if index > 0 and draw(st.booleans()):
            b.maxpool(name, kernel=3, stride=1, padding=1)
        else:
            b.fire(name, b.conv(draw(st.integers(1, 12))))
    for name in (first, second)[: draw(st.integers(1, 2))]:
        b.read(name, draw(st.sampled_from([b.linear(3), b.conv(2, 1)])), source=hidden[-1])
    return b.netlist(draw(st.integers(1, 9)))


@given(netlists())
@settings(max_examples=60)
def test_each_population_has_a_line_without_arrays(netlist):
    head, *lines = str(netlist).splitlines()
    assert head == repr(netlist)
    assert [line.split()[:3] for line in lines] == [
        [p.name, type(p).__name__, "x".join(map(str, p.shape))] for p in netlist.populations
    ]
    told = [re.split(r"  +", line, maxsplit=3)[3] for line in lines]
    for population, what in zip(netlist.populations, told, strict=True):
        # Of an array, at most the extremes are told.
        assert len(re.findall(r"\d+", what)) <= 3, population
        assert len(what) < 60
        assert "[" not in what
    assert len({len(line) - len(what) for line, what in zip(lines, told, strict=True)}) == 1, "columns are aligned"


@given(netlists())
@settings(max_examples=60)
def test_one_line_tells_which_netlist_it_is(netlist):
    text = repr(netlist)
    assert netlist.content_hash[:12] in text
    assert f"{len(netlist.populations)} populations, {len(netlist.connections)} connections" in text
    assert f"T={netlist.timesteps}" in text
    assert "\n" not in text
    assert len(text) < 120


@given(netlists())
@settings(max_examples=60)
def test_a_notebook_shows_the_same_text_escaped(netlist):
    page = netlist._repr_html_()
    inside = re.fullmatch(r"<pre[^<>]*>([^<>]*)</pre>", page)
    assert inside is not None, page
    assert html.unescape(inside[1]) == str(netlist)


@given(netlists())
@settings(max_examples=60)
def test_only_a_single_list_of_logits_classifies(netlist):
    expected = netlist.readouts[0] if [len(p.shape) for p in netlist.readouts] == [1] else None
    assert netlist.classifier is expected


def test_two_readouts_classify_nothing(make):
    assert make("cnn").classifier.name == "logits"
    assert make("concat").classifier is None
