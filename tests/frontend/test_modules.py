"""Modules by name and weights from files: strict, safe, and one clear error."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toolchain.frontend import load_module, load_weights, read_module, read_network
from toolchain.frontend.from_torch import state_hash
from toolchain.netlist import InputError, Origin
from toolchain.network import outputs

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)

def net():
    return Net()

def broken():
    raise RuntimeError("no such luck")

def number():
    return 3
"""


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize("name", ["net", "Net"])
def test_module_from_a_file(file, name):
    assert load_module(f"{file}:{name}")(torch.zeros(1, 3)).shape == (1, 2)


def test_module_from_a_package():
    assert isinstance(load_module("torch.nn:Identity"), nn.Identity)


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for folder, width in (("a", 3), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(f"from torch import nn\ndef net(): return nn.Linear({width}, 1)\n")
    assert load_module(f"{tmp_path}/a/net.py:net").in_features == 3
    assert load_module(f"{tmp_path}/b/net.py:net").in_features == 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("net.py", ["names no callable", "package.module:callable"]),
        (":net", ["names no callable"]),
        ("FILE:", ["names no callable"]),
        ("missing/net.py:net", ["missing/net.py", "no such file"]),
        ("no_such_package.models:net", ["cannot import no_such_package.models"]),
        ("FILE:nothing", ["has no callable 'nothing'", "it has Net, net, broken, number"]),
        ("FILE:broken", ["calling broken() failed", "RuntimeError: no such luck"]),
        ("FILE:number", ["returned int, expected an nn.Module"]),
        ("BAD:net", ["cannot import", "SyntaxError"]),
    ],
)
def test_module_that_cannot_be_had(file, tmp_path, spec, words):
    (tmp_path / "bad.py").write_text("def net(:\n")
    with pytest.raises(InputError) as caught:
        load_module(spec.replace("FILE", str(file)).replace("BAD", str(tmp_path / "bad.py")))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def state():
    torch.manual_seed(3)
    return network().state_dict()


def write_safetensors(path, tensors):
    save_file(tensors, path)


def write_torch(path, tensors):
    torch.save(tensors, path)


WRITERS = {"w.safetensors": write_safetensors, "w.pt": write_torch}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_loaded_and_hashed(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, state())
    module = network()
    assert load_weights(module, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(torch.equal(v, state()[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("name", WRITERS)
def test_half_precision_is_cast(tmp_path, name):
    WRITERS[name](tmp_path / name, {k: v.half() if v.is_floating_point() else v for k, v in state().items()})
    module = network()
    load_weights(module, tmp_path / name)
    assert all(p.dtype == torch.float32 for p in module.parameters())
    assert torch.equal(module[0].weight, state()["0.weight"].half().float())


def test_batch_counters_may_be_missing(tmp_path):
    weights = {k: v for k, v in state().items() if not k.endswith("num_batches_tracked")}
    write_safetensors(tmp_path / "w.safetensors", weights)
    load_weights(network(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 7},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "best": 0.9},
    ],
)
def test_checkpoints_of_training_scripts_are_understood(tmp_path, wrap):
    write_torch(tmp_path / "w.pth", wrap(state()))
    module = network()
    load_weights(module, tmp_path / "w.pth")
    assert torch.equal(module[3].bias, state()["3.bias"])


def changed(**changes):
    weights = {k.replace(".", "_"): k for k in state()}
    result = dict(state())
    for key, value in changes.items():
        name = weights.get(key, key)
        if value is None:
            del result[name]
        else:
            result[name] = value
    return result


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (changed(**{"3_bias": None}), ["missing 3.bias"]),
        (changed(extra=torch.zeros(1)), ["unexpected extra"]),
        (changed(**{"0_weight": torch.zeros(4, 5)}), ["0.weight has shape (4, 5), expected (4, 3)"]),
        (changed(**{"0_bias": torch.full((4,), torch.nan)}), ["0.bias holds NaN or infinite"]),
        (changed(**{"1_running_var": torch.full((4,), torch.inf)}), ["1.running_var holds NaN or infinite"]),
        (
            changed(**{"3_bias": None, "0_weight": torch.zeros(1), "extra": torch.zeros(1)}),
            ["missing 3.bias", "unexpected extra", "0.weight has shape (1,)"],
        ),
    ],
)
@pytest.mark.parametrize("name", WRITERS)
def test_weights_that_do_not_fit_change_nothing(tmp_path, name, tensors, words):
    WRITERS[name](tmp_path / name, tensors)
    module = network()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(module, tmp_path / name)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


class Payload:
    def __reduce__(self):
        return (print, ("code of the file has run",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin"])
def test_code_in_a_weights_file_does_not_run(tmp_path, capsys, name):
    torch.save({"0.weight": Payload()}, tmp_path / name)
    with pytest.raises(InputError, match="no weights file that is safe to load"):
        load_weights(network(), tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match="no weights file that is safe to load"):
        load_weights(network(), tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 64, b"PK\x03\x04garbage"])
def test_a_file_that_holds_no_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_weights(network(), tmp_path / name)


@pytest.mark.parametrize("path", ["missing.safetensors", "."])
def test_a_file_that_cannot_be_read(tmp_path, path):
    with pytest.raises(InputError, match="cannot read the weights"):
        load_weights(network(), tmp_path / path)


@pytest.mark.parametrize("content", [3, [torch.zeros(1)], {"0.weight": 3}])
def test_a_file_that_holds_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match="expected names and tensors"):
        load_weights(network(), tmp_path / "w.pt")


def test_origin_names_class_and_weights():
    module = network()
    origin = read_module(module, (3,)).origin
    assert origin == Origin("Sequential", state_hash(module), 3 * 4 + 4 * 2)
    assert read_module(network(), (3,)).origin != origin


def test_hash_depends_on_names_types_shapes_and_values():
    def hashed(name, array):
        module = nn.Module()
        module.register_buffer(name, torch.from_numpy(array))
        return state_hash(module)

    a = np.arange(6, dtype=np.float32)
    different = [
        hashed("a", a),
        hashed("b", a),
        hashed("a", a.reshape(2, 3)),
        hashed("a", a.astype("f8")),
        hashed("a", a + 1),
    ]
    assert len(set(different)) == 5
    assert hashed("a", np.asfortranarray(a.reshape(2, 3))) == different[2]


@pytest.mark.filterwarnings("ignore")
def test_one_network_read_in_every_way(file, tmp_path):
    torch.manual_seed(1)
    module = load_module(f"{file}:net").eval()
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    torch.onnx.export(module, (torch.zeros(1, 3),), tmp_path / "net.onnx", dynamo=False)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3),)), tmp_path / "net.pt2")
    x = torch.randn(4, 3)
    for spec, weights in (
        (f"{file}:net", tmp_path / "w.safetensors"),
        (f"{tmp_path}/net.onnx", None),
        (f"{tmp_path}/net.pt2", None),
    ):
        torch.testing.assert_close(outputs(read_network(spec, weights, (3,)), x)[0], module(x).detach())
    for name in ("net.onnx", "net.pt2"):
        with pytest.raises(InputError, match=r"^weights: .* holds its own"):
            read_network(f"{tmp_path}/{name}", tmp_path / "w.safetensors", (3,))
        with pytest.raises(InputError, match="was given"):
            read_network(f"{tmp_path}/{name}", None, (4,))
