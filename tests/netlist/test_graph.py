"""What a graph of connections says about the order in which values are needed."""

from toolchain.netlist import Connection, last_reads


def _connections(*ends):
    return [Connection(source, target, ()) for source, target in ends]


def test_a_value_goes_with_its_last_reader():
    residual = _connections(("input", "a"), ("a", "b"), ("b", "sum"), ("a", "sum"), ("sum", "output"))
    assert last_reads(["input", "a", "b", "sum", "output"], residual) == {
        "input": (),
        "a": ("input",),
        "b": (),
        "sum": ("a", "b"),
        "output": ("sum", "output"),
    }


def test_the_order_of_connections_does_not_matter():
    ends = [("input", "a"), ("input", "c"), ("a", "b"), ("b", "c"), ("input", "b")]
    expected = {"input": (), "a": (), "b": ("a",), "c": ("input", "b", "c")}
    assert last_reads(["input", "a", "b", "c"], _connections(*ends)) == expected
    assert last_reads(["input", "a", "b", "c"], _connections(*reversed(ends))) == expected


def test_a_value_that_nobody_reads_goes_at_once():
    assert last_reads(["input", "unread", "output"], _connections(("input", "unread"), ("input", "output"))) == {
        "input": (),
        "unread": ("unread",),
        "output": ("input", "output"),
    }


def test_a_walk_holds_what_is_still_to_be_read(architecture, make_netlist):
    netlist = make_netlist(architecture)
    done = last_reads((p.name for p in netlist.populations), netlist.connections)
    held = set()
    for population in netlist.populations:
        held.add(population.name)
        # A loop's populations hold what they hand each other until all of them are done.
        assert {c.source for c in netlist.inputs(population.name) if c.least_delay == 0} <= held
        held -= set(done[population.name])
    assert not held
