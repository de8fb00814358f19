"""What a notebook sees: the jobs in a line each, results as text and HTML, figures."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import toolchain as adafire
from sim import simulate
from toolchain.equivalence import diagnose
from toolchain.netlist import InputError
from toolchain.report.figures import drift, energy_bars, phi_by_layer, raster, rates


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def netlist(pictures):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)
    ).eval()
    return adafire.to_netlist(model, pictures, normalize="0.5/0.25", timesteps=4, phi=3, target="loihi2")


def test_the_three_jobs(netlist, pictures, tmp_path):
    adafire.write_netlist(netlist, tmp_path / "net.h5")
    assert adafire.read_netlist(tmp_path / "net.h5").content_hash == netlist.content_hash
    data = adafire.dataset(pictures, np.zeros(12), limit=3)
    assert adafire.run(netlist, data).samples == 3
    assert adafire.verify(netlist, data, "reference").equivalent
    assert adafire.price(netlist, data).sops > 0
    done = adafire.write_report(netlist, data, tmp_path / "net.html", target="loihi2", lava=0)
    assert done.check.passed
    assert "<h1>net</h1>" in (tmp_path / "net.html").read_text()


def test_results_print_as_tables_and_show_as_html(netlist, pictures):
    data = adafire.dataset(pictures)
    for result, word in (
        (adafire.price(netlist, data), "SOPs"),
        (adafire.run(netlist, data), "spikes per sample"),
        (adafire.verify(netlist, data, "reference"), "equivalent"),
        (adafire.summarize(netlist), "timesteps"),
    ):
        assert word in str(result)
        assert "\x1b" not in str(result)
        assert word in result._repr_html_()
        assert result._repr_html_().startswith("<pre")


def test_options_and_data_are_checked(netlist, pictures):
    with pytest.raises(InputError, match="option 'phy' found"):
        adafire.to_netlist(nn.Flatten(), pictures, phy=3)
    with pytest.raises(InputError, match="12 samples and 3 labels"):
        adafire.dataset(pictures, np.zeros(3))
    with pytest.raises(AttributeError, match="has no attribute 'convrt'"):
        adafire.convrt  # noqa: B018


def test_every_name_is_there():
    assert all(callable(getattr(adafire, name)) for name in adafire.__all__)
    assert dir(adafire) == adafire.__all__
    loaded = "import sys, toolchain; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "False\n"
    )


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
    assert [bar.get_width() for bar in phi_by_layer(netlist).axes[0].patches] == [3, 3]
    report = adafire.price(netlist, data)
    bars = [bar.get_width() for bar in energy_bars(report).axes[0].patches]
    assert sum(bars[: len(report.layers)]) == pytest.approx(float(report.e_snn) / 12e6)
    (image,) = drift(diagnose(netlist, trace, trace)).axes[0].get_images()
    assert not np.asarray(image.get_array()).any()
    assert plt.get_fignums() == []  # nothing is left open in pyplot
    with pytest.raises(InputError, match="no population 'x'"):
        raster(trace, "x")
    with pytest.raises(InputError, match="sample 12 found"):
        raster(trace, first, sample=12)
