"""Exports of networks at the edges: written whole, or refused by name before anything is."""

import nir
import numpy as np
import pytest

from sim.golden import simulate
from toolchain.exchange import export_netlist, import_netlist
from toolchain.netlist import AdaFire, Connection, Input, InputError, Linear, Netlist, Readout, UnsupportedError

EDGES = {
    "no neurons": (["input", "r"], [("input", "r")], {}),
    "nothing connected": (["input", "r"], [], {}),
    "one timestep": (["input", "a", "r"], [("input", "a"), ("a", "r")], {"timesteps": 1}),
    "nothing into the neurons": (["input", "a", "r"], [("a", "r")], {}),
    "two readouts": (["input", "r", "s"], [("input", "r"), ("input", "s")], {}),
    "frames": (["input", "r"], [("input", "r")], {"coding": "frames"}),
}


@pytest.mark.parametrize("to", ["nir", "nir-explicit", "netx"])
@pytest.mark.parametrize("name", EDGES)
def test_a_network_at_the_edge_is_written_or_refused_by_name(name, to, tmp_path):
    names, pairs, fields = EDGES[name]
    ones, fields = np.ones(3), {"timesteps": 4, "coding": "direct", **fields}
    populations = {
        "input": Input("input", (3,), 8, True, 0.1, ones - 1, ones, fields.pop("coding")),
        "a": AdaFire("a", (3,), 2, np.full(3, 5), np.arange(3), np.zeros(3, int), ones),
        "r": Readout("r", (3,), np.arange(3), ones),
        "s": Readout("s", (3,), np.arange(3), ones),
    }
    weight = np.arange(9).reshape(3, 3) - 4
    connections = tuple(Connection(a, b, (Linear(weight + i),)) for i, (a, b) in enumerate(pairs))
    netlist = Netlist(tuple(populations[n] for n in names), connections, **fields)
    path = tmp_path / "net"
    if to == "netx" and (name.startswith("nothing") or name == "two readouts"):
        with pytest.raises(UnsupportedError, match=r"^[ars]: fed by"):
            export_netlist(netlist, path, to)
        assert not path.exists()
        return
    report = export_netlist(netlist, path, to)
    assert import_netlist(path).netlist.content_hash == netlist.content_hash
    assert ("IF" in {loss.where for loss in report.losses}) == (to == "nir" and "a" in names)


def test_a_refusal_names_the_population(tmp_path):
    """Of four axes, of which NIR has no nodes; a bias would need one."""
    shape, ones = (2, 3, 3, 3), np.ones(2)
    populations = (
        Input("input", shape, 8, True, 0.1, ones - 1, ones),
        Readout("r", shape, np.arange(2), ones),
    )
    netlist = Netlist(populations, (Connection("input", "r", ()),), 2)
    with pytest.raises(UnsupportedError, match=r"^r: NIR has no window"):
        export_netlist(netlist, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_a_network_of_others_sees_frames_where_it_is_told_to(tmp_path):
    """Nothing in a graph of integrate-and-fire neurons says what it was trained on."""
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Linear(np.array([[1.0, -1.0]])),
        "n": nir.IF(np.ones(1), np.full(1, 2.0), v_reset=np.zeros(1)),
        "out": nir.Output(np.array([1])),
    }
    edges = [("in", "w"), ("w", "n"), ("n", "out")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges))
    assert import_netlist(tmp_path / "net.nir").netlist.input.coding == "direct"
    frames = np.array([[[5, 1]], [[0, 0]], [[0, 1]], [[3, 0]]], np.int8)  # (T, N, 2)
    imported = import_netlist(tmp_path / "net.nir", coding="frames", timesteps=4, reset="subtract")
    (neurons,) = imported.netlist.spiking
    # The currents 4, 0, -1, 3 against a threshold of 2: a spike, the one left over, none, one.
    assert simulate(imported.netlist, frames).spikes[neurons.name].ravel().tolist() == [1, 1, 0, 1]
    assert "one frame per timestep" in str(imported.report)


def test_a_coding_that_a_file_contradicts_is_refused(tmp_path):
    ones = np.ones(3)
    populations = Input("input", (3,), 8, True, 0.1, ones - 1, ones, "frames"), Readout("r", (3,), np.arange(3), ones)
    export_netlist(Netlist(populations, (Connection("input", "r", ()),), 4), tmp_path / "net.nir")
    with pytest.raises(InputError, match=r"coding: 'direct' found, .*net\.nir itself says 'frames'"):
        import_netlist(tmp_path / "net.nir", coding="direct")
