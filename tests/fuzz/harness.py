"""What the fuzz targets share: seeds, mutations, and what must hold for every mutated file.

Each mutated file must end in one clear error (an AdafireError of one line), or in content that is whole:
the same as the seed's, or a valid netlist that can be written, read back and run. No other exception, no crash,
no hang, no more memory than the limit that libFuzzer watches.
"""

import contextlib
import functools
import io
import math
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from toolchain.netlist import (
    AdaFire,
    AdafireError,
    Connection,
    Conv,
    CubaLif,
    Input,
    LeakyReadout,
    Linear,
    Netlist,
    Provenance,
    Readout,
    Reshape,
    Scale,
    SumPool,
)

#: What every file may cost, in MiB of the whole process and in seconds.
MEMORY = 1024
SECONDS = 20


def small_netlist():
    """A network with a convolution, a pool, a shortcut and a matrix, of a few hundred weights."""
    rng = np.random.default_rng(0)
    ints = lambda *shape: rng.integers(-30, 30, shape)  # noqa: E731
    shape = (2, 4, 4)
    return Netlist(
        (
            Input("input", (2, 4, 4), 8, True, 0.02, np.zeros(2), np.ones(2)),
            AdaFire("a", shape, 3, np.array([90, 70]), ints(2), np.array([45, 35]), np.full(2, 0.01)),
            AdaFire("b", shape, 2, np.array([60, 80]), ints(2), np.array([30, 40]), np.full(2, 0.01)),
            Readout("r", (3,), ints(3), np.full(3, 0.1)),
        ),
        (
            Connection("input", "a", (Conv(ints(2, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),)),
            Connection("a", "b", (Conv(ints(2, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),)),
            Connection("a", "b", (Scale(np.array([5, 7])),)),
            Connection("b", "r", (SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), Reshape((8,)), Linear(ints(3, 8)))),
        ),
        timesteps=3,
        alpha=(0.9, 0.8, 0.7),
        provenance=Provenance(other={"made": "for fuzzing"}),
    )


def small_sequence():
    """The like without branches, which netx holds."""
    net = small_netlist()
    keep = ("input", "a", "r")
    dense = Linear(np.random.default_rng(1).integers(-30, 30, (3, 32)))
    connections = (net.connections[0], Connection("a", "r", (Reshape((32,)), dense)))
    return Netlist(tuple(p for p in net.populations if p.name in keep), connections, timesteps=3)


def small_window():
    """The like in radix code: three digits in base 2."""
    net = small_netlist()
    ones = tuple(replace(p, phi=1) if isinstance(p, AdaFire) else p for p in net.populations)
    return replace(net, populations=ones, alpha=(), spike_code="radix")


def small_leaky(loops=True):
    """Leaky neurons on events, the second layer with a loop and delays of its synapses; netx holds it without."""
    rng = np.random.default_rng(2)
    full = lambda n, value: np.full(n, value, np.int64)  # noqa: E731
    populations = (
        Input("input", (2, 4, 4), 1, False, 1.0, np.zeros(2), np.ones(2), "frames"),
        CubaLif("a", (2, 4, 4), full(2, 40), full(2, 600), full(2, 300), full(2, 64)),
        CubaLif("b", (5,), full(5, 60), full(5, 4096), full(5, 200), full(5, 0)),
        LeakyReadout("r", (3,), full(3, 900), full(3, 100), full(3, 0), np.ones(3)),
    )
    conv = Conv(rng.integers(-30, 40, (2, 2, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1))
    connections = [
        Connection("input", "a", (conv,)),
        Connection("a", "b", (Reshape((32,)), Linear(rng.integers(-30, 40, (5, 32))))),
        Connection("b", "r", (Linear(rng.integers(-30, 40, (3, 5))),), rng.integers(0, 3, (3, 5)) if loops else 2),
    ]
    if loops:
        connections.append(Connection("b", "b", (Linear(rng.integers(-30, 40, (5, 5))),), 1))
    return Netlist(populations, tuple(connections), timesteps=3)


def small_data():
    buffer = io.BytesIO()
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 2)).astype(np.uint8)
    np.savez_compressed(buffer, images=images, labels=np.arange(4))
    return buffer.getvalue()


def small_truth():
    """All that can be true of samples, and more of it than one task needs."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(1)
    boxes = {
        "boxes": np.array([[0, 0, 3, 2], [1, 1, 1, 4], [0, 2, 4, 4]], np.float32),
        "box_labels": np.array([0, 2, 1]),
        "box_samples": np.array([3, 0, 0]),
    }
    masks = rng.integers(0, 3, (4, 4, 4)).astype(np.uint8)
    np.savez_compressed(
        buffer, points=rng.normal(size=(4, 3, 5)).astype(np.float32), point_labels=np.arange(20).reshape(4, 5),
        labels=np.arange(4), masks=masks, **boxes,
    )  # fmt: skip
    return buffer.getvalue()


def seeds(kind):
    """Return the bytes that mutation starts from."""
    if kind == "npz":
        return [small_data(), small_truth()]
    if kind == "net":
        from toolchain.exchange import export_netlist

        with tempfile.TemporaryDirectory() as folder:
            found = []
            for netlist in (small_sequence(), small_leaky(loops=False)):
                export_netlist(netlist, path := Path(folder) / "seed.net", to="netx")
                found.append(path.read_bytes())
            return found
    if kind == "nir":
        from toolchain.exchange.nir import graph_bytes, to_nir, to_nir_explicit

        bare = to_nir(small_sequence())
        for key in ("structure", "arrays", "provenance"):
            del bare.metadata["adafire"][key]
        delayed = small_leaky()
        loop = replace(delayed, connections=tuple(replace(c, delay=int(np.max(c.delay))) for c in delayed.connections))
        leaky = to_nir(loop)
        for key in ("structure", "arrays", "provenance"):
            del leaky.metadata["adafire"][key]
        graphs = (to_nir(small_sequence()), bare, to_nir_explicit(small_sequence()), leaky)
        return [graph_bytes(graph) for graph in graphs]
    from toolchain.files import netlist_bytes

    return [netlist_bytes(small_netlist()), netlist_bytes(small_window()), netlist_bytes(small_leaky())]


_seeds = functools.cache(seeds)


def read(kind, path):
    """Read a file as the command line does; return what identifies its content."""
    if kind == "npz":
        from toolchain.data import npz_file, read_data

        data = read_data(path)
        # What stays on the disk is read by other code: it has to accept the same and read the same.
        with mock.patch.object(npz_file, "IN_MEMORY", 0):
            assert read_data(path).sha256_with_truth == data.sha256_with_truth
        return data.sha256_with_truth, tuple(sorted(data.select(np.arange(len(data))[::-1]).truth.content()))
    if kind == "h5":
        from toolchain.files import read_netlist

        return _whole(read_netlist(path))
    from toolchain.exchange import import_netlist

    return _whole(import_netlist(path).netlist)


def _whole(netlist):
    """Check that an accepted netlist can be written, read back and run; return its hash."""
    from sim.golden import simulate
    from toolchain.files import netlist_bytes, read_netlist

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.h5"
        path.write_bytes(netlist_bytes(netlist))
        assert read_netlist(path).content_hash == netlist.content_hash
    if sum(math.prod(p.shape) for p in netlist.populations) < 10_000:
        frames = (1,) if netlist.input.coding == "frames" else ()
        steps = 1 if netlist.radix is None else netlist.timesteps
        simulate(netlist, np.ones((*frames, 1, *netlist.input.shape), np.int8), timesteps=steps)
    return netlist.content_hash


class Checker:
    """Reads mutated files and counts how they end."""

    def __init__(self, kind):
        self.kind, self.counts = kind, Counter()
        self.path = Path(tempfile.mkdtemp(prefix="fuzz")) / f"case.{kind}"
        self.known = set()
        for seed in seeds(kind):
            self.path.write_bytes(seed)
            self.known.add(read(kind, self.path))

    def __call__(self, data):
        self.path.write_bytes(data)
        self.counts["files"] += 1
        content, fault = None, None
        try:
            content = read(self.kind, self.path)
        except AdafireError as error:
            fault = error
        if fault is None:
            self.counts["the same content" if content in self.known else "other valid content"] += 1
            return
        assert fault.exit_status == 2, str(fault)
        assert len(str(fault)) < 1000, str(fault)
        assert str(fault).isprintable(), str(fault)
        self.counts["clear errors"] += 1

    def summary(self):
        return f"{self.kind}: " + ", ".join(f"{n} {what}" for what, n in self.counts.items())


def mutate(kind, data, rng):
    """Return a mutated file: bytes changed, or, where it still opens, the structure inside it."""
    if kind != "npz" and rng.random() < 0.5:
        with contextlib.suppress(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError):
            # Of a seed: the HDF5 library does not survive writing into a damaged file.
            return _mutate_hdf5(rng.choice(_seeds(kind)), rng)
    if kind == "npz" and rng.random() < 0.5:
        with contextlib.suppress(Exception):
            return _mutate_npz(data, rng)
    return _mutate_bytes(data, rng)


def _mutate_bytes(data, rng):
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        start = rng.randrange(len(changed) or 1)
        length = rng.randrange(1, 64)
        kind = rng.randrange(6)
        if kind == 0:
            changed[start : start + 1] = rng.randbytes(1)
        elif kind == 1:
            changed[start : start + 8] = rng.choice([b"\xff" * 8, bytes(8), b"\xff" * 7 + b"\x7f", rng.randbytes(8)])
        elif kind == 2:
            other = rng.randrange(len(changed) or 1)
            changed[start : start + length] = changed[other : other + length]
        elif kind == 3:
            del changed[start : start + length]
        elif kind == 4:
            changed[start:start] = rng.randbytes(length)
        else:
            del changed[start:]
        if not changed:
            break
    return bytes(changed)


def _mutate_hdf5(data, rng):
    """Change one thing through the HDF5 library: what checksums of bytes do not protect from."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        groups, datasets = [file], []
        file.visititems(lambda _, item: (groups if isinstance(item, h5py.Group) else datasets).append(item))
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            _change(file, rng.choice(groups), rng.choice(datasets or [None]), rng)
    return buffer.getvalue()


def _change(file, group, dataset, rng):
    kind = rng.randrange(10)
    if kind == 0 and len(group.attrs):
        group.attrs[rng.choice(sorted(group.attrs))] = _value(rng)
    elif kind == 1:
        group.attrs[rng.choice(["schema", "kind", "phi", "x" * 300, "groups", "spike_code", "timesteps"])] = _value(rng)
    elif kind == 2 and len(group.attrs):
        del group.attrs[rng.choice(sorted(group.attrs))]
    elif kind == 3 and len(group):
        del group[rng.choice(sorted(group))]
    elif kind == 4 and len(group):
        group[rng.choice(["again", "00009", "zz"])] = group[rng.choice(sorted(group))]
    elif kind == 5:
        group["link"] = rng.choice([h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/none")])
    elif kind >= 6 and dataset is None:
        return
    elif kind == 6 and dataset.size and dataset.dtype.kind in "iuf":
        flat = dataset[()].reshape(-1) if dataset.shape else np.array([dataset[()]])
        flat[rng.randrange(flat.size)] = rng.choice([0, 1, 3, 100, -1])
        dataset[...] = flat.reshape(dataset.shape)
    elif kind == 7:
        name, parent = dataset.name.rsplit("/", 1)[-1], dataset.parent
        del parent[name]
        parent[name] = _value(rng)
    elif kind == 8:
        name, parent = dataset.name.rsplit("/", 1)[-1], dataset.parent
        del parent[name]
        shape = rng.choice([(1 << 40,), (1 << 20, 1 << 20), (2,) * 8, (2,) * 12, ()])
        parent.create_dataset(name, shape, rng.choice(["i1", "f8", "u8"]), chunks=True if shape else None)
    elif len(group) > 1:
        a, b = rng.sample(sorted(group), 2)
        first, second = group[a], group[b]
        del group[a], group[b]
        group[a], group[b] = second, first


def _value(rng):
    return rng.choice(
        [
            0, 1, -1, 2, 99, 1 << 40, -(1 << 63), 0.5, math.nan, math.inf, True, "", "Conv", "../../x", "a\nb",
            "x" * 5000, "rate", "radix",
            np.zeros(0), np.zeros((3, 3), np.int64), np.arange(5), np.full(3, np.nan), np.bytes_(b"\xff\xfe"),
            np.array([1 + 2j]), np.zeros(2, [("a", "i4")]),
        ]
    )  # fmt: skip


def _mutate_npz(data, rng):
    """Change a header or an array inside the archive, with checksums that hold."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if rng.random() < 0.2:
        members[
            rng.choice(["frames.npy", "labels.npy", "points.npy", "masks.npy", "boxes.npy", "../evil.npy", "x" * 200])
        ] = members.pop(name)
    else:
        header = rng.choice(
            [(b"|u1", b"|O "), (b"(4,", b"(9,"), (b"False", b"True "), (b"'shape'", b"'shapf'"), (b"<i8", b"<f8")]
        )
        body = bytes(members[name])
        members[name] = bytearray(body.replace(*header) if rng.random() < 0.5 else _mutate_bytes(body, rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for member, body in members.items():
            archive.writestr(member, bytes(body))
    return buffer.getvalue()


def fuzz(kind):
    """Run one target under libFuzzer, guided by the coverage of our readers."""
    import atheris

    with atheris.instrument_imports(include=["toolchain"]):
        import toolchain.data
        import toolchain.exchange  # noqa: F401
    checker = Checker(kind)
    runs = next((int(a.split("=")[1]) for a in sys.argv if a.startswith("-runs=")), 0)

    def one(data):
        checker(data)
        if checker.counts["files"] == runs:
            print(f"fuzz: {checker.summary()}", flush=True)

    def mutator(data, max_size, seed):
        return mutate(kind, bytes(data), random.Random(seed))[:max_size]

    # The first folder named is where libFuzzer keeps what it finds; the seeds are made, not stored.
    folders = [Path(a) for a in sys.argv[1:] if not a.startswith("-")]
    for index, seed in enumerate(_seeds(kind) if folders else []):
        (folders[0] / f"seed_{index}").write_bytes(seed)
    limits = [f"-rss_limit_mb={MEMORY}", f"-timeout={SECONDS}", "-max_len=262144", "-print_final_stats=1"]
    atheris.Setup([*sys.argv, *limits], one, custom_mutator=mutator)
    atheris.Fuzz()
