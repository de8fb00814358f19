"""Networks with several inputs: their data, their ways in, and the one input that their netlist has."""

import numpy as np
import pytest
import torch
from torch import nn

import adafire
from toolchain.data import in_units, read_data
from toolchain.doors import open_data
from toolchain.frontend import read_module, read_network
from toolchain.netlist import FormatError, InputError, Part, UnsupportedError
from toolchain.netlist.parts import joined_shape, places, units
from toolchain.network import reference_outputs

FAST = adafire.Recipe(timesteps=4, phi=4, calibrate="light", accept_collapse=True)


class Mixed(nn.Module):
    """A picture and a list of numbers, which are much greater."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.dense = nn.Linear(5, 8)
        self.head = nn.Linear(4 * 36 + 8, 3)

    def forward(self, vector, image):  # not in the order of the names
        seen = torch.relu(self.conv(image)).flatten(1)
        return self.head(torch.cat([seen, torch.relu(self.dense(vector / 40))], 1))


class Pair(nn.Module):
    """Two pictures through the same layer, one of them optional."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(64, 3)

    def forward(self, left, right=None):
        return self.head(torch.relu(self.conv(left) - self.conv(right)).flatten(1))


def samples(count=32, seed=0):
    random = np.random.default_rng(seed)
    image = random.random((count, 2, 6, 6)).astype(np.float32)
    return {
        Mixed: {"vector": random.normal(0, 100, (count, 5)).astype(np.float32), "image": image},
        Pair: {"left": image, "right": image[::-1].copy()},
    }


NETWORKS = [Mixed, Pair]


@pytest.fixture(params=NETWORKS, ids=lambda kind: kind.__name__)
def case(request):
    torch.manual_seed(1)
    return request.param().eval(), samples()[request.param]


def tensors(data):
    return {name: torch.from_numpy(values) for name, values in data.items()}


def test_parts_of_one_size_lie_along_channels_and_others_are_flattened():
    alike = (Part("a", (2, 4, 4)), Part("b", (3, 4, 4), 2.0))
    assert joined_shape(alike) == (5, 4, 4)
    assert places(alike) == [slice(0, 2), slice(2, 5)]
    assert units(alike).tolist() == [1, 1, 2, 2, 2]
    others = (Part("a", (2, 4, 4)), Part("b", (3,), 2.0))
    assert joined_shape(others) == (35,)
    assert places(others) == [slice(0, 32), slice(32, 35)]


@pytest.mark.parametrize("wrong", [("", (1,)), ("a", ()), ("a", (0,)), ("a", (1,), 0.0), ("a", (1,), float("nan"))])
def test_a_part_has_a_name_a_shape_and_a_unit(wrong):
    with pytest.raises(ValueError, match="found"):
        Part(*wrong)


def test_the_module_is_read_as_it_computes(case):
    module, data = case
    joined = in_units(open_data(data))
    network = read_module(module, joined.parts)
    std = units(joined.parts)
    x = torch.from_numpy(joined.normalized(np.zeros_like(std), std))
    assert abs(x).max() == pytest.approx(1)
    with torch.no_grad():
        wanted = module(**tensors(data)).double()
    torch.testing.assert_close(reference_outputs(network, x)[0].double(), wanted, rtol=1e-4, atol=1e-5)


def test_module_onnx_and_pt2_make_the_same_netlist(case, tmp_path):
    module, data = case
    names = list(data)
    examples = tuple(tensors(data)[name][:1] for name in names)
    torch.export.save(torch.export.export(module, examples), tmp_path / "net.pt2")
    torch.onnx.export(module, examples, tmp_path / "net.onnx", input_names=names, external_data=False)
    made = [adafire.convert(n, data, FAST) for n in (module, tmp_path / "net.pt2", tmp_path / "net.onnx")]
    assert len({netlist.content_hash for netlist in made}) == 1
    assert [part.name for part in made[0].provenance.parts] == sorted(names)


def test_the_whole_trip(case, tmp_path):
    module, data = case
    with torch.no_grad():
        wanted = module(**tensors(data)).numpy()
    np.savez(tmp_path / "data.npz", labels=wanted.argmax(1), **{f"input_{name}": x for name, x in data.items()})
    netlist = adafire.convert(module, tmp_path / "data.npz", FAST, evaluate=tmp_path / "data.npz")
    assert netlist.provenance.evaluation.ann.value == 1
    adafire.write(netlist, tmp_path / "net.h5")
    again = adafire.read(tmp_path / "net.h5")
    assert again.provenance.parts == netlist.provenance.parts
    for against in ("reference", "lava"):
        assert adafire.verify(again, data, against=against, limit=2).equivalent
    (ann,) = adafire.ann_outputs(again, data, module).values()
    np.testing.assert_allclose(ann, wanted, rtol=1e-4, atol=1e-5)
    (spiking,) = adafire.outputs(again, tmp_path / "data.npz").values()
    assert np.corrcoef(spiking.ravel(), wanted.ravel())[0, 1] > 0.95
    assert "inputs" in str(adafire.info(again))
    adafire.report(again, tmp_path / "data.npz", tmp_path / "page.html", limit=4, ann=module)


def test_a_file_and_a_mapping_hold_the_same(case, tmp_path):
    _, data = case
    np.savez(tmp_path / "data.npz", labels=np.arange(32), **{f"input_{name}": x for name, x in data.items()})
    file = read_data(tmp_path / "data.npz", limit=5)
    array = open_data((data, np.arange(32)), limit=5)
    assert file.parts == array.parts
    np.testing.assert_array_equal(file.values[:], array.values[:])
    np.testing.assert_array_equal(file.labels, array.labels)
    assert file.sha256 == array.sha256


@pytest.mark.parametrize("form", [list, iter])
def test_samples_of_code_may_be_mappings(case, form):
    _, data = case
    rows = [({name: torch.from_numpy(x[i]) for name, x in data.items()}, i % 3) for i in range(6)]
    found, wanted = open_data(form(rows)), open_data(data, limit=6)
    assert found.parts == wanted.parts
    np.testing.assert_array_equal(found.values[:], wanted.values[:])
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    others = [*rows, ({f"{name}2": x for name, x in rows[0][0].items()}, 0)]
    with pytest.raises(InputError, match=r"sample 6: .*2 .* found, those before hold"):
        open_data(form(others))


def test_other_data_are_refused(case):
    module, data = case
    netlist = adafire.convert(module, data, FAST)
    alone = next(iter(data.values()))
    with pytest.raises(InputError, match="one input found, expected"):
        adafire.simulate(netlist, alone)
    renamed = {f"{name}2": values for name, values in data.items()}
    with pytest.raises(InputError, match="name the arrays as the network's inputs"):
        adafire.simulate(netlist, renamed)
    with pytest.raises(InputError, match=f"{type(module).__name__}: takes .*; the data hold .*2"):
        adafire.convert(module, renamed, FAST)
    with pytest.raises(InputError, match=r"forward fails .* all inputs are among the data"):
        adafire.convert(module, alone, FAST)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"input_a": np.zeros((4, 2))}, "a found alone"),
        ({"input_a": np.zeros((4, 2)), "input_b": np.zeros((3, 2))}, "as many samples of each"),
        ({"input_a": np.zeros((4, 2)), "input_b": np.zeros(4)}, "expected \\(N, C, ...\\)"),
        ({"input_a": np.zeros((4, 2)), "input_b": np.full((4, 2), np.nan)}, "NaN"),
        ({"input_a": np.zeros((4, 2)), "input_b": np.zeros((4, 2), np.uint8)}, "uint8 found"),
        ({"input_a": np.zeros((4, 2)), "images": np.zeros((4, 2))}, "expected one of"),
    ],
)
def test_files_that_do_not_hold_several_inputs_are_refused(arrays, words, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises((InputError, FormatError), match=words):
        read_data(tmp_path / "data.npz")


def test_inputs_of_different_fixed_batches_are_refused(tmp_path):
    class Sum(nn.Module):
        def forward(self, x, y):
            return torch.relu(x + y.sum(0, keepdim=True))

    torch.onnx.export(
        Sum().eval(),
        (torch.zeros(3, 4), torch.zeros(2, 4)),
        tmp_path / "n.onnx",
        input_names=["x", "y"],
        external_data=False,
    )
    with pytest.raises(UnsupportedError, match=r"takes batches of \[2, 3\]"):
        read_network(str(tmp_path / "n.onnx"), None, (Part("x", (4,)), Part("y", (4,))))
