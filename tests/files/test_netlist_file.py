"""The netlist file: the same content back, the same bytes again, every fault named."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from random_netlists import ARCHITECTURES, radix_netlist

from toolchain.files import SCHEMA, netlist_bytes, read_netlist, write_netlist
from toolchain.netlist import FormatError, InputError, Provenance

SUPPORT = Path(__file__).parents[1] / "support"


def test_a_netlist_comes_back_as_it_was(netlist, tmp_path):
    write_netlist(netlist, tmp_path / "net.h5")
    back = read_netlist(tmp_path / "net.h5")
    assert back.content_hash == netlist.content_hash
    assert back.provenance == netlist.provenance
    assert netlist_bytes(back) == netlist_bytes(netlist)


def test_the_hash_sees_every_number(make):
    netlist = make("residual")
    hashes = {netlist.content_hash}
    first = netlist.populations[1]
    hashes.add(replace(netlist, alpha=(0.5,) * netlist.timesteps).content_hash)
    hashes.add(replace(netlist, timesteps=7, alpha=()).content_hash)
    changed = (netlist.populations[0], replace(first, threshold=first.threshold + 1), *netlist.populations[2:])
    hashes.add(replace(netlist, populations=changed).content_hash)
    assert len(hashes) == 4
    assert replace(netlist, provenance=Provenance(other={"other": 1})).content_hash == netlist.content_hash


def test_another_process_writes_the_same_bytes(make, tmp_path):
    netlist = make("residual")
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(SUPPORT)!r})\n"
        "from exchange_netlists import residual\n"
        "from toolchain.files import write_netlist\n"
        "write_netlist(residual(7, 4), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "other.h5")], check=True, env={"PYTHONHASHSEED": "5"})
    assert (tmp_path / "other.h5").read_bytes() == netlist_bytes(netlist)


def test_all_integers_are_integers(make, tmp_path):
    write_netlist(make("every_operator"), tmp_path / "net.h5")
    floats = []
    with h5py.File(tmp_path / "net.h5") as file:

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                floats.append(name.split("/")[-1])

        file.visititems(visit)
        assert file["connections/00000/00/weight"].dtype == np.int8
    assert set(floats) == {"alpha", "mean", "std", "scale"}


def test_rates_are_written_as_they_were_and_digits_in_a_schema_of_their_own(tmp_path):
    rates, digits = ARCHITECTURES["residual"](0, 4, 1), radix_netlist("residual", digits=4)
    for netlist, schema in ((rates, 1), (digits, 2)):
        write_netlist(netlist, tmp_path / "net.h5")
        with h5py.File(tmp_path / "net.h5") as file:
            assert file.attrs["schema"] == schema
            assert ("spike_code" in file.attrs) == (schema == 2)
        back = read_netlist(tmp_path / "net.h5")
        assert (back.spike_code, back.content_hash) == (netlist.spike_code, netlist.content_hash)
        assert netlist_bytes(back) == netlist_bytes(netlist)
    again = replace(digits, spike_code="rate")
    assert again.content_hash != digits.content_hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spike_code": np.bytes_("phase")}, "spike_code 'phase' found, expected one of rate, radix"),
        ({"spike_code": np.int64(1)}, "spike_code: int found, expected a text"),
        ({"timesteps": np.int64(9)}, "expected numbers up to 255; use at most 8 digits"),
        ({"timesteps": np.int64(0)}, "timesteps 0 found"),
        ({"schema": np.int64(1)}, "'spike_code'"),
    ],
)
def test_a_damaged_spike_code_is_named(change, message, tmp_path):
    write_netlist(radix_netlist("linear"), tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        for name, value in change.items():
            file.attrs[name] = value
    with pytest.raises(FormatError, match=re.escape(message)):
        read_netlist(tmp_path / "net.h5")


def faults():
    """Each changes an open file and says what the message must contain."""

    def schema(file):
        file.attrs["schema"] = np.int64(SCHEMA + 1)

    def old_schema(file):
        file.attrs["schema"] = np.int64(0)

    def no_schema(file):
        del file.attrs["schema"]

    def other_format(file):
        file.attrs["format"] = np.bytes_("something")

    def weight(file):
        file["connections/00000/00/weight"][0, 0, 0, 0] += 1

    def float_weight(file):
        place = "connections/00000/00/weight"
        values = file[place][()].astype(np.float64)
        del file[place]
        file[place] = values

    def nan_threshold(file):
        place = "populations/00001/threshold"
        shape = file[place].shape
        del file[place]
        file[place] = np.full(shape, np.nan)

    def zero_threshold(file):
        file["populations/00001/threshold"][0] = 0

    def negative_scale(file):
        file["populations/00001/scale"][0] = -1.0

    def duplicate_name(file):
        file["populations/00002"].attrs["name"] = file["populations/00001"].attrs["name"]

    def dangling(file):
        file["connections/00001"].attrs["source"] = np.bytes_("nobody")

    def cyclic(file):
        file["connections/00001"].attrs["source"] = np.bytes_("block2.b")

    def escaping_name(file):
        file["populations/00001"].attrs["name"] = np.bytes_("../../etc/passwd")

    def unknown_kind(file):
        file["populations/00001"].attrs["kind"] = np.bytes_("Perceptron")

    def unknown_operator(file):
        file["connections/00000/00"].attrs["kind"] = np.bytes_("Exec")

    def extra_field(file):
        file["populations/00001"].attrs["leak"] = np.int64(3)

    def missing_field(file):
        del file["populations/00001"].attrs["phi"]

    def wide_phi(file):
        file["populations/00001"].attrs["phi"] = np.int64(1 << 40)

    def phi_array(file):
        file["populations/00001"].attrs["phi"] = np.arange(3)

    def groups(file):
        file["connections/00000/00"].attrs["groups"] = np.int64(3)

    def zero_groups(file):
        file["connections/00000/00"].attrs["groups"] = np.int64(0)

    def huge_padding(file):
        file["connections/00000/00"].attrs["padding"] = np.full((2, 2), 1 << 40)

    def bias_length(file):
        place = "populations/00001/bias"
        del file[place]
        file[place] = np.zeros(99, np.int8)

    def gap(file):
        del file["populations/00003"]

    def soft_link(file):
        del file["populations/00001/bias"]
        file["populations/00001/bias"] = h5py.SoftLink("/populations/00002/bias")

    def external_link(file):
        del file["populations/00001/bias"]
        file["populations/00001/bias"] = h5py.ExternalLink("/etc/passwd", "/x")

    def external_storage(file):
        del file["populations/00001/bias"]
        file["populations/00001"].create_dataset("bias", (8,), "i1", external=[("/etc/passwd", 0, 8)])

    def compressed(file):
        del file["populations/00001/bias"]
        file["populations/00001"].create_dataset("bias", data=np.zeros(1 << 20, np.int8), compression="gzip")

    def unallocated(file):
        del file["populations/00001/bias"]
        file["populations/00001"].create_dataset("bias", (1 << 45,), "i8")

    def objects(file):
        del file["populations/00001/bias"]
        file["populations/00001"].create_dataset("bias", data=["a", "b"], dtype=h5py.string_dtype())

    def compound(file):
        del file["populations/00001/bias"]
        file["populations/00001"].create_dataset("bias", data=np.zeros(4, [("a", "i4"), ("b", "i4")]))

    def cycle_of_groups(file):
        del file["populations/00001/bias"]
        file["populations/00001/bias"] = file["populations"]

    def provenance_not_json(file):
        del file["provenance"]
        file["provenance"] = np.frombuffer(b"{'a'", np.uint8)

    def nan_alpha(file):
        del file["alpha"]
        file["alpha"] = np.full(6, np.nan)

    def timesteps(file):
        file.attrs["timesteps"] = np.int64(1 << 40)

    def float_timesteps(file):
        file.attrs["timesteps"] = 4.5

    return {
        schema: f"schema version {SCHEMA + 1} found, expected 1 to {SCHEMA}; update adafire",
        old_schema: f"schema version 0 found, expected 1 to {SCHEMA}; convert the network again",
        no_schema: "@schema",
        other_format: "no netlist of adafire",
        weight: "content hash",
        float_weight: "input->stem: weights are float64",
        nan_threshold: "stem: threshold is float64",
        zero_threshold: "stem: threshold has 0",
        negative_scale: "stem: scale",
        duplicate_name: "stem: two populations",
        dangling: "no population 'nobody'",
        cyclic: "runs backwards",
        escaping_name: "'../../etc/passwd'",
        unknown_kind: "'Perceptron'",
        unknown_operator: "'Exec'",
        extra_field: "unknown ['leak']",
        missing_field: "misses fields ['phi']",
        wide_phi: "stem: phi",
        phi_array: "populations/00001/phi",
        groups: "3 groups",
        zero_groups: "groups (0,)",
        huge_padding: "input->stem",
        bias_length: "stem: bias has shape (99,)",
        gap: "populations: entries are not numbered",
        soft_link: "bias: is a link",
        external_link: "bias: is a link",
        external_storage: "bias: its values are outside",
        compressed: "bias: is chunked",
        unallocated: "bias: 0 bytes stored",
        objects: "bias: its type",
        compound: "bias: its type",
        cycle_of_groups: "populations/00001/bias",
        provenance_not_json: "provenance: is no JSON",
        nan_alpha: "alpha",
        timesteps: "timesteps",
        float_timesteps: "@timesteps: float",
    }


@pytest.mark.parametrize(("fault", "message"), faults().items(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_fault_is_refused_by_name(fault, message, make, tmp_path):
    path = tmp_path / "net.h5"
    write_netlist(make("residual"), path)
    with h5py.File(path, "r+") as file:
        fault(file)
    with pytest.raises(FormatError) as caught:
        read_netlist(path)
    assert message in str(caught.value)
    assert "net.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04 not a netlist", b"\x89HDF\r\n\x1a\n" + b"\0" * 5000]
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "net.h5").write_bytes(content)
    with pytest.raises(FormatError):
        read_netlist(tmp_path / "net.h5")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"net\.h5: no such file"):
        read_netlist(tmp_path / "net.h5")
    with pytest.raises(InputError, match="folder"):
        read_netlist(tmp_path)


def test_every_truncation_is_an_error(make, tmp_path):
    data = netlist_bytes(make("mlp"))
    path = tmp_path / "net.h5"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_netlist(path)


def test_what_cannot_be_json_is_refused(make, tmp_path):
    netlist = replace(make("mlp"), provenance=Provenance(other={"accuracy": float("nan")}))
    with pytest.raises(InputError, match="provenance"):
        write_netlist(netlist, tmp_path / "net.h5")
    assert list(tmp_path.iterdir()) == []
