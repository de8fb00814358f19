"""Longer bursts: chosen where the ANN's decisions need them, within the target's limits; advised where phi is fixed."""

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.calibrate import CalibrationData, Calibrator, Levels, Thresholds, collect_histograms
from toolchain.convert import Recipe, choose_samples, convert_network, measure_agreement
from toolchain.convert.agreement import HOLDS, Agreement
from toolchain.convert.logits import Logits
from toolchain.data import Dataset, Truth, choose_input, parse_normalization
from toolchain.evaluate import evaluate
from toolchain.frontend import read_module
from toolchain.network import reference_outputs
from toolchain.quantize import Precision


def policy():
    """A narrow MLP: states in, the values of a few actions out."""
    torch.manual_seed(1)
    layers = [nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4, bias=False)]
    return nn.Sequential(*layers).eval(), (6,)


def depthwise():
    """Depthwise layers with few channels, each behind a pointwise one."""
    torch.manual_seed(2)
    layers = [nn.Conv2d(2, 8, 3, 2, 1), nn.ReLU6()]
    for _ in range(3):
        layers += [nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1), nn.ReLU6()]
    layers += [nn.Flatten(), nn.Linear(128, 4, bias=False)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers).eval(), (2, 8, 8)


def samples(shape, count, seed):
    return Dataset("states.npz", np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32))


def agreement(network, netlist, data):
    (wanted,) = reference_outputs(network, torch.from_numpy(data.values))
    return evaluate(netlist, Dataset("unseen.npz", data.values, Truth(wanted.argmax(1).numpy()))).accuracy


@pytest.mark.parametrize(("make", "timesteps", "least"), [(policy, 1, 0.9), (depthwise, 2, 0.9)])
def test_bursts_are_longer_where_decisions_need_it(make, timesteps, least):
    module, shape = make()
    network, data, unseen = read_module(module, shape), samples(shape, 400, 0), samples(shape, 400, 1)
    fixed = convert_network(network, data, Recipe(timesteps=timesteps, phi=4))
    free = convert_network(network, data, Recipe(timesteps=timesteps))
    assert {p.phi for p in fixed.spiking} == {4}
    assert max(p.phi for p in free.spiking) > 4
    before, after = (agreement(network, netlist, unseen) for netlist in (fixed, free))
    assert after > before
    assert after >= least
    longest = max(free.spiking, key=lambda p: p.phi)
    (note,) = [n for n in free.provenance.notes if n.startswith("longer bursts than 4")]
    assert f"up to {longest.phi} in" in note
    assert free.provenance.recipe["phi"] == 4
    (advised,) = [n for n in fixed.provenance.notes if "estimated to give" in n]
    assert "of the ANN's decisions: bursts of up to" in advised
    assert "`phi`" in advised
    assert "`timesteps`" in advised


def test_without_advanced_calibration_that_is_advised_and_nothing_estimated(monkeypatch):
    module, shape = policy()
    network, data = read_module(module, shape), samples(shape, 400, 0)
    monkeypatch.setattr("toolchain.calibrate.calibrator.influences", None)
    for method in ("light", "none"):
        notes = convert_network(network, data, Recipe(timesteps=1, phi=4, calibrate=method)).provenance.notes
        (advised,) = [n for n in notes if "`calibrate` advanced" in n]
        assert "of the ANN's decisions" in advised
        assert not any("estimated to give" in n for n in notes)


def test_a_network_that_holds_keeps_its_bursts_and_needs_no_advice():
    module, shape = policy()
    network, data = read_module(module, shape), samples(shape, 300, 0)
    free, fixed = (
        convert_network(network, data, Recipe(timesteps=32, samples=256, **given)) for given in ({}, {"phi": 4})
    )
    assert free.content_hash == fixed.content_hash
    assert free.provenance.notes == fixed.provenance.notes == ()


@pytest.mark.parametrize("target", ["loihi1", "loihi2"])
def test_bursts_stay_within_what_the_targets_spikes_carry(target):
    module, shape = policy()
    recipe = Recipe(timesteps=1, target=target)
    netlist = convert_network(read_module(module, shape), samples(shape, 200, 0), recipe)
    assert max(p.phi for p in netlist.spiking) <= recipe.payload_limit
    if recipe.hardware.binary:
        assert {p.phi for p in netlist.spiking} == {4}
        assert not any("bursts of up to" in note for note in netlist.provenance.notes)


def test_estimates_of_levels():
    """More levels are less error; bursts grow until the error is within what is wanted, or no further."""
    module, shape = policy()
    network, data = read_module(module, shape), samples(shape, 100, 0)
    x = torch.from_numpy(data.values)
    source = choose_input(network.source.name, data, data.values, parse_normalization("none", 6))
    prepared = CalibrationData(x, torch.from_numpy(data.payloads(source))[:, None])
    histograms = collect_histograms(network, x)
    levels = Levels(Calibrator(network, source, histograms, prepared, Precision(), Thresholds(8), "light"))
    phi = {u.name: 4 for u in network.activations}
    now = levels.error(phi, 8)
    assert now > levels.error(phi, 16) > levels.error(dict.fromkeys(phi, 8), 16) > 0
    assert levels.lengthen(phi, now, 64) == phi
    longer = levels.lengthen(phi, now / 6, 64)
    assert levels.error(longer, 8) <= now / 6
    assert all(n in (4, 8, 16, 32, 64) for n in longer.values())
    assert levels.lengthen(phi, 0.0, 10) == dict.fromkeys(phi, 10)


def test_an_estimate_scales_the_errors_that_were_measured():
    ann = np.array([[1.0, 0.0], [1.0, 0.4], [0.0, 0.2]])
    logits = Logits(ann, ann + np.array([[-0.9, 0.3], [0.0, 1.0], [0.3, 0.0]]))
    found = Agreement(100, 0.0, {"out": 0.5}, {}, logits)
    assert [logits.alike(share) for share in (0.0, 0.5, 0.7, 1.0)] == pytest.approx([1, 1, 1 / 3, 0])
    assert all(found.estimated(s) == min(logits.alike(s), logits.expected(s)) for s in (0.0, 0.5, 0.7, 1.0))
    assert not found.holds
    assert found.estimated(found.needed_share()) >= HOLDS
    values = Agreement(100, None, {"out": 0.8}, {})
    assert values.measure == pytest.approx(0.8)
    assert values.estimated(0.5) == pytest.approx(1 / np.sqrt(1 + 0.25 * (1 / 0.64 - 1)))
    assert values.estimated(0.0) == 1


def test_agreement_is_measured_on_samples_that_calibration_did_not_draw(monkeypatch):
    module, shape = policy()
    network, data, seen = read_module(module, shape), samples(shape, 100, 0), []

    def spy(network, netlist, prepared, **rest):
        seen.append(prepared.x[:].numpy())
        return measure_agreement(network, netlist, prepared, **rest)

    monkeypatch.setattr("toolchain.convert.pipeline.measure_agreement", spy)
    for count in (60, 100):
        convert_network(network, data, Recipe(phi=4, samples=count, calibrate="light"))
    drawn = {row.tobytes() for row in choose_samples(data, 60, 0).values}
    assert len(seen[0]) == 40
    assert not any(row.tobytes() in drawn for row in seen[0])
    assert len(seen[1]) == 100


def test_agreement_keeps_what_it_was_measured_on():
    module, shape = policy()
    network, data = read_module(module, shape), samples(shape, 60, 0)
    netlist = convert_network(network, data, Recipe(normalize="none"))
    x = torch.from_numpy(data.values)
    found = measure_agreement(
        network, netlist, CalibrationData(x, torch.from_numpy(data.payloads(netlist.input))[:, None])
    )
    assert found.logits is not None
    (wanted,) = reference_outputs(network, x)
    np.testing.assert_allclose(found.logits.ann, wanted.numpy(), rtol=1e-5, atol=1e-6)
    assert found.decisions == found.logits.alike()
    assert found.measure == min(found.logits.alike(), found.logits.expected())


def test_decisions_that_fall_into_place_while_outputs_drift_apart_are_no_better():
    def measured(right, correlation):
        ann = np.tile(np.eye(2), (5, 1))
        netlist = np.concatenate([ann[:right], ann[right:, ::-1]])
        return Agreement(32, right / 10, {"out": correlation}, {}, Logits(ann, netlist))

    first, lucky, nearer = measured(7, 0.99), measured(8, 0.95), measured(8, 0.99)
    assert nearer.better_than(first)
    assert not lucky.better_than(first)
    assert not first.better_than(nearer)
