"""The float SNN is the golden step where nothing rounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import golden
from toolchain.netlist import AdaFire, Connection, Input, InputError, MaxPool, Netlist, Readout, Weighted
from toolchain.network import (
    Activation,
    Firing,
    FloatNetwork,
    MaxUnit,
    Output,
    Source,
    SpikingNetwork,
    simulate_float,
)
from toolchain.quantize.amplitude import output_channels

ARCHITECTURES = (
    *("conv", "residual", "shortcut", "depthwise", "maxpool", "frames", "per_neuron"),
    *("upsampling", "sequence"),
)


def with_dyadic_thresholds(netlist: Netlist) -> Netlist:
    """Round every threshold to a power of two, so that real numbers divide by it exactly."""
    populations = tuple(
        replace(p, threshold=2 ** np.rint(np.log2(p.threshold)).astype(np.int64)) if isinstance(p, AdaFire) else p
        for p in netlist.populations
    )
    return replace(netlist, populations=populations)


def in_real_numbers(netlist: Netlist, *, amplitude: float, drift: float, rho: float) -> SpikingNetwork:
    """Return the spiking network whose quantisation without any rounding is `netlist`.

    One payload unit of every population stands for `amplitude`, a power of two; of the input for 1.
    """
    units: list = []
    connections: list = []
    firing = {}
    carried = {netlist.input.name: 1.0}
    for p in netlist.populations:
        incoming = netlist.inputs(p.name)
        match p:
            case Input():
                units.append(Source(p.name, p.shape))
                continue
            case AdaFire():
                unit_of_potential = amplitude / p.threshold
                bias_unit = unit_of_potential.reshape(-1, *(1 for _ in p.bias.shape[1:]))
                units.append(Activation(p.name, p.shape, p.bias * bias_unit - drift * amplitude))
                theta = p.threshold.reshape(-1, *(1 for _ in p.initial.shape[1:]))
                firing[p.name] = Firing(p.phi, np.full(p.shape[0], amplitude / rho), p.initial / theta, drift, rho)
                carried[p.name] = amplitude
            case MaxPool():
                (source,) = {c.source for c in incoming}
                units.append(MaxUnit(p.name, p.input_shape, p.kernel, p.stride, p.padding))
                carried[p.name] = carried[source]
                connections += incoming
                continue
            case Readout():
                unit_of_potential = np.ones(p.shape[0])
                units.append(Output(p.name, p.shape, p.bias.astype(float)))
        for c in incoming:
            *before, last = c.operators
            assert isinstance(last, Weighted)
            weight = last.weight * output_channels(last, unit_of_potential) / carried[c.source]
            connections.append(Connection(c.source, c.target, (*before, replace(last, weight=weight))))
    source = netlist.input
    return SpikingNetwork(
        FloatNetwork(tuple(units), tuple(connections)), replace(source, scale=1.0), firing, netlist.timesteps
    )


@settings(max_examples=40)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    seed=st.integers(0, 2**16),
    phi=st.integers(1, 6),
    amplitude=st.sampled_from([0.25, 1.0, 2.0]),
    drift=st.sampled_from([0.0, 0.125]),
    rho=st.sampled_from([1.0, 0.5]),
)
def test_without_rounding_it_is_the_golden_step(
    make_netlist, make_payloads, architecture, seed, phi, amplitude, drift, rho
):
    netlist = with_dyadic_thresholds(make_netlist(architecture, seed, phi=phi))
    payloads = make_payloads(netlist, seed=seed)
    trace = golden.simulate(netlist, payloads)
    x = torch.from_numpy(np.moveaxis(payloads, 0, 1) if netlist.input.coding == "frames" else payloads).double()
    spiking = in_real_numbers(netlist, amplitude=amplitude, drift=drift, rho=rho)
    assert any(trace.spikes[p.name].any() for p in netlist.spiking)
    for t, values in enumerate(simulate_float(spiking, x)):
        for p in netlist.spiking:
            assert np.array_equal(values[p.name].numpy(), trace.spikes[p.name][t] * amplitude), (p.name, t)
        for p in netlist.readouts:
            assert np.array_equal(values[p.name].numpy(), trace.readouts[p.name][t])
    assert t == netlist.timesteps - 1


def test_data_of_another_shape_are_refused(make_netlist):
    for architecture, shape in (("conv", (2, 3, 7, 8)), ("frames", (2, 4, 2, 6, 6))):
        netlist = with_dyadic_thresholds(make_netlist(architecture))
        spiking = in_real_numbers(netlist, amplitude=1.0, drift=0.0, rho=1.0)
        with pytest.raises(InputError, match=r"^input: data of shape .* found, expected \(N, "):
            next(simulate_float(spiking, torch.zeros(shape)))
