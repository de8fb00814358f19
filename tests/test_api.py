"""`import adafire`: the verbs of the command line, results as text and HTML, figures."""

import ast
import inspect
import json
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import adafire
from sim import simulate
from toolchain import cli
from toolchain.cli.flags import flag
from toolchain.display import Displayed
from toolchain.equivalence import diagnose
from toolchain.netlist import InputError
from toolchain.report.figures import drift, energy_bars, phi_by_population, raster, rates

ROOT = Path(__file__).resolve().parent.parent

#: What scripts may rely on: a name is added here when it is promised, and stays.
PUBLIC = {
    "AdafireError",
    "BackendError",
    "Boxes",
    "CollapseError",
    "Dataset",
    "FormatError",
    "InputError",
    "Netlist",
    "NetlistError",
    "Recipe",
    "TargetError",
    "Trace",
    "Truth",
    "UnsupportedError",
    "__version__",
    "ann_outputs",
    "check",
    "convert",
    "dataset",
    "energy",
    "export",
    "info",
    "outputs",
    "place",
    "read",
    "report",
    "simulate",
    "targets",
    "verify",
    "write",
}
#: Verbs that are commands as well.
VERBS = ("check", "convert", "energy", "export", "info", "place", "report", "simulate", "targets", "verify")
#: Parameters of commands that have no place in Python: files to read and write, and how results are shown.
COMMAND_ONLY = {
    "netlist",
    "netlists",
    "spec",
    "calibration",
    "data",
    "output",
    "as_json",
    "text",
    "picture",
    "size",
}


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def netlist(pictures):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)
    ).eval()
    return adafire.convert(model, pictures, adafire.Recipe(normalize="0.5/0.25", timesteps=4, phi=3, target="loihi2"))


def test_the_public_names_are_pinned():
    assert set(adafire.__all__) == PUBLIC
    assert len(adafire.__all__) == len(PUBLIC)
    assert dir(adafire) == sorted(PUBLIC)
    assert all(getattr(adafire, name) is not None for name in PUBLIC)
    assert adafire.__version__ == version("adafire")
    with pytest.raises(AttributeError, match="has no attribute 'convrt'"):
        adafire.convrt  # noqa: B018


def test_an_editor_sees_the_same_names():
    """It reads the imports for type checkers; at run time they are resolved by name."""
    tree = ast.parse((ROOT / "adafire.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen.keys() | {"__version__"} == PUBLIC
    for name, home in seen.items():
        assert getattr(adafire, name) is getattr(__import__(home, fromlist=[name]), name)


def test_the_face_loads_nothing_until_it_is_used():
    program = (
        "import sys, adafire; adafire.Recipe(), adafire.Netlist, adafire.InputError; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_convert_has_an_option_for_every_field_of_the_recipe():
    options = {p.name: p for p in cli.commands()["convert"].params}
    for option in fields(adafire.Recipe):
        assert options[option.name].default == option.default, option.name
        assert flag(option.name) in options[option.name].opts
    rest = options.keys() - {option.name for option in fields(adafire.Recipe)}
    own = {"spec", "calibration", "output", "weights", "evaluate", "evaluate_limit", "decode", "size", "as_json"}
    assert rest == own


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_command_have_the_same_parameters(verb):
    parameters = inspect.signature(getattr(adafire, verb)).parameters
    options = {p.name: p for p in cli.commands()[verb].params if p.name not in COMMAND_ONLY}
    if verb == "convert":
        options = {name: p for name, p in options.items() if name not in adafire.Recipe.__dataclass_fields__}
    python_only = {"netlist", "data", "network", "calibration", "recipe", "progress", "path"}
    assert parameters.keys() - python_only == options.keys()
    for name in options:
        default = parameters[name].default
        assert options[name].required or options[name].default == default, name


def test_the_three_jobs(netlist, pictures, tmp_path):
    adafire.write(netlist, tmp_path / "net.h5")
    assert adafire.read(tmp_path / "net.h5").content_hash == netlist.content_hash
    adafire.export(netlist, tmp_path / "net.nir")
    assert adafire.read(tmp_path / "net.nir").content_hash == netlist.content_hash
    data = adafire.dataset(pictures, np.zeros(12), limit=3)
    assert adafire.simulate(netlist, data).samples == 3
    assert adafire.verify(netlist, data, "reference").equivalent
    assert adafire.verify(netlist, data, adafire.read(tmp_path / "net.nir")).equivalent
    assert adafire.check(netlist, "loihi2").passed
    assert adafire.place(netlist, "loihi2", data=data).cores >= 1
    assert adafire.energy(netlist, data).sops > 0
    done = adafire.report(netlist, data, tmp_path / "net.html", target="loihi2", lava=0)
    assert done.check.passed
    assert "<h1>net</h1>" in (tmp_path / "net.html").read_text()


def test_a_report_is_written_as_its_name_says_and_checked_on_its_own_target(netlist, pictures, tmp_path):
    done = adafire.report(netlist, pictures, tmp_path / "net.json", limit=2, lava=0)
    assert json.loads((tmp_path / "net.json").read_text())["hash"] == netlist.content_hash
    assert done.check.target == "loihi2"
    with pytest.raises(InputError, match=r"net\.pdf found, expected a name that ends in \.html, \.json, \.csv, \.md"):
        adafire.report(netlist, pictures, tmp_path / "net.pdf")


def test_results_print_as_tables_and_show_as_html(netlist, pictures, tmp_path):
    data = adafire.dataset(pictures, np.zeros(12))
    for result, word in (
        (netlist, "AdaFire"),
        (adafire.info(netlist), "timesteps"),
        (adafire.simulate(netlist, data), "spikes per sample"),
        (adafire.verify(netlist, data, "reference"), "equivalent"),
        (adafire.targets(), "loihi2"),
        (adafire.targets("loihi2"), "Loihi 2"),
        (adafire.check(netlist, "loihi2"), "Loihi 2"),
        (adafire.place(netlist, "loihi2"), "cores"),
        (adafire.energy(netlist, data), "SOPs"),
        (adafire.export(netlist, tmp_path / "net.nir"), "nir"),
        (adafire.report(netlist, data, tmp_path / "net.html", lava=0), "accuracy"),
    ):
        assert word.lower() in str(result).lower(), type(result)
        assert "\x1b" not in str(result)
        assert word.lower() in result._repr_html_().lower()
        assert result._repr_html_().startswith("<pre")


def test_options_and_data_are_checked(pictures):
    with pytest.raises(TypeError, match="phy"):
        adafire.Recipe(phy=3)
    for field, value in (("phi", 0), ("weight_bits", 17), ("calibrate", "lite"), ("alpha_base", 1.5), ("samples", 0)):
        with pytest.raises(InputError, match=f"^{field}: {value!r} found, expected"):
            adafire.Recipe(**{field: value})
    with pytest.raises(InputError, match="there is no target 'loihi9'"):
        adafire.Recipe(target="loihi9")
    with pytest.raises(InputError, match="12 samples and 3 labels"):
        adafire.dataset(pictures, np.zeros(3))
    for labels in (np.full(12, 0.5), np.full(12, np.nan), np.zeros((12, 2)), np.array(["cat"] * 12)):
        with pytest.raises(InputError, match="expected a whole number per sample"):
            adafire.dataset(pictures, labels)
    for data, message in ((np.full((2, 3), np.nan), "NaN"), (np.zeros(0), "no samples"), (np.array([None]), "object")):
        with pytest.raises(InputError, match=message):
            adafire.dataset(data)
    with pytest.raises(InputError, match="cannot be combined with `backend` lava or `trace`"):
        adafire.simulate(None, pictures, early_exit=True, trace="trace.h5")
    for other in ({"early_exit": True}, {"executor": "local:2"}, {"backend": "lava"}, {"trace": "trace.h5"}):
        with pytest.raises(InputError, match="keep_state: cannot be combined with `early_exit`, `executor`"):
            adafire.simulate(None, pictures, keep_state=True, **other)


def test_pictures_without_a_channel_axis_have_one_channel(tmp_path):
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "data.npz", images=pictures)
    for data in (pictures, tmp_path / "data.npz"):
        assert np.array_equal(adafire.dataset(data).values, pictures[:, np.newaxis])


@pytest.mark.parametrize("name", ["sim.py", "toolchain.py", "hw_targets/__init__.py"])
@pytest.mark.parametrize(
    ("program", "status"),
    [("import adafire; adafire.main()", 2), ("import adafire; adafire.convert", 1)],
)
def test_a_file_of_the_users_that_hides_a_package_is_named(tmp_path, name, program, status):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('the wrong file was run')\n")
    start = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; {program}"
    done = subprocess.run([sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    package = name.split(".")[0].split("/")[0]
    assert f"adafire needs its own package {package!r}, {tmp_path / name} was found" in done.stderr
    assert status == 1 or done.stderr.count("\n") == 1


def test_the_version_is_shown():
    done = subprocess.run([sys.executable, "-m", "adafire", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"adafire {version('adafire')}\n"


def test_results_share_one_way_to_show():
    """Whatever a verb returns is a table: a type with `__rich__` derives from `Displayed`."""
    for verb in (adafire.simulate, adafire.verify, adafire.check, adafire.place, adafire.energy, adafire.report):
        assert issubclass(inspect.signature(verb, eval_str=True).return_annotation, Displayed)


def test_figures_show_the_numbers(netlist, pictures):
    data = adafire.dataset(pictures)
    trace = simulate(netlist, data.payloads(netlist.input))
    first = netlist.spiking[0].name
    (image,) = raster(trace, first, sample=2).axes[0].get_images()
    bursts = trace.spikes[first][:, 2].reshape(4, -1)
    assert image.get_array().shape == (200, 4)
    assert np.array_equal(image.get_array()[0], bursts[:, 0])
    widths = [bar.get_width() for bar in rates(trace).axes[0].patches][::-1]
    assert widths == pytest.approx([100 * np.count_nonzero(s) / s.size for s in trace.spikes.values()])
    assert [bar.get_width() for bar in phi_by_population(netlist).axes[0].patches] == [3, 3]
    report = adafire.energy(netlist, data)
    bars = [bar.get_width() for bar in energy_bars(report).axes[0].patches]
    assert sum(bars[: len(report.populations)]) == pytest.approx(float(report.e_snn) / 12e6)
    (image,) = drift(diagnose(netlist, trace, trace)).axes[0].get_images()
    assert not np.asarray(image.get_array()).any()
    assert plt.get_fignums() == []  # nothing is left open in pyplot
    with pytest.raises(InputError, match="no population 'x'"):
        raster(trace, "x")
    with pytest.raises(InputError, match="sample 12 found"):
        raster(trace, first, sample=12)
