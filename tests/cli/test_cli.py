"""The command line end to end: every command on a small network, and one clear line for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from toolchain.cli import run
from toolchain.files import SCHEMA

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x) + x)
        return self.fc(nn.functional.avg_pool2d(x, 2).flatten(1))

def net():
    torch.manual_seed(0)
    return Net()

def group():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """A folder with a model, weights, data and a converted netlist."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "model.py").write_text(MODEL)
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102
    torch.manual_seed(1)
    save_file(scope["Net"]().state_dict(), folder / "net.safetensors")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "data.npz", images=images, labels=rng.integers(0, 4, 12))
    assert run([*convert_arguments(folder), "-o", str(folder / "net.h5")]) == 0
    return folder


def convert_arguments(folder: Path, **changes: str) -> list[str]:
    options = {
        "--weights": str(folder / "net.safetensors"),
        "--calibration": str(folder / "data.npz"),
        "--normalize": "0.5/0.25",
        "--timesteps": "4",
        "--target": "loihi2",
        **changes,
    }
    return ["convert", f"{folder / 'model.py'}:net", *(word for pair in options.items() for word in pair)]


def run_json(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    assert run([*arguments, "--json"]) in (0, 1)
    return json.loads(capsys.readouterr().out)


def test_conversion_is_byte_identical_in_another_process(workshop, tmp_path):
    again = tmp_path / "again.h5"
    command = [sys.executable, "-c", "from toolchain.cli import main; main()"]
    subprocess.run([*command, *convert_arguments(workshop), "-o", str(again)], check=True, capture_output=True)
    assert again.read_bytes() == (workshop / "net.h5").read_bytes()


def test_convert_tells_what_it_wrote_as_json(workshop, capsys, tmp_path):
    found = run_json(capsys, *convert_arguments(workshop), "-o", str(tmp_path / "again.h5"))
    assert found["hash"] == run_json(capsys, "info", str(workshop / "net.h5"))["hash"]


def test_info(workshop, capsys):
    found = run_json(capsys, "info", str(workshop / "net.h5"))
    assert {"schema", "hash", "populations", "connections", "timesteps", "parameters", "weight_bits"} <= found.keys()
    assert [p["name"] for p in found["populations"]] == ["input", "conv1", "conv2", "fc"]
    assert found["timesteps"] == 4
    assert found["weight_bits"] == 8
    assert found["provenance"]["recipe"]["target"] == "loihi2"


def test_simulate_counts_and_writes_a_trace(workshop, capsys, tmp_path):
    trace = tmp_path / "trace.h5"
    found = run_json(
        capsys,
        "simulate",
        str(workshop / "net.h5"),
        "--data",
        str(workshop / "data.npz"),
        "--batch",
        "5",
        "--trace",
        str(trace),
    )
    keys = {
        "samples",
        "timesteps",
        "accuracy",
        "accuracy_by_timestep",
        "spikes_per_sample",
        "mean_timesteps",
        "seconds",
    }
    assert keys <= found.keys()
    assert (found["samples"], found["timesteps"], found["mean_timesteps"]) == (12, 4, 4.0)
    assert len(found["accuracy_by_timestep"]) == 4
    assert found["accuracy"] == found["accuracy_by_timestep"][-1]
    with h5py.File(trace) as file:
        assert file["spikes/conv1"].shape == (4, 12, 6, 8, 8)
        assert file["readout"].shape == (4, 12, 4)
        spikes = sum(int(file[f"spikes/{name}"][()].sum()) for name in ("conv1", "conv2"))
    assert spikes == round(found["spikes_per_sample"] * 12)


def test_samples_of_one_recording_keep_the_state(workshop, capsys):
    command = ["simulate", str(workshop / "net.h5"), "--data", str(workshop / "data.npz")]
    apart = run_json(capsys, *command)
    kept = [run_json(capsys, *command, "--keep-state", "--batch", batch) for batch in ("1", "5")]
    for result in (apart, *kept):
        del result["seconds"]
    assert kept[0] == kept[1]
    assert (apart.pop("keep_state"), kept[0].pop("keep_state")) == (False, True)
    assert apart != kept[0]
    assert run([*command, "--keep-state"]) == 0
    assert "kept from sample to sample" in capsys.readouterr().out


def test_batches_do_not_change_the_result(workshop, capsys):
    results = [
        run_json(capsys, "simulate", str(workshop / "net.h5"), "--data", str(workshop / "data.npz"), "--batch", batch)
        for batch in ("1", "12")
    ]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


@pytest.mark.lava
@pytest.mark.parametrize("against", ["lava", "reference"])
def test_verify_compares_every_value(workshop, capsys, against):
    found = run_json(
        capsys,
        "verify",
        str(workshop / "net.h5"),
        "--data",
        str(workshop / "data.npz"),
        "--limit",
        "3",
        "--against",
        against,
    )
    assert found["equivalent"]
    assert found["first_divergence"] is None
    assert found["compared_values"] == 4 * 3 * (3 * 64 + 6 * 64 + 6 * 64 + 4)


def test_verify_finds_a_planted_divergence(workshop, capsys, tmp_path):
    trace = tmp_path / "trace.h5"
    assert run(["simulate", str(workshop / "net.h5"), "--data", str(workshop / "data.npz"), "--trace", str(trace)]) == 0
    with h5py.File(trace, "r+") as file:
        file["spikes/conv2"][2, 5, 1, 3, 4] += 1
    arguments = [
        "verify",
        str(workshop / "net.h5"),
        "--data",
        str(workshop / "data.npz"),
        "--limit",
        "12",
        "--against",
        str(trace),
    ]
    assert run(arguments) == 1
    divergence = run_json(capsys, *arguments)["first_divergence"]
    assert (divergence["population"], divergence["timestep"], divergence["sample"]) == ("conv2", 2, 5)
    assert divergence["index"] == [1, 3, 4]
    assert divergence["got"] == divergence["expected"] + 1


def test_export_to_nir_and_verify_against_it(workshop, capsys, tmp_path):
    nir = tmp_path / "net.nir"
    assert run(["export", str(workshop / "net.h5"), "--to", "nir", "-o", str(nir)]) == 0
    found = run_json(
        capsys,
        "verify",
        str(workshop / "net.h5"),
        "--data",
        str(workshop / "data.npz"),
        "--limit",
        "4",
        "--against",
        str(nir),
    )
    assert found["equivalent"]


def test_energy(workshop, capsys):
    found = run_json(capsys, "energy", str(workshop / "net.h5"), "--data", str(workshop / "data.npz"))
    assert {"name", "kind", "macs", "sops", "events", "neuron_updates", "energy_pj"} <= found["layers"][0].keys()
    assert {"ann_macs", "sops", "e_snn_pj", "e_ann_pj"} <= found["totals"].keys()


def replaced(workshop: Path, tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez(tmp_path / "bad.npz", **arrays)
    return str(tmp_path / "bad.npz")


def test_bad_input_ends_in_one_line_and_nothing_half_written(workshop, tmp_path, capsys):
    output = tmp_path / "out.h5"
    images = np.zeros((4, 8, 8, 3), np.uint8)
    nan = {k: v.clone() for k, v in torch.load(_saved(tmp_path), weights_only=True).items()}
    nan["conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(nan, tmp_path / "nan.safetensors")
    save_file({"conv9.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"not a weights file")
    cases = {
        "no such weights": ({"--weights": str(tmp_path / "none.safetensors")}, "none.safetensors"),
        "other weights": ({"--weights": str(tmp_path / "wrong.safetensors")}, "conv"),
        "NaN weights": ({"--weights": str(tmp_path / "nan.safetensors")}, "conv1"),
        "noise for weights": ({"--weights": str(tmp_path / "noise.safetensors")}, "noise.safetensors"),
        "no such data": ({"--calibration": str(tmp_path / "none.npz")}, "none.npz"),
        "labels that do not match": (
            {"--calibration": replaced(workshop, tmp_path, images=images, labels=np.zeros(3, int))},
            "labels",
        ),
        "no such target": ({"--target": "loihi3"}, "did you mean 'loihi"),
        "no such normalisation": ({"--normalize": "cifar"}, "--normalize"),
        "too many weight bits": ({"--weight-bits": "12"}, "weight"),
        "timesteps out of range": ({"--timesteps": "0"}, "timesteps"),
    }
    for name, (changes, expected) in cases.items():
        capsys.readouterr()
        status = run([*convert_arguments(workshop, **changes), "-o", str(output)])
        message = capsys.readouterr().err
        assert status == 2, (name, message)
        assert expected in message, (name, message)
        assert "Traceback" not in message, name
        assert not output.exists(), name
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".h5", ".tmp")) == []


def _saved(folder: Path) -> Path:
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102
    torch.save(scope["Net"]().state_dict(), folder / "net.pt")
    return folder / "net.pt"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["info", "{tmp}/none.h5"], "none.h5"),
        (["info", "{tmp}/noise.h5"], "noise.h5"),
        (["info", "{tmp}/cut.h5"], "cut.h5"),
        (
            ["info", "{tmp}/future.h5"],
            f"future.h5: schema version {SCHEMA + 1} found, expected 1 to {SCHEMA}; update adafire",
        ),
        (["simulate", "{work}/net.h5", "--data", "{tmp}/small.npz"], "(3, 4, 4)"),
        (["simulate", "{work}/net.h5", "--data", "{work}/data.npz", "--early-exit"], "early exit"),
        (["simulate", "{work}/net.h5", "--data", "{work}/data.npz", "--backend", "moon"], "moon"),
        (
            ["simulate", "{work}/net.h5", "--data", "{work}/data.npz", "--keep-state", "--early-exit"],
            "--keep-state: cannot be combined with --early-exit, --executor, --backend lava or --trace",
        ),
        (["verify", "{work}/net.h5", "--data", "{work}/data.npz", "--against", "moon"], "moon"),
        (["simulate", "{work}/net.h5", "--data", "{work}/data.npz", "--trace", "{tmp}/none/trace.h5"], "trace.h5"),
        (["info"], "Missing argument"),
        (["fly"], "fly"),
    ],
)
def test_bad_files_and_usage(workshop, tmp_path, capsys, command, message):
    whole = (workshop / "net.h5").read_bytes()
    (tmp_path / "noise.h5").write_bytes(b"noise" * 100)
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "future.h5").write_bytes(whole)
    with h5py.File(tmp_path / "future.h5", "r+") as file:
        file.attrs["schema"] = np.int64(SCHEMA + 1)
    np.savez(tmp_path / "small.npz", images=np.zeros((2, 4, 4, 3), np.uint8))
    assert run([word.format(tmp=tmp_path, work=workshop) for word in command]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert "internal error" not in error


def test_an_unsupported_layer_is_named_with_what_would_work(workshop, tmp_path, capsys):
    arguments = convert_arguments(workshop)
    arguments[1] = f"{workshop / 'model.py'}:group"
    index = arguments.index("--weights")
    del arguments[index : index + 2]
    assert run([*arguments, "-o", str(tmp_path / "x.h5")]) == 2
    message = capsys.readouterr().err
    assert "GroupNorm" in message
    assert "BatchNorm" in message


def test_without_lava_the_status_is_3(workshop):
    """A fresh interpreter that cannot find Lava: everything else works, Lava says what is missing."""
    program = "import sys; sys.modules['lava'] = None; from toolchain.cli import main; main(sys.argv[1:])"
    arguments = ["verify", str(workshop / "net.h5"), "--data", str(workshop / "data.npz"), "--limit", "1"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "Lava" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_is_alone_on_stdout(workshop):
    environment = {**os.environ, "FORCE_COLOR": "1"}
    command = [
        sys.executable,
        "-c",
        "from toolchain.cli import main; main()",
        "info",
        str(workshop / "net.h5"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    json.loads(done.stdout)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_that_lacks_a_sign_fails_nothing(workshop, tmp_path, encoding):
    """Tables, help, a netlist as text and errors; a file's name may even be no text at all."""
    data = str(workshop / "data.npz")
    odd = tmp_path / os.fsdecode(b"\xcf\x86\xff.npz")  # φ, and a byte that is no UTF-8
    odd.write_bytes((workshop / "data.npz").read_bytes())
    (tmp_path / "φ.toml").write_bytes('netlist = "net.h5" # φ'.encode())
    commands = (
        ["energy", str(workshop / "net.h5"), "--data", data],
        ["convert", "--help"],
        ["report", str(workshop / "net.h5"), "--data", str(odd), "--lava", "0", "-o", str(odd.with_suffix(".md"))],
        ["run", str(tmp_path / "φ.toml")],
        ["simulate", str(workshop / "net.h5"), "--data", str(tmp_path / "φ")],
    )
    program = f"import sys\nfrom toolchain.cli import main\nfor arguments in {commands!a}:\n"
    program += "    try: main(arguments)\n    except SystemExit as stop: print(stop.code)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    out, errors = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert [line for line in out.splitlines() if line.isdecimal()] == ["0", "0", "0", "0", "2"], errors
    assert "internal error" not in errors
    assert "J" in out


def test_a_path_and_what_follows_it_are_no_emoji(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("missing.py").write_text("")
    assert run(["convert", "net.onnx", "--calibration", "missing.py:Two", "-o", "net.h5"]) == 2
    assert "missing.py:Two: " in capsys.readouterr().err
