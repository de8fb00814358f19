"""Placement: every limit of every core holds, every neuron is placed once, and receptive boxes are right."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_netlists import radix_netlist

from hw_targets.placement import RESOURCES, core_limits, draw, place
from hw_targets.placement.boxes import index, receptive_box, volume, whole
from hw_targets.placement.footprint import footprint, state_bits
from hw_targets.placement.placement import HOST
from hw_targets.placement.split import CapacityError, _blocks
from hw_targets.target import Target, load_target
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    MaxPool,
    Netlist,
    Pad,
    Permute,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    UnsupportedError,
    apply_chain,
    chain_shapes,
)

CHAINS = {
    "conv": ((3, 6, 5), (Conv(np.ones((4, 3, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1)),)),
    "stride and uneven padding": ((2, 7, 6), (Conv(np.ones((3, 2, 3, 2)), (2, 3), ((0, 2), (1, 0)), (1, 1)),)),
    "dilation": ((1, 9, 9), (Conv(np.ones((2, 1, 3, 3)), (1, 1), ((2, 2), (2, 2)), (2, 2)),)),
    "groups": ((4, 5, 5), (Conv(np.ones((8, 2, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),)),
    "conv1d": ((3, 12), (Conv(np.ones((4, 3, 5)), (2,), ((2, 2),), (1,)),)),
    "transposed": ((3, 4, 5), (ConvTranspose(np.ones((3, 2, 3, 4)), (2, 2), ((1, 0), (1, 1))),)),
    "transposed, groups": ((4, 3, 3), (ConvTranspose(np.ones((4, 2, 2, 2)), (2, 2), ((0, 0), (0, 0)), 2),)),
    "pool, then conv": (
        (2, 8, 8),
        (
            SumPool((2, 2), (2, 2), ((0, 0), (0, 0))),
            Conv(np.ones((3, 2, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ),
    ),
    "upsampling": (
        (2, 3, 4),
        (Resample((np.repeat(np.eye(3, dtype=int), 2, 0), np.repeat(np.eye(4, dtype=int), 3, 0))),),
    ),
    "shortcut": ((4, 6, 6), (Slice(1, 0, 6, 2), Slice(2, 1, 6, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(np.ones(8)))),
    "flatten": ((3, 4, 4), (Reshape((48,)), Linear(np.ones((5, 48))))),
    "reshape": ((4, 3, 2), (Reshape((2, 12)), Slice(1, 3, 11, 2))),
    "permute": ((2, 3, 4), (Permute((2, 0, 1)), Pad(((0, 0), (1, 0), (0, 1))))),
}
#: Chains whose receptive boxes are no larger than the sources.
EXACT = ("conv", "conv1d", "pool, then conv", "groups", "flatten")


def reached_from_each_neuron(shape, operators):
    """Whether a spike of a source neuron (row) reaches a target: (sources, *shape of targets)."""
    return apply_chain(operators, np.eye(int(np.prod(shape))).reshape(-1, *shape), shape) != 0


def boxes_of(shape):
    """Forty random boxes."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        low = [rng.integers(0, n) for n in shape]
        yield tuple((int(a), int(rng.integers(a, n)) + 1) for a, n in zip(low, shape, strict=True))


@pytest.mark.parametrize("name", CHAINS)
def test_a_receptive_box_holds_every_source(name):
    """The sources of a box, found by sending one spike from each neuron, lie in its receptive box."""
    shape, operators = CHAINS[name]
    reached = reached_from_each_neuron(shape, operators)
    for box in boxes_of(reached.shape[1:]):
        sources = reached[(slice(None), *index(box))].reshape(reached.shape[0], -1).any(axis=1).reshape(shape)
        inside = np.zeros(shape, bool)
        inside[index(receptive_box(operators, shape, box))] = True
        assert not np.any(sources & ~inside)


@pytest.mark.parametrize("name", EXACT)
def test_a_receptive_box_is_the_least_one(name):
    shape, operators = CHAINS[name]
    reached = reached_from_each_neuron(shape, operators)
    for box in boxes_of(reached.shape[1:]):
        sources = reached[(slice(None), *index(box))].reshape(reached.shape[0], -1).any(axis=1).reshape(shape)
        assert sources.any()
        extents = tuple((int(a.min()), int(a.max()) + 1) for a in np.nonzero(sources))
        assert receptive_box(operators, shape, box) == extents


@st.composite
def small_networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    channels = [draw(st.integers(1, 6)) for _ in range(4)]
    side = draw(st.integers(2, 7))
    populations = [Input("input", (channels[0], side, side), 8, True, 0.1, np.zeros(channels[0]), np.ones(channels[0]))]
    connections = []

    def conv(a, b, groups=1, stride=1):
        return Conv(rng.integers(-9, 9, (b, a // groups, 3, 3)), (stride, stride), ((1, 1), (1, 1)), (1, 1), groups)

    def firing(name, shape):
        c = shape[0]
        return AdaFire(name, shape, 3, np.full(c, 50), np.zeros(c, int), np.zeros(c, int), np.ones(c))

    shape = (channels[1], side, side)
    populations.append(firing("a", shape))
    connections.append(Connection("input", "a", (conv(channels[0], channels[1]),)))
    if draw(st.booleans()):
        pool = MaxPool("pool", shape, (2, 2), (2, 2), ((0, 0), (0, 0)), 3)
        populations.append(pool)
        connections.append(Connection("a", "pool", ()))
        shape, last = pool.shape, "pool"
    else:
        last = "a"
    wide = (channels[1] * channels[2], *shape[1:])
    populations.append(firing("b", wide))
    connections.append(Connection(last, "b", (conv(channels[1], wide[0], groups=channels[1]),)))
    populations.append(firing("c", wide))
    connections += [
        Connection("b", "c", (conv(wide[0], wide[0]),)),
        Connection("b", "c", (Scale(np.full(wide[0], 7)),)),
    ]
    flat = int(np.prod(wide))
    populations.append(Readout("readout", (channels[3],), np.zeros(channels[3], int), np.ones(channels[3])))
    connections.append(Connection("c", "readout", (Reshape((flat,)), Linear(rng.integers(-9, 9, (channels[3], flat))))))
    return Netlist(tuple(populations), tuple(connections), 4)


@st.composite
def small_targets(draw):
    """Targets with tight limits, some of them absent."""
    base = load_target(draw(st.sampled_from(["loihi1", "loihi2", "truenorth"])))

    def maybe(low, high):
        return draw(st.none() | st.integers(low, high))

    return replace(
        base,
        neurons_per_core=draw(st.integers(4, 200)),
        synapse_bytes_per_core=maybe(200, 6000),
        memory_bytes_per_core=maybe(400, 9000),
        in_axons_per_core=maybe(40, 600),
        out_axons_per_core=maybe(8, 400),
        cores_per_chip=draw(st.integers(1, 30)),
        chips=maybe(1, 40),
    )


#: Bits of a stored synapse (8-bit weights, and Loihi 1's index), and bytes that a neuron's potential, bias and
#: threshold take: 24 + 13 + 3 + 17 bits, on Loihi 2 another 3; on TrueNorth the netlist's 24, the rest is not known.
STORED = {"loihi1": (8 + 10, 8), "loihi2": (8, 8), "truenorth": (8, 3)}


def ones(operator):
    """An operator whose synapses all weigh 1: its weights here are never all that exist."""
    return replace(operator, weight=np.ones_like(operator.weight)) if hasattr(operator, "weight") else operator


def paths_of(connection: Connection, shape) -> np.ndarray:
    """Synapses between each source and each target of a connection, found spike by spike: (*targets, sources)."""
    chain = tuple(ones(o) for o in connection.operators)
    found = apply_chain(chain, np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape), shape)
    return np.moveaxis(found, 0, -1)


def listens_of(netlist: Netlist, name: str, box) -> np.ndarray:
    """Which currents the neurons of a box take: their own, or those in the windows of max-pooling."""
    population = netlist[name]
    neurons = np.zeros(population.shape, bool)
    neurons[index(box)] = True
    if not isinstance(population, MaxPool):
        return neurons
    inputs = int(np.prod(population.input_shape))
    spikes = np.eye(inputs, dtype=np.int64).reshape(-1, *population.input_shape)
    reached = apply_chain((population.window,), spikes, population.input_shape)
    return (reached * neurons).reshape(inputs, -1).any(axis=1).reshape(population.input_shape)


def sources_of(netlist: Netlist, connection: Connection, box) -> np.ndarray:
    """Which sources a box of a connection's targets listens to."""
    shape = netlist[connection.source].shape
    rows = paths_of(connection, shape)[listens_of(netlist, connection.target, box)]
    return rows.any(axis=0).reshape(shape)


def axons_of(sources: np.ndarray, target: Target) -> int:
    """Positions, whatever their channels, where kernels are shared; neurons elsewhere."""
    return int((sources.any(axis=0) if target.shares_kernels and sources.ndim > 1 else sources).sum())


def weights_of(netlist: Netlist, connection: Connection, box, target: Target) -> int:
    """Synapses of a box one by one, or per channel the different taps that its neurons see, where that is less."""
    shape = netlist[connection.source].shape
    paths = paths_of(connection, shape)
    every = int(paths[listens_of(netlist, connection.target, box)].sum())
    match connection.operators:
        case [Conv() | Scale()] if target.shares_kernels:
            # Here every stride is 1: a tap is a source channel and the way from a target's position to the source's.
            found = np.argwhere(paths.reshape(*paths.shape[:-1], *shape))
            taps = {(c, i, y - v, x - u) for c, v, u, i, y, x in found.tolist()}
            return min(every, sum(low <= c < high for c, *_ in taps for low, high in [box[0]]))
    return every


def recount(netlist: Netlist, target: Target, name: str, box) -> dict[str, int]:
    """What a box takes of a core, out-axons excepted, without any of the code that places it."""
    synapse_bits, state_bytes = STORED[target.name]
    neurons = volume(box)
    if isinstance(netlist[name], MaxPool):
        neurons += int(listens_of(netlist, name, box).sum())
    synapse_bytes = -(-sum(weights_of(netlist, c, box, target) for c in netlist.inputs(name)) * synapse_bits // 8)
    return {
        "neurons": neurons,
        "synapse_bytes": synapse_bytes,
        "memory_bytes": synapse_bytes + neurons * state_bytes,
        "in_axons": sum(axons_of(sources_of(netlist, c, box), target) for c in netlist.inputs(name)),
    }


def assert_counted(netlist: Netlist, target: Target, placement):
    """Every core is filled with what its tiles take."""
    for core, used in enumerate(placement.used):
        counted = dict.fromkeys(("neurons", "synapse_bytes", "memory_bytes", "in_axons"), 0)
        for tile in placement.tiles:
            if tile.core == core:
                for resource, amount in recount(netlist, target, tile.population, tile.box).items():
                    counted[resource] += amount
        assert {resource: used[resource] for resource in counted} == counted


def assert_within(target: Target, placement):
    """No core, chip or target holds more than it can; no core is empty."""
    limits = core_limits(target)
    assert placement.limits == (limits,) * placement.cores
    assert {t.core for t in placement.tiles} == set(range(placement.cores))
    for used in placement.used:
        assert used.keys() == set(RESOURCES)
        for resource, limit in limits.items():
            assert limit is None or used[resource] <= limit, resource
    if target.cores is not None:
        assert placement.cores <= target.cores
    for chip in set(placement.chips):
        assert placement.chips.count(chip) <= target.cores_per_chip
    assert target.chips is None or placement.chip_count <= target.chips


def assert_covered(netlist: Netlist, placement):
    for population in netlist.populations[1:]:
        seen = np.zeros(population.shape, int)
        for tile in placement.tiles:
            if tile.population == population.name:
                seen[index(tile.box)] += 1
        assert np.all(seen == 1), population.name


def placed_or_refused(netlist, target):
    try:
        return place(netlist, target)
    except CapacityError as error:
        return error


def test_every_limit_holds_and_every_neuron_is_placed_once_or_the_reason_is_named():
    seen = {"placed": 0, "refused": 0}

    @settings(max_examples=60, derandomize=True, database=None)
    @given(small_networks(), small_targets())
    def look(netlist, target):
        found = placed_or_refused(netlist, target)
        if isinstance(found, CapacityError):
            seen["refused"] += 1
            assert found.used > found.limit
            assert found.resource in str(found)
            return
        seen["placed"] += 1
        assert_counted(netlist, target, found)
        assert_within(target, found)
        assert_covered(netlist, found)

    look()
    assert min(seen.values()) >= 10, seen


@settings(max_examples=15)
@given(small_networks())
def test_out_axons_and_traffic_agree_with_a_count_by_hand(netlist):
    """One axon per (position, listening box); one spike per (neuron, listening box)."""
    target = replace(load_target("loihi1"), neurons_per_core=40)
    placement = place(netlist, target)
    axons = [0] * placement.cores
    spikes = dict.fromkeys(("from_host", "within_cores", "between_cores", "between_chips"), 0.0)
    # Who listens to a box listens once, however many connections lead there.
    listeners = {}
    for sink in placement.tiles:
        for connection in netlist.inputs(sink.population):
            listeners.setdefault((connection.source, sink), []).append(sources_of(netlist, connection, sink.box))
    whole_input = [(netlist.input.name, whole(netlist.input.shape), HOST)]
    for name, box, core in [*whole_input, *((t.population, t.box, t.core) for t in placement.tiles)]:
        own = np.zeros(netlist[name].shape, bool)
        own[index(box)] = True
        for (source, sink), connections in listeners.items():
            for heard in connections if source == name else ():
                if core != HOST:
                    axons[core] += axons_of(heard & own, target)
                far = (
                    "from_host" if core == HOST
                    else "within_cores" if core == sink.core
                    else "between_cores" if placement.chips[core] == placement.chips[sink.core]
                    else "between_chips"
                )  # fmt: skip
                spikes[far] += int((heard & own).sum())
    assert [u["out_axons"] for u in placement.used] == axons
    assert placement.traffic.__dict__ == spikes


def test_measured_spikes_weigh_the_traffic(small_resnet):
    silent = {p.name: np.zeros(p.shape) for p in small_resnet.populations if p.emits}
    assert set(place(small_resnet, load_target("loihi1"), silent).traffic.__dict__.values()) == {0.0}
    with pytest.raises(Exception, match="traffic has shape"):
        place(small_resnet, load_target("loihi1"), {"a": np.zeros(3)})


def test_a_convolution_shares_its_kernel_and_a_dense_layer_does_not(resnet20):
    netlist, target = resnet20(), load_target("loihi2")
    conv = [footprint(netlist, target, "s0b0a", whole((16, 32, 32)), shared=s)["synapse_bytes"] for s in (True, False)]
    assert conv == [16 * 16 * 9, 16 * 16 * (3 * 32 - 2) ** 2]
    dense = [footprint(netlist, target, "readout", ((0, 10),), shared=s)["synapse_bytes"] for s in (True, False)]
    assert dense == [64 * 64 * 10] * 2


def shared_bytes(shape, *operators) -> int:
    """Bytes of 8-bit weights that a core of Loihi 2 stores for the whole target of a connection."""
    out = chain_shapes(operators, shape)[-1]
    readout = Readout("r", out, np.zeros(out[0], int), np.ones(out[0]))
    source = Input("input", shape, 8, True, 0.1, np.zeros(shape[0]), np.ones(shape[0]))
    netlist = Netlist((source, readout), (Connection("input", "r", operators),), 2)
    return footprint(netlist, load_target("loihi2"), "r", whole(out), shared=True)["synapse_bytes"]


UPSAMPLE = Resample((np.repeat(np.eye(5, dtype=int), 2, 0),) * 2)


def conv3x3(inputs, groups=1):
    return Conv(np.ones((4, inputs // groups, 3, 3), int), (1, 1), ((1, 1), (1, 1)), (1, 1), groups)


@pytest.mark.parametrize(
    ("shape", "operators", "weights"),
    [
        ((3, 3, 3), (conv3x3(3),), 4 * 3 * 9),
        ((2, 9, 9), (conv3x3(2, groups=2),), 4 * 9),
        ((3, 1, 1), (conv3x3(3),), 4 * 3),
        ((3, 6, 6), (SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), conv3x3(3)), 4 * 3 * 36),
        ((2, 5, 5), (Pad(((1, 1), (0, 0), (0, 0))), Scale(np.ones(4, int))), 2),
        # Two groups of two channels, of which the pad is one each: the kernels hear one channel.
        ((2, 5, 5), (Pad(((1, 1), (0, 0), (0, 0))), conv3x3(4, groups=2)), 4 * 9),
        # A position sees two of three taps at most, and next positions other ones.
        ((2, 6, 6), (ConvTranspose(np.ones((2, 4, 3, 3), int), (2, 2), ((1, 0), (1, 0))),), 4 * 2 * 9),
        ((2, 5, 5), (UPSAMPLE, conv3x3(2)), 4 * 2 * 36),
    ],
)
def test_a_shared_kernel_is_stored_once(shape, operators, weights):
    assert shared_bytes(shape, *operators) == weights


def test_a_kernel_larger_than_its_map_is_stored_whole():
    """The four positions together see all of it."""
    assert shared_bytes((3, 2, 2), conv3x3(3)) == 4 * 3 * 9
    pool = SumPool((2, 2), (2, 2), ((0, 0), (0, 0)))
    assert shared_bytes((3, 4, 4), pool, conv3x3(3)) == 4 * 3 * 36


@given(st.integers(1, 300))
def test_every_number_of_parts_of_an_axis_is_tried(n):
    """One block for each number of parts that blocks of any size make."""
    assert [-(-n // block) for block in _blocks(n)] == sorted({-(-n // block) for block in range(1, n + 1)})


@pytest.mark.parametrize("make", ["resnet20", "vgg16"])
def test_real_shapes_place_on_kapoho_point(make, request):
    netlist, target = request.getfixturevalue(make)(), load_target("kapoho_point")
    placement = place(netlist, target)
    assert_within(target, placement)
    assert_covered(netlist, placement)
    assert (placement.cores, placement.chip_count) == {"resnet20": (24, 1), "vgg16": (168, 2)}[make]


def test_a_partition_over_chips_is_no_worse_than_filling_them_in_order(vgg16):
    netlist, target = vgg16(phi=1), load_target("nahuku")
    placement = place(netlist, target)
    assert placement.chip_count > 1
    in_order = tuple(core // target.cores_per_chip for core in range(placement.cores))
    core_chip = dict(enumerate(in_order))
    crossing = 0.0
    for source, sink in itertools.product(placement.tiles, placement.tiles):
        for connection in netlist.inputs(sink.population):
            if connection.source == source.population and core_chip[source.core] != core_chip[sink.core]:
                receptive = receptive_box(connection.operators, netlist[source.population].shape, sink.box)
                common = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(source.box, receptive, strict=True)]
                crossing += max(0, np.prod([max(0, b - a) for a, b in common]))
    assert placement.traffic.between_chips <= crossing


@pytest.mark.parametrize(
    ("limit", "resource"),
    [
        ({"synapse_bytes_per_core": 100}, "synapse_bytes"),
        ({"memory_bytes_per_core": 100}, "memory_bytes"),
        ({"in_axons_per_core": 8}, "in_axons"),
        ({"out_axons_per_core": 1, "neurons_per_core": 1}, "out_axons"),
        ({"chips": 1, "cores_per_chip": 3, "neurons_per_core": 20}, "cores"),
    ],
)
def test_a_network_too_large_by_one_resource_is_refused_naming_it(small_resnet, limit, resource):
    with pytest.raises(CapacityError, match=resource) as caught:
        place(small_resnet, replace(load_target("loihi1"), **limit))
    assert caught.value.resource == resource
    assert caught.value.fix


def test_nothing_is_placed_where_the_cores_are_not_known(small_resnet):
    with pytest.raises(UnsupportedError, match="no source describes the cores"):
        place(small_resnet, load_target("akida1"))


def test_results_as_json_table_and_picture(small_resnet, tmp_path):
    import json

    from rich.console import Console

    placement = place(small_resnet, load_target("kapoho_bay"))
    told = json.loads(json.dumps(placement.to_json(), allow_nan=False))
    assert told["netlist_hash"] == small_resnet.content_hash
    assert told["utilization"]["chips"] == [1, 2]
    assert len(told["cores"]) == placement.cores
    console = Console(record=True, width=120)
    console.print(placement)
    assert "Kapoho Bay" in console.export_text()
    draw(placement, tmp_path / "cores.png")
    draw(placement, tmp_path / "cores.svg")
    assert (tmp_path / "cores.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["cores.png", "cores.svg"]


def layered(channels: tuple[int, ...], side: int, pools: tuple[int, ...]) -> Netlist:
    """Convolutions in a row with pooling before each, and a dense readout."""
    populations = [Input("input", (2, side, side), 1, False, 1.0, np.zeros(2), np.ones(2), "frames")]
    connections = []
    for n, (c, pool) in enumerate(zip(channels, pools, strict=True)):
        source = populations[-1]
        operators = (
            SumPool((pool, pool), (pool, pool), ((0, 0), (0, 0))),
            Conv(np.ones((c, source.shape[0], 3, 3), int), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        )
        shape = operators[1].output_shape(operators[0].output_shape(source.shape))
        populations.append(
            AdaFire(f"layer{n}", shape, 1, np.full(c, 64), np.zeros(c, int), np.zeros(c, int), np.ones(c))
        )
        connections.append(Connection(source.name, f"layer{n}", operators))
    flat = int(np.prod(populations[-1].shape))
    connections.append(
        Connection(populations[-1].name, "readout", (Reshape((flat,)), Linear(np.ones((10, flat), int))))
    )
    populations.append(Readout("readout", (10,), np.zeros(10, int), np.ones(10)))
    return Netlist(tuple(populations), tuple(connections), 4)


def test_layers_take_cores_of_their_own_where_cores_hold_layers():
    netlist, target = layered((8, 16, 8), 64, (1, 2, 4)), load_target("speck")
    placement = place(netlist, target)
    cores = {t.population: t.core for t in placement.tiles}
    assert len(set(cores.values())) == 4
    # 8 x 64 x 64 neurons fit cores 0 to 4 only; words as sinabs counts them.
    assert cores["layer0"] <= 4
    used = placement.used[cores["layer1"]]
    assert used == {"kernels": 1, "kernel_words": 8 * 2 ** (4 + 4), "neuron_words": 16 * 32 * 32, "bias_words": 0}
    assert placement.used[cores["readout"]]["kernel_words"] == 8 * 2 ** (6 + 4)
    for used, limit in zip(placement.used, placement.limits, strict=True):
        assert all(used[r] <= limit[r] for r in used)
    assert_covered(netlist, placement)


@pytest.mark.parametrize(
    ("channels", "side", "pools", "resource"),
    [
        ((32, 4), 64, (1, 2), "neuron_words"),
        ((4, 256, 256), 16, (1, 4, 1), "kernel_words"),
        ((8,) * 9, 8, (1,) * 9, "cores"),
        ((16, 16, 16, 16, 2), 64, (1, 1, 1, 1, 8), "large cores"),
    ],
)
def test_layers_that_do_not_fit_are_refused_naming_the_resource(channels, side, pools, resource):
    with pytest.raises(CapacityError) as caught:
        place(layered(channels, side, pools), load_target("speck"))
    assert caught.value.resource == resource
    assert caught.value.used > caught.value.limit


def test_a_core_that_holds_a_layer_has_one_kernel(small_resnet):
    with pytest.raises(CapacityError, match="b: the layer takes 2 kernels, a core of SynSense Speck"):
        place(small_resnet, load_target("speck"))


def test_a_capacity_error_survives_being_sent_between_processes():
    import pickle

    error = CapacityError("conv", "kernels", 2, 1, "a chip", "use one", whole=True)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (str(again), again.resource, again.whole) == (str(error), "kernels", True)


def test_a_neuron_of_digits_holds_its_number_too():
    chip, digits = load_target("loihi2"), radix_netlist("residual", digits=5)
    assert state_bits(digits, chip) == state_bits(digits.numbers, chip) + 5
    assert len(place(digits, chip).tiles) == len(place(digits.numbers, chip).tiles)
