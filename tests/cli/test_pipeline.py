"""``adafire run``: the steps of a file, each only when its inputs changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain import cli
from toolchain.cli import run
from toolchain.cli.flags import flag
from toolchain.cli.pipeline import REPEATED, STEPS

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
"""
PIPELINE = """
netlist = "net.h5"
data = "data.npz"

[convert]
spec = "model.py:net"
calibration = "data.npz"
timesteps = 4
target = "loihi2"

[check]
target = "loihi2"

[verify]
against = "reference"
limit = 2

[energy]
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=rng.integers(0, 3, 6))
    (tmp_path / "all.toml").write_text(PIPELINE)
    return tmp_path


def outcome(capsys, folder: Path) -> dict[str, str]:
    capsys.readouterr()
    assert run(["run", str(folder / "all.toml")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "(" in line]
    return {line.split(":")[0]: line[line.index("(") + 1 : -1] for line in lines}


def test_a_second_run_does_nothing_and_a_change_redoes_what_depends_on_it(folder, capsys):
    first = outcome(capsys, folder)
    assert first == dict.fromkeys(["convert", "check", "verify", "energy"], "done")
    assert json.loads((folder / "net.verify.json").read_text())["equivalent"]
    assert set(outcome(capsys, folder).values()) == {"up to date"}

    (folder / "all.toml").write_text(PIPELINE.replace("limit = 2", "limit = 3"))
    second = outcome(capsys, folder)
    assert [name for name, how in second.items() if how == "done"] == ["verify"]

    (folder / "all.toml").write_text(PIPELINE.replace("timesteps = 4", "timesteps = 5"))
    assert set(outcome(capsys, folder).values()) == {"done"}


PACKAGE = """
import json
from pathlib import Path
import torch
from torch import nn
from shop.sizes import HIDDEN

def net():
    torch.manual_seed(json.loads(Path("seed.json").read_text()))
    return nn.Sequential(nn.Conv2d(1, HIDDEN, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * HIDDEN, 3))
"""


def test_what_the_network_imports_and_reads_counts_too(folder):
    """In processes of their own, for a process imports a module once."""
    (folder / "shop").mkdir()
    (folder / "shop/net.py").write_text(PACKAGE)
    (folder / "shop/sizes.py").write_text("HIDDEN = 4")
    (folder / "seed.json").write_text("0")
    (folder / "all.toml").write_text(PIPELINE.replace("model.py:net", "shop.net:net"))
    program = "from toolchain.cli import main; main(['run', 'all.toml', '--json'])"

    def done(folder: Path = folder) -> list[str]:
        found = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
        return [step["step"] for step in json.loads(found.stdout)["steps"] if step["done"]]

    assert done() == ["convert", "check", "verify", "energy"]
    assert done() == []
    for name, text in (("shop/sizes.py", "HIDDEN = 5"), ("seed.json", "1"), ("shop/net.py", PACKAGE + "\nDONE = 1")):
        before = (folder / "net.h5").read_bytes()
        (folder / name).write_text(text)
        again = done()
        assert again[0] == "convert", name
        changed = (folder / "net.h5").read_bytes() != before
        assert changed == (name != "shop/net.py")
        assert again == (["convert", "check", "verify", "energy"] if changed else ["convert"])
        assert done() == []
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert done(copy) == []
    (copy / "shop/sizes.py").write_text("HIDDEN = 6")
    assert done(copy)[0] == "convert"
    assert done() == []


def test_the_outcome_as_json(folder, capsys):
    capsys.readouterr()
    assert run(["run", str(folder / "all.toml"), "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [(s["step"], s["status"], s["done"]) for s in steps] == [
        (name, 0, True) for name in ("convert", "check", "verify", "energy")
    ]


def test_a_list_repeats_an_option_and_its_files_count(folder, capsys):
    model, data = f"{folder / 'model.py'}:net", str(folder / "data.npz")
    convert = ["convert", model, "--calibration", data, "--phi", "1", "-T", "8"]
    assert run([*convert, "-o", str(folder / "phi1.h5")]) == 0
    (folder / "uniform.h5").write_bytes((folder / "phi1.h5").read_bytes())
    report = '[report]\noutput = "r.json"\nlava = 0\nbaseline = ["phi1.h5", "uniform.h5"]\n'
    (folder / "all.toml").write_text(PIPELINE + report)
    assert outcome(capsys, folder)["report"] == "done"
    found = json.loads((folder / "r.json").read_text())
    assert [b["name"] for b in found["at_equal_accuracy"]] == ["phi1.h5", "uniform.h5"]
    assert set(outcome(capsys, folder).values()) == {"up to date"}
    (folder / "uniform.h5").write_bytes((folder / "net.h5").read_bytes())
    assert [name for name, how in outcome(capsys, folder).items() if how == "done"] == ["report"]


def test_lists_are_for_the_options_that_repeat():
    commands = cli.commands()
    options = [p for step in STEPS for p in commands[step].params if p.param_type_name == "option"]
    assert {p.opts[0] for p in options if p.multiple} == {flag(name) for name in REPEATED}


def test_a_failed_check_is_the_status_of_the_whole_and_the_rest_still_runs(folder, capsys):
    (folder / "all.toml").write_text(PIPELINE.replace('[check]\ntarget = "loihi2"', '[check]\ntarget = "xylo_audio2"'))
    assert run(["run", str(folder / "all.toml")]) == 1
    assert json.loads((folder / "net.check.json").read_text())["violations"]
    assert (folder / "net.energy.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[energy]", "[enrgy]", "did you mean 'energy'"),
        ('spec = "model.py:net"', "", "spec"),
        ('netlist = "net.h5"', "", "netlist"),
        ("limit = 2", "limt = 2", "--limt"),
        ("timesteps = 4", "timesteps = [4]", "timesteps"),
        ("[check]", "[check", "TOML"),
    ],
)
def test_a_bad_pipeline_is_refused_by_name(folder, capsys, old, new, message):
    (folder / "all.toml").write_text(PIPELINE.replace(old, new))
    assert run(["run", str(folder / "all.toml")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


FROM_CODE = """
import numpy as np
from PIL import Image

def pictures():
    for name in ("0.png", "1.png"):
        yield np.asarray(Image.open(f"loose/{name}")), 1
"""


def test_what_data_are_read_from_counts_too(folder, capsys):
    from PIL import Image

    images = np.load(folder / "data.npz")["images"][..., 0]
    for index, image in enumerate(images):
        for place in (f"set/{'ab'[index % 2]}", "loose"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{place}/{index}.png")
    (folder / "mine.py").write_text(FROM_CODE)
    steps = PIPELINE.replace('data = "data.npz"', 'data = "set"\nsize = "8,8"', 1)
    steps = steps.replace('calibration = "data.npz"', 'calibration = "mine.py:pictures"').replace("limit = 2", "")
    (folder / "all.toml").write_text(steps)
    assert set(outcome(capsys, folder).values()) == {"done"}
    assert set(outcome(capsys, folder).values()) == {"up to date"}

    def again() -> list[str]:
        return [name for name, how in outcome(capsys, folder).items() if how == "done"]

    Image.fromarray(images[0] // 2).save(folder / "set/a/0.png")  # another content
    assert again() == ["verify", "energy"]
    Image.fromarray(images[0] // 3).save(folder / "set/a/8.png")  # one more
    assert again() == ["verify", "energy"]
    (folder / "set/a/2.png").unlink()
    assert again() == ["verify", "energy"]
    assert again() == []
    Image.fromarray(images[1] // 2).save(folder / "loose/1.png")  # what the code opens
    assert again()[0] == "convert"
    Image.fromarray(images[5] // 2).save(folder / "loose/5.png")  # what it does not
    assert again() == []
    (folder / "mine.py").write_text(FROM_CODE.replace(', "1.png"', ', "3.png"'))
    assert again()[0] == "convert"
