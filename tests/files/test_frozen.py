"""Files that earlier versions wrote: every later version reads them, to the same numbers (see frozen/make.py)."""

import hashlib
import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from sim.golden import simulate
from toolchain.cli import run
from toolchain.exchange import import_netlist
from toolchain.exchange.nir import read_nir
from toolchain.files import read_netlist, read_trace

FOLDER = Path(__file__).parent / "frozen" / "schema1"

#: Content hashes.
NETLISTS = {
    "concat.h5": "57a0a74be8867754330289830e2ad1e79a398acc8165b2eb5453a79e7709087b",
    "converted.h5": "401b6f912d13b5e48cfc4d0d704851d59b268aa3385fafcc0743c4ca58374a2b",
    "every_operator.h5": "56244ef4ce238f63090d1ecf9fe116ffd2ebf451ca3b5ed616a74260ef83a17b",
    "mlp.h5": "c74c9673749145b40b4911d58b62111e4a8c91bbe1c2a53963b243c28d2649fc",
    "per_neuron.h5": "1f67e93f2d4857a7e35a4d56f752ba6cce6d9b2de125921c8cfb6d44bfbde08b",
    "residual.h5": "ef0d3f31e6b90c32b1261bb5ed0dccd108dc66f016a181fe093741b1fce72077",
    "wide.h5": "887dfc80a3c10cdf4cc4b51fecb60ce553b419cd067047af805dcc18aaeaf7c0",
}
EXPORTS = {
    "compact.nir": "35ae1e66bfb28130ad42665eea3c3a3d0c2ee0cf084a345d11b6d0b86ae16c09",
    "explicit.nir": "ee2f3e856dd4ec30841267e3b2355cfd279c998c617c682b2cc2c8043ac3cd4b",
    "mlp.net": "c74c9673749145b40b4911d58b62111e4a8c91bbe1c2a53963b243c28d2649fc",
}
#: What schema 2 added, in its folder: a netlist in radix code.
DIGITS = FOLDER.with_name("schema2")
RADIX = "37a9ed7b00aebd5c1e2a63b1004def5d6e91e5876e941cfc3e84910cbf4e931f"
RADIX_TRACE = "992528ac94019ebfd8ba82090a2500c1ab8d48f04f8b3569b4e4b785fe22a0f8"
#: What schema 3 added: leaky populations, loops and delays.
LOOPS = FOLDER.with_name("schema3")
RECURRENT = "506bfb59ad542e49b311cad6c81f7134a6715cf42fb7ead0e03846157e729782"
RECURRENT_TRACE = "f939b301bd913ef19e7dd81386157516c778b277a3ccbde08060e9349ccc5c56"
#: SHA-256 over names, types, shapes and values of a trace's arrays.
TRACES = {
    "compact_trace.h5": "cc692e3ce5e4da961717c39712cd8230af72c3dfcfcad0c7ecd90a36d2316107",
    "explicit_trace.h5": "53fbcb4c6370891c74e2ca25dc72a55b650203e127114dda35a5418a40c78097",
}


def sha256(trace):
    sha = hashlib.sha256()
    for name, array in trace.populations.items():
        sha.update(f"{name} {array.dtype} {array.shape}:".encode() + array.tobytes())
    return sha.hexdigest()


def test_all_files_are_pinned_and_small():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sizes.keys() == NETLISTS.keys() | EXPORTS.keys() | TRACES.keys()
    assert max(sizes.values()) < 100_000
    assert sum(sizes.values()) < 500_000


@pytest.mark.parametrize(("name", "expected"), NETLISTS.items())
def test_a_netlist_is_read(name, expected):
    assert read_netlist(FOLDER / name).content_hash == expected


def test_what_is_in_them():
    """The files are worth keeping: frames, max-pooling, biases per neuron, alpha, 16-bit weights."""
    found = {name.removesuffix(".h5"): read_netlist(FOLDER / name) for name in NETLISTS}
    assert found["concat"].input.coding == "frames"
    assert len(found["concat"].readouts) == 2
    kinds = {type(p).__name__ for p in found["every_operator"].populations}
    assert kinds == {"Input", "AdaFire", "MaxPool", "Readout"}
    assert found["per_neuron"]["a"].bias.shape == found["per_neuron"]["a"].shape
    assert len(found["residual"].alpha) == 6
    assert found["wide"].weight_bits == 16


def test_provenance_is_kept(capsys):
    """All that a conversion wrote comes out again, whatever a later version makes of it."""
    with h5py.File(FOLDER / "converted.h5") as file:
        stored = json.loads(file["provenance"][()].tobytes())
    assert stored.keys() == {
        *("adafire", "calibration_data", "early_exit", "evaluation"),
        *("network", "notes", "recipe", "search"),
    }
    assert run(["info", str(FOLDER / "converted.h5"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"] == stored


@pytest.mark.parametrize(("name", "expected"), EXPORTS.items())
def test_an_export_is_imported(name, expected):
    assert import_netlist(FOLDER / name).netlist.content_hash == expected


@pytest.mark.parametrize(("name", "expected"), TRACES.items())
def test_a_trace_is_read(name, expected):
    trace = read_trace(FOLDER / name)
    assert sha256(trace) == expected
    assert trace.backend == "golden"
    assert trace.netlist_hash == EXPORTS[name.replace("_trace.h5", ".nir")]


def test_digits_are_read_and_run_to_the_same_payloads():
    assert {path.name for path in DIGITS.iterdir()} == {"radix.h5", "radix_trace.h5"}
    netlist, trace = read_netlist(DIGITS / "radix.h5"), read_trace(DIGITS / "radix_trace.h5")
    assert (netlist.spike_code, netlist.content_hash, trace.netlist_hash) == ("radix", RADIX, RADIX)
    assert sha256(trace) == RADIX_TRACE
    # The input sends its payload with the last digit.
    assert sha256(simulate(netlist, trace.spikes["input"][-1])) == RADIX_TRACE


def test_loops_are_read_and_run_to_the_same_spikes():
    assert {path.name for path in LOOPS.iterdir()} == {"recurrent.h5", "recurrent_trace.h5"}
    netlist, trace = read_netlist(LOOPS / "recurrent.h5"), read_trace(LOOPS / "recurrent_trace.h5")
    assert (netlist.content_hash, trace.netlist_hash) == (RECURRENT, RECURRENT)
    assert sha256(trace) == RECURRENT_TRACE
    assert sha256(simulate(netlist, trace.spikes["input"])) == RECURRENT_TRACE


@pytest.mark.parametrize("name", ["compact", "explicit"])
def test_nir_gives_the_same_spikes(name):
    trace = read_trace(FOLDER / f"{name}_trace.h5")
    again = simulate(read_nir(FOLDER / f"{name}.nir"), trace.spikes["input"][0])
    assert sha256(again) == sha256(trace)


def test_the_nodes_alone_give_the_same_spikes(tmp_path):
    """Without our own metadata, as a reader of the profile's page has it."""
    buffer = io.BytesIO((FOLDER / "compact.nir").read_bytes())
    with h5py.File(buffer, "r+") as file:
        for name in ("structure", "arrays", "provenance"):
            del file["node/metadata/adafire"][name]
    (tmp_path / "net.nir").write_bytes(buffer.getvalue())
    trace = read_trace(FOLDER / "compact_trace.h5")
    again = simulate(read_nir(tmp_path / "net.nir"), trace.spikes["input"][0])
    assert again.populations.keys() == trace.populations.keys()
    for population, values in trace.populations.items():
        np.testing.assert_array_equal(again.populations[population], values)
