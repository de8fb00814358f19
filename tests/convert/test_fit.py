"""What is converted for a target passes its design rules, or the notes of the conversion say what does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_modules import ResidualCNN
from torch import nn

from hw_targets.rules import check
from hw_targets.target import available_targets, load_target
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset
from toolchain.frontend import read_module
from toolchain.netlist import total_current_bound


def depthwise():
    torch.manual_seed(2)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, 4)).eval(), (2, 8, 8)


NETWORKS = {
    "residual": lambda: (ResidualCNN().eval(), (2, 8, 8)),
    "depthwise": depthwise,
    "dense": lambda: (nn.Sequential(nn.Linear(600, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), (600,)),
}


def convert(name, target, **recipe):
    torch.manual_seed(1)
    module, shape = NETWORKS[name]()
    data = Dataset("d.npz", np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32))
    return convert_network(
        read_module(module, shape), data, Recipe(target=target, calibrate="light", accept_collapse=True, **recipe)
    )


def fit_notes(netlist, target):
    return [n for n in netlist.provenance.notes if n.startswith(f"{target.name} ")]


@pytest.mark.parametrize("target", [*map(load_target, available_targets())], ids=available_targets())
@pytest.mark.parametrize("name", NETWORKS)
def test_a_conversion_for_a_target_says_what_the_target_does_not_hold(name, target):
    netlist = convert(name, target, weight_bits=min(8, max(target.weight_bits or (8,))))
    notes = fit_notes(netlist, target)
    if check(netlist, target).passed:
        assert notes == []
        return
    (note,) = notes
    if target.binary and check(netlist, target, unroll=True).passed:
        assert "holds it with bursts unrolled" in note
    else:
        violation = check(netlist, target, unroll=target.binary).violations[0]
        assert "does not hold it" in note
        assert f"{violation.rule} in {violation.where} ({violation.actual} found, {violation.limit} held)" in note


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("recipe", [{"phi": 255}, {"phi": 4}, {"spike_code": "radix", "digits": 5}])
def test_sums_fit_the_accumulator_of_the_target(name, recipe):
    free = convert(name, replace(load_target("loihi2"), accumulator_bits=None), **recipe)
    greatest = max(total_current_bound(free, p.name).magnitude for p in free.populations[1:])
    narrow = replace(load_target("loihi2"), accumulator_bits=greatest.bit_length() - 1)
    assert {v.rule for v in check(free, narrow).violations} == {"accumulator_range"}
    made = convert(name, narrow, **recipe)
    assert check(made, narrow).passed
    assert fit_notes(made, narrow) == []


def test_an_accumulator_that_is_wide_enough_changes_nothing():
    target = load_target("loihi2")
    assert convert("residual", target).content_hash == (
        convert("residual", replace(target, accumulator_bits=None)).content_hash
    )
