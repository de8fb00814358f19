"""Every case that fuzzing found, and some hundred fresh mutations, end in one clear error or in whole content."""

import importlib.util
import random
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from toolchain.cli import run
from toolchain.files import netlist_bytes, read_netlist
from toolchain.netlist import FormatError

HERE = Path(__file__).parents[1]
KINDS = ("h5", "nir", "net", "npz")


@pytest.fixture(scope="module")
def harness():
    spec = importlib.util.spec_from_file_location("fuzz_harness", HERE / "fuzz" / "harness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus(kind, harness):
    check = harness.Checker(kind)
    found = sorted((HERE / "fuzz" / "corpus" / kind).glob("found_*"))
    for file in found:
        check(file.read_bytes())
    assert check.counts["files"] == len(found) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_mutations(kind, harness):
    check, rng, seeds = harness.Checker(kind), random.Random(2026), harness.seeds(kind)
    for _ in range(150):
        check(harness.mutate(kind, rng.choice(seeds), rng))
    assert check.counts["files"] == 150
    assert check.counts["clear errors"] > 75


def limited(program, folder, megabytes):
    """Run a program that may not use more address space than it has now and `megabytes`."""
    start = textwrap.dedent(f"""
        import resource
        import numpy, h5py, toolchain.exchange, toolchain.data
        from toolchain.netlist import AdafireError
        pages = int(open("/proc/self/statm").read().split()[0])
        top = pages * resource.getpagesize() + {megabytes} * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (top, top))
        try:
            {program}
        except AdafireError as error:
            print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_npz_cannot_fill_the_memory(tmp_path):
    """A quarter of a megabyte that inflates to 256 megabytes of zeros: read in part, never whole."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1024, 1024, 1), np.uint8)) | {
        "shape": (256, 1024, 1024, 1)
    }
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(256):
            stream.write(bytes(1 << 20))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 20
    program = "print(len(toolchain.data.read_data('bomb.npz', limit=2)))"
    assert limited(program, tmp_path, 128) == "2\n"


@pytest.mark.parametrize("claim", [(1 << 40,), (1 << 33,), (1 << 16, 1 << 16)])
def test_a_small_nir_cannot_fill_the_memory(claim, harness, tmp_path):
    path = tmp_path / "net.nir"
    path.write_bytes(harness.seeds("nir")[0])
    with h5py.File(path, "r+") as file:
        del file["node/nodes/n001_conv/weight"]
        file.create_dataset("node/nodes/n001_conv/weight", claim, "f4", chunks=True, compression="gzip")
    out = limited("toolchain.exchange.import_netlist('net.nir')", tmp_path, 256)
    assert "n001_conv/weight: " in out


def test_claims_that_overlap_are_counted(harness, tmp_path):
    """Hard links let many datasets claim the same bytes."""
    path = tmp_path / "net.h5"
    path.write_bytes(netlist_bytes(harness.small_netlist()))
    with h5py.File(path, "r+") as file:
        big = file.create_dataset("big", data=np.ones(400_000, np.int8))
        for population in list(file["populations"].values())[1:]:
            for name in ("bias", "scale", "threshold", "initial"):
                if name in population:
                    del population[name]
                    population[name] = big
        del file["big"]
    with pytest.raises(FormatError, match="claims 400000 bytes, more than the whole file may hold"):
        read_netlist(path)


def test_pickles_are_never_opened(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "opened",))

    np.savez(tmp_path / "data.npz", images=np.array([Trap()], dtype=object))
    path = tmp_path / "net.h5"
    path.write_bytes(netlist_bytes(_tiny()))
    assert run(["simulate", str(path), "--data", str(tmp_path / "data.npz")]) == 2
    assert "object found" in capsys.readouterr().err
    assert not (tmp_path / "opened").exists()


def _tiny():
    from toolchain.netlist import Connection, Input, Linear, Netlist, Readout

    x = Input("input", (2,), 8, True, 1.0, np.zeros(2), np.ones(2))
    y = Readout("y", (2,), np.zeros(2, np.int64), np.ones(2))
    return Netlist((x, y), (Connection("input", "y", (Linear(np.eye(2, dtype=np.int64)),)),), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_says_one_line(kind, harness, tmp_path, capsys):
    """For every case that fuzzing found, as a user would meet it."""
    (tmp_path / "net.h5").write_bytes(netlist_bytes(harness.small_netlist()))
    for file in sorted((HERE / "fuzz" / "corpus" / kind).glob("found_*")):
        case = tmp_path / f"case.{kind}"
        case.write_bytes(file.read_bytes())
        arguments = {
            "h5": ["info", str(case)],
            "npz": ["simulate", str(tmp_path / "net.h5"), "--data", str(case)],
        }.get(kind, ["import", str(case), "-o", str(tmp_path / "out.h5")])
        status = run(arguments)
        error = capsys.readouterr().err
        assert status in (0, 2)
        assert status == 0 or len(error.strip().splitlines()) == 1, error
        assert "Traceback" not in error
