"""Burst unrolling: the same network with binary spikes only, for chips that send no payload.

A timestep becomes `period` sub-steps. A burst of n leaves as n single spikes in the first n of its
population's window of phi sub-steps, and the input's payload leaves as its bits, one binary neuron
each, all in the timestep's first sub-step. The result is an ordinary netlist (every phi is 1), so
that every executor runs it as it is.

A neuron must not fire before all spikes of its timestep are in: later ones may be negative. So each
population is gated by two binary inputs. *Close* takes G off the membrane potential and adds the
bias of the next timestep; *open* gives G back. With G above every potential that can occur, a closed
neuron integrates and stays silent; an open one fires once per sub-step while u >= theta, at most phi
times, which is the burst ``clip(floor(u / theta), 0, phi)``. Windows follow the layers::

    sub-step      0    1    2    3    4    5    6    7    8   ...
    input         q0                       q1                      (period 5, phi 3)
    layer 1       n0   n0   n0             n1   n1   n1
    layer 2                 n0   n0   n0             n1   n1  ...

`network` says why the bursts are the same, `gates` why G is high enough, `bits` and `digits` how payloads
and gates pass through narrow weights.
"""

from hw_targets.unroll.gates import Gate, gate_heights, gate_overflows
from hw_targets.unroll.network import Unrolled, not_unrollable, refuse_digits, unroll

__all__ = ["Gate", "Unrolled", "gate_heights", "gate_overflows", "not_unrollable", "refuse_digits", "unroll"]
