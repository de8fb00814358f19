"""What a user may hold shows as tables when printed, and as HTML in a notebook."""

import numpy as np
import pytest

from hw_targets import Catalogue, load_target
from hw_targets.lava_runtime import LavaRun, LavaTiming, ProcessTime
from hw_targets.lava_runtime.stock import StockComparison
from hw_targets.placement import place
from hw_targets.rules import check
from toolchain.netlist import Trace

PHASES = {"load": 0.5, "build": 0.1, "compile": 0.4, "run": 2.0, "stop": 0.1}
TIMING = LavaTiming(
    samples=8, lanes=4, steps=40, total=3.25, phases=PHASES, processes={"conv": ProcessTime(0.1, 0.7, 0.011, 0.2)}
)
TRACE = Trace("0" * 64, "lava", {"input": np.zeros((2, 8, 1), np.uint8)}, {"r": np.zeros((2, 8, 1), np.int64)})

RESULTS = {
    "check that fails": (lambda netlist: check(netlist, load_target("loihi1")), ("does not fit", "payload_width")),
    "check that passes": (lambda netlist: check(netlist, load_target("loihi2")), ("Intel Loihi 2: fits", "cores")),
    "placement": (lambda netlist: place(netlist, load_target("kapoho_bay")), ("Kapoho Bay", "spikes per inference")),
    "targets": (lambda _: Catalogue(), ("hala_point", "binary")),
    "target": (lambda _: load_target("xylo_audio2"), ("payload_bits", "unknown", "software: declared")),
    "time on Lava": (lambda _: TIMING, ("40 steps of 50 ms", "3.25", "0.011")),
    "run on Lava": (lambda _: LavaRun(TRACE, TIMING), ("40 steps of 50 ms", "conv")),
    "stock": (lambda _: StockComparison(("a", "b"), 6, 0.042, 0.003, 8, 0.001), ("2 layers, 6 steps", "14")),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows(name, small_resnet):
    make, words = RESULTS[name]
    result = make(small_resnet)
    text = str(result)
    assert all(word in text for word in words), text
    assert "\x1b" not in text
    assert result._repr_html_().startswith("<pre")
    assert words[-1] in result._repr_html_()
