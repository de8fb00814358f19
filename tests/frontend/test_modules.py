"""Modules by name and weights from files: strict, safe, and one clear error."""

import argparse
import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toolchain.frontend import load_module, load_weights, read_module, read_network
from toolchain.frontend.from_torch import state_hash
from toolchain.netlist import InputError, Origin, UnsupportedError
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
    assert origin == Origin("Sequential", state_hash(module), 3 * 4 + 4 * 2, 3 * 4 + 4 * 2)
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


# The user's code runs as a program would -------------------------------------------------------------


def write(folder, **files):
    """Write ``net="..."`` as net.py, ``pkg__net`` as pkg/net.py."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/").replace("INIT", "__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MAKE = "from torch import nn\ndef make(): return nn.Linear(WIDTH, 1)\n"
PARSE = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--width', type=int, {})\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\nsys.exit(0)\n", ["net.py:make", "ended the program while it was imported", "SystemExit(0)"]),
        ("quit('done')\n", ["SystemExit('done')"]),
        (PARSE.format("required=True") + "p.parse_args()\n", ["SystemExit(2)", "required: --width"]),
        ("def make():\n    raise SystemExit\n", ["ended the program when make() was called", "SystemExit(None)"]),
    ],
)
def test_a_file_that_ends_the_program_is_refused_in_one_line(tmp_path, capsys, source, words):
    write(tmp_path, net=source)
    with pytest.raises(InputError, match="__main__") as caught:
        load_module(f"{tmp_path}/net.py:make")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("place", ["at import", "in the factory"])
def test_a_file_sees_no_arguments_but_its_name(tmp_path, monkeypatch, place):
    arguments = ["adafire", "convert", "--width", "7"]
    monkeypatch.setattr("sys.argv", arguments)
    parse = PARSE.format("default=3") + "import sys\nassert sys.argv == [__file__]\n"
    read = "width = p.parse_args().width\n"
    factory = read if place == "in the factory" else ""
    source = f"{parse}{'' if factory else read}from torch import nn\n"
    write(tmp_path, net=f"{source}def make():\n    {factory}    return nn.Linear(width, 1)\n")
    assert load_module(f"{tmp_path}/net.py:make").in_features == 3
    assert sys.argv is arguments


def test_what_a_file_prints_is_no_result(tmp_path, capsys):
    write(tmp_path, net="import sys\nprint('hello')\nprint('careful', file=sys.stderr)\n" + MAKE.replace("WIDTH", "2"))
    load_module(f"{tmp_path}/net.py:make")
    assert capsys.readouterr() == ("", "hello\ncareful\n")


def test_neighbours_are_imported_and_not_mixed_up(tmp_path):
    source = "import widths\nfrom torch import nn\ndef make():\n    from late import ONE\n"
    source += "    return nn.Linear(widths.WIDTH, ONE)\n"
    for folder, width in (("a", 3), ("b", 5)):
        write(tmp_path / folder, net=source, widths=f"WIDTH = {width}\n", late="ONE = 1\n")
    path, modules = list(sys.path), set(sys.modules)
    for folder, width in (("a", 3), ("b", 5), ("a", 3)):
        assert load_module(f"{tmp_path}/{folder}/net.py:make").in_features == width
    assert sys.path == path
    assert set(sys.modules) == modules
    write(tmp_path / "a", widths="WIDTH = 11\n")
    assert load_module(f"{tmp_path}/a/net.py:make").in_features == 11


def test_neighbours_named_like_parts_of_adafire_are_the_files_own(tmp_path):
    ours = {name: sys.modules[name] for name in ("sim", "toolchain", "toolchain.netlist")}
    write(tmp_path, sim="WIDTH = 4\n", toolchain__INIT="WIDTH = 5\n", torchaudio="")
    write(
        tmp_path,
        net="from sim import WIDTH\nfrom toolchain import WIDTH as OTHER\n" + MAKE.replace("WIDTH", "WIDTH + OTHER"),
    )
    assert load_module(f"{tmp_path}/net.py:make").in_features == 9
    assert all(sys.modules[name] is module for name, module in ours.items())


def test_folders_that_a_file_adds_are_forgotten_too(tmp_path):
    source = (
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\nfrom widths import WIDTH\n"
    )
    for folder, width in (("a", 3), ("b", 5)):
        write(tmp_path / folder, net=source + MAKE, lib__widths=f"WIDTH = {width}\n")
        assert load_module(f"{tmp_path}/{folder}/net.py:make").in_features == width
    assert "widths" not in sys.modules


def test_a_file_that_changes_the_folder_leaves_ours(tmp_path):
    """Paths of data and results are relative to the folder that the user is in."""
    here = Path.cwd()
    write(tmp_path, net="import os\nos.chdir('/')\nWIDTH = 4\n" + MAKE)
    assert load_module(f"{tmp_path}/net.py:make").in_features == 4
    assert Path.cwd() == here


@pytest.mark.parametrize(
    "spec", ["net:make", "pkg.net:make", "pkg/net.py:make", "pkg/sub/net.py:make", "pkg.sub.net:make"]
)
def test_modules_of_the_current_folder_and_relative_imports(tmp_path, monkeypatch, spec):
    write(tmp_path, net="WIDTH = 2\n" + MAKE)
    write(tmp_path, pkg__INIT="", pkg__net="from .widths import WIDTH\n" + MAKE, pkg__widths="WIDTH = 3\n")
    write(
        tmp_path,
        pkg__sub__INIT="",
        pkg__sub__net="from ..widths import WIDTH as A\nfrom . import more\n" + MAKE.replace("WIDTH", "A + more.B"),
    )
    write(tmp_path, pkg__sub__more="B = 4\n")
    monkeypatch.chdir(tmp_path)
    wanted = 2 if spec == "net:make" else 7 if "sub" in spec else 3
    assert load_module(spec).in_features == wanted
    assert not {"net", "pkg", "pkg.net"} & sys.modules.keys()


def test_a_module_of_neighbours_is_read(tmp_path):
    block = "from torch import nn\nclass Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    block += "        self.fc = nn.Linear(3, 2)\n    def forward(self, x): return self.fc(x).relu()\n"
    write(tmp_path, block=block, net="from block import Block\n")
    assert len(read_network(f"{tmp_path}/net.py:Block", None, (3,)).activations) == 1


def test_a_forward_that_imports_a_neighbour_is_told_where_to(tmp_path):
    net = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        import late\n"
    write(tmp_path, net=net, late="")
    with pytest.raises(InputError, match="No module named 'late'; import it at the top of the file"):
        read_network(f"{tmp_path}/net.py:Net", None, (3,))


def test_a_module_that_is_there_is_taken_as_it_is(tmp_path):
    write(tmp_path, net="from torch import nn\nmodel = nn.Linear(6, 1)\nmodels = type('M', (), {'small': model})\n")
    assert load_module(f"{tmp_path}/net.py:model").in_features == 6
    assert load_module(f"{tmp_path}/net.py:models.small").in_features == 6


# Checkpoints -----------------------------------------------------------------------------------------


def prefixed(prefix, weights=None):
    return {f"{prefix}{name}": tensor for name, tensor in (weights or state()).items()}


@pytest.mark.parametrize(
    "content",
    [
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        {name.replace("0.", "0._orig_mod."): tensor for name, tensor in state().items()},
        {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}, "optimizer_states": []},
        {"state_dict": prefixed("net._orig_mod."), "pytorch-lightning_version": "2.4"},
        {"model_state_dict": state(), "optimizer_state_dict": {"state": {}, "param_groups": []}},
        {"net": state(), "acc": 91.2},
        {"model": {"state_dict": prefixed("module.model.")}},
        {"state_dict_ema": state()},
        {"state_dict": prefixed("model.", {"other": torch.zeros(1)}), "model": state()},
    ],
)
def test_checkpoints_are_read_where_one_reading_fits(tmp_path, content):
    write_torch(tmp_path / "w.pt", content)
    module = network()
    load_weights(module, tmp_path / "w.pt")
    assert all(torch.equal(v, state()[k]) for k, v in module.state_dict().items())


def test_a_module_with_such_a_name_of_its_own_keeps_it(tmp_path):
    module = nn.ModuleDict({"model": network()})
    for content in (prefixed("model."), prefixed("net.model."), {"model": prefixed("model.")}):
        write_torch(tmp_path / "w.pt", content)
        load_weights(module, tmp_path / "w.pt")
        assert torch.equal(module["model"][3].bias, state()["3.bias"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"state_dict": state(), "state_dict_ema": state()},
            ["several weights", "state_dict, state_dict_ema", "alone"],
        ),
        ({"generator": state(), "epoch": 3}, ["dict of generator, epoch", "expected names and tensors"]),
        ({"model_state_dict": changed(extra=torch.zeros(1))}, ["'model_state_dict' do not fit", "unexpected extra"]),
        (prefixed("backbone."), ["missing 0.bias", "unexpected backbone.0.bias"]),
    ],
)
def test_checkpoints_that_are_not_clear_are_refused(tmp_path, content, words):
    write_torch(tmp_path / "w.pt", content)
    with pytest.raises(InputError) as caught:
        load_weights(network(), tmp_path / "w.pt")
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "make", "words"),
    [
        ("0_weight", lambda w: w.to_sparse(), "0.weight holds a sparse"),
        ("0_weight", lambda w: w.to_sparse_csr(), "0.weight holds a sparse"),
        ("0_weight", lambda w: w.to("meta"), "0.weight holds no values"),
        ("0_weight", lambda w: torch.quantize_per_tensor(w, 1, 0, torch.qint8), "0.weight holds quantised values"),
        ("0_weight", lambda w: w.to(torch.complex64), "0.weight holds complex values"),
        ("1_num_batches_tracked", lambda w: w + 0.5, "expected whole numbers"),
    ],
)
def test_weights_that_are_no_plain_values_are_refused(tmp_path, key, make, words):
    write_torch(tmp_path / "w.pt", changed(**{key: make(state()[key.replace("_", ".", 1)])}))
    with pytest.raises(InputError, match=words):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (argparse.Namespace(lr=0.1), "it holds argparse.Namespace"),
        ({"state_dict": {}, "acc": np.float64(91)}, "it holds numpy"),
        (nn.Linear(3, 2), "it holds torch.nn.modules.linear.Linear"),
    ],
)
def test_the_forbidden_type_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match=f"{words}.*; save the state_dict alone"):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path, zipped):
    torch.save(state(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "w.pt").read_bytes()
    for size in range(0, len(data) - 1, 97):
        (tmp_path / "w.pt").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"w\.pt: is no (intact weights file|weights file that is safe)"):
            load_weights(network(), tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_layers_that_never_ran_are_refused(tmp_path):
    write_torch(tmp_path / "w.pt", state())
    lazy = nn.Sequential(nn.Linear(3, 4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
    for read in (lambda: read_module(lazy, (3,)), lambda: load_weights(lazy, tmp_path / "w.pt")):
        with pytest.raises(InputError, match=r"Lazy layer that never ran.*run the module once"):
            read()
    lazy.eval()(torch.zeros(1, 3))
    load_weights(lazy, tmp_path / "w.pt")
    assert len(read_module(lazy, (3,)).activations) == 1


@pytest.mark.parametrize(("to", "words"), [("meta", "no values"), ("sparse", "sparse")])
def test_a_module_without_plain_weights_is_refused(to, words):
    module = nn.Linear(3, 2)
    module.weight = nn.Parameter(module.weight.to("meta") if to == "meta" else module.weight.detach().to_sparse())
    with pytest.raises(InputError, match=f"weight: the weights hold .*{words}"):
        read_module(module, (3,))


def test_a_constant_of_whole_numbers_is_cut():
    class Net(nn.Module):
        def forward(self, x):
            return (x + torch.full_like(x, 2.7, dtype=torch.int64)).relu()

    x = torch.randn(4, 3)
    torch.testing.assert_close(outputs(read_module(Net(), (3,)), x)[0], Net()(x))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval())


@pytest.mark.parametrize(("name", "words"), [("net.pt", "file of weights; name what makes"), ("n.keras", "tf2onnx")])
def test_files_that_are_no_networks_say_what_to_do(name, words):
    with pytest.raises(InputError, match=words):
        read_network(name, None, (3,))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_neither_network_nor_weights(tmp_path):
    scripted().save(tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"is TorchScript, which holds code; write its weights"):
        load_weights(nn.Sequential(nn.Linear(3, 2)), tmp_path / "net.pt")
    with pytest.raises(UnsupportedError, match=r"is TorchScript, which torch.export does not trace; pass the Python"):
        read_module(scripted(), (3,))


def test_graphs_that_torch_fails_on_are_not_printed(capfd):
    class Chooses(nn.Module):
        def forward(self, x):
            return x / 255 if x.max() > 2 else x

    with pytest.raises(UnsupportedError, match=r"torch.export cannot trace forward"):
        read_module(Chooses(), (3,))
    assert capfd.readouterr() == ("", "")
