"""The fast simulator against the slow one; dyadic weights, so every comparison is exact."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snn_reference import branching_network, dyadic, random_network, readout, reference, spiking_conv
from torch import Tensor

from spikedet.snn import IMAGE, Node, Simulation, SpikingConv, SpikingNetwork, simulate
from spikedet.snn.operations import AvgPool, Concat
from spikedet.snn.simulator import Readings


def assert_same(got: list[Readings], expected: list[Readings]) -> None:
    assert [r.t for r in got] == [r.t for r in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.maps.keys() == other.maps.keys()
        assert all(torch.equal(one.maps[name], other.maps[name]) for name in one.maps)
        assert torch.equal(one.spikes, other.spikes)


class Recorder:
    """Collects the spikes of every layer while networks run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces: dict[int, list[Tensor]] = {}
        plain = SpikingConv.run

        def run(layer: SpikingConv, v: Tensor, state: object) -> Tensor:
            spikes = plain(layer, v, state)  # type: ignore[arg-type]
            self.pieces.setdefault(id(layer), []).append(spikes.clone())  # the backend scales them in place
            return spikes

        monkeypatch.setattr(SpikingConv, "run", run)

    def take(self, network: SpikingNetwork) -> dict[str, Tensor]:
        """Spikes by layer since the last call."""
        taken = {node.name: torch.cat(self.pieces[id(layer)]) for node, layer in network.spiking()}
        self.pieces.clear()
        return taken


@pytest.mark.slow
@settings(max_examples=60)
@given(seed=st.integers(0, 2**20), T=st.integers(1, 9), delays=st.booleans(), signed=st.booleans())
def test_any_chunk_equals_the_slow_simulator(seed: int, T: int, delays: bool, signed: bool) -> None:
    network, images = random_network(seed, delays=delays, signed=signed)
    readouts = sorted({1, (T + 1) // 2, T})
    slow = reference(network, images, T)
    names = network.box_readouts + network.class_readouts
    with pytest.MonkeyPatch.context() as monkeypatch:
        recorder = Recorder(monkeypatch)
        for chunk in {1, 3, T, 1000}:
            readings = list(simulate(network, images, readouts, chunk=chunk))
            assert [r.t for r in readings] == readouts
            for reading in readings:
                for name in names:
                    assert torch.equal(reading.maps[name], slow.reading(name, reading.t)), (chunk, reading.t, name)
                assert torch.equal(reading.spikes, slow.count(reading.t)), (chunk, reading.t)
            for name, spikes in recorder.take(network).items():
                assert torch.equal(spikes, slow.spikes[name][: len(spikes)]), (chunk, name)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**20), T=st.integers(1, 7), delays=st.booleans())
def test_maxima_slices_and_padding_equal_the_slow_simulators(seed: int, T: int, delays: bool) -> None:
    network, images = random_network(seed, delays=delays, signed=True, more=("max", "slice", "pad"))
    slow = reference(network, images, T)
    for chunk in {1, 3, T}:
        for reading in simulate(network, images, {1, T}, chunk=chunk):
            for name in network.box_readouts + network.class_readouts:
                assert torch.equal(reading.maps[name], slow.reading(name, reading.t)), (chunk, reading.t, name)
            assert torch.equal(reading.spikes, slow.count(reading.t)), (chunk, reading.t)


@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("delays", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 0, 1), (2, 0, 1, 0)])
def test_branches_of_different_depth(delays: tuple[int, int, int, int], neuron: str) -> None:
    torch.manual_seed(1)
    network, images = branching_network(delays, neuron), dyadic(2, 3, 8, 6, low=0)
    slow = reference(network, images, 6)
    for chunk in (1, 2, 5, 1000):
        for reading in simulate(network, images, [2, 6], chunk=chunk):
            for name in ("box", "class"):
                assert torch.equal(reading.maps[name], slow.reading(name, reading.t))
            assert torch.equal(reading.spikes, slow.count(reading.t))


def test_the_random_networks_are_worth_running() -> None:
    """Layers fire and stay silent, take spikes back, and branches begin at different steps."""
    silent, active, negative, unaligned = 0, 0, 0, 0
    for seed in range(40):
        network, images = random_network(seed, delays=True, signed=True)
        slow = reference(network, images, 6)
        for spikes in slow.spikes.values():
            share = spikes.abs().mean().item()
            silent, active, negative = (
                silent + (share == 0),
                active + (0.02 < share < 0.98),
                negative + (spikes < 0).any().item(),
            )
        opens = {n.name: slow.begins[n.name] + getattr(n.module, "delay", 0) for n in network.nodes} | {IMAGE: 0}
        unaligned += any(len({opens[i] for i in n.inputs}) > 1 for n in network.nodes)
    assert silent > 0
    assert active > 40
    assert negative > 5
    assert unaligned > 5


def test_several_readouts_equal_separate_runs() -> None:
    torch.manual_seed(0)
    network, images = branching_network((1, 0, 2, 0), "signed"), dyadic(2, 3, 8, 6, low=0)
    together = list(simulate(network, images, [3, 5, 8], T=8))
    alone = [reading for t in (3, 5, 8) for reading in simulate(network, images, [t], T=8)]
    assert_same(together, alone)


def test_readouts_are_sorted_and_unique() -> None:
    network, images = branching_network(), dyadic(1, 3, 8, 6, low=0)
    assert [r.t for r in simulate(network, images, [4, 2, 4])] == [2, 4]


def test_without_delay_a_longer_window_changes_nothing() -> None:
    torch.manual_seed(0)
    network, images = branching_network(), dyadic(2, 3, 8, 6, low=0)
    assert_same(list(simulate(network, images, [3])), list(simulate(network, images, [3], T=20)))


def test_a_second_run_is_identical_and_the_network_keeps_no_state() -> None:
    torch.manual_seed(0)
    network, images = branching_network((1, 2, 0, 1), "signed"), dyadic(2, 3, 8, 6, low=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = list(simulate(network, images, [2, 7]))
    other = dyadic(2, 3, 8, 6, low=0)
    list(simulate(network, other, [7]))
    assert_same(list(simulate(network, images, [2, 7])), first)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert images.shape == (2, 3, 8, 6)


def test_two_simulations_may_take_turns() -> None:
    torch.manual_seed(0)
    network = branching_network((1, 0, 0, 1))
    images = [dyadic(1, 3, 8, 6, low=0), dyadic(1, 3, 8, 6, low=0)]
    expected = [list(simulate(network, images, [5])) for images in images]
    runs = [Simulation(network, images, 5, [5]) for images in images]
    found: list[list[Readings]] = [[], []]
    for _ in range(runs[0].end):
        for run, readings in zip(runs, found, strict=True):
            readings += run.advance(1)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_batch_size_changes_nothing(size: int) -> None:
    torch.manual_seed(0)
    network, images = branching_network((0, 1, 0, 0), "signed"), dyadic(4, 3, 8, 6, low=0)
    (whole,) = simulate(network, images, [4])
    parts = [next(iter(simulate(network, part, [4]))) for part in images.split(size)]
    assert torch.equal(torch.cat([p.spikes for p in parts]), whole.spikes)
    for name in ("box", "class"):
        assert torch.equal(torch.cat([p.maps[name] for p in parts]), whole.maps[name])


def test_other_image_sizes_run_on_the_same_network() -> None:
    torch.manual_seed(0)
    network = branching_network()
    for height, width in ((8, 6), (12, 10), (4, 4)):
        images = dyadic(1, 3, height, width, low=0)
        (reading,) = simulate(network, images, [3])
        assert torch.equal(reading.maps["box"], reference(network, images, 3).reading("box", 3))


def single_layer(layer: SpikingConv) -> SpikingNetwork:
    nodes = [
        Node("layer", (IMAGE,), layer),
        Node("box", ("layer",), readout(1)),
        Node("class", ("layer",), readout(1)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 4)


def one_weight(weight: float, bias: float, **how: object) -> SpikingConv:
    made = torch.full((1, 1, 1, 1), weight), torch.full((1,), bias)
    return SpikingConv(*made, torch.ones(1), stride=(1, 1), padding=(0, 0), **how)  # type: ignore[arg-type]


def test_spikes_are_counted_exactly() -> None:
    """v = 0.5 per step from u[0] = 0.5 fires at steps 1, 3, 5: 2 x 3 neurons."""
    network = single_layer(one_weight(1.0, 0.25))
    images = torch.full((2, 1, 2, 3), 0.25)
    images[1] = -9.0
    readings = list(simulate(network, images, [1, 2, 3, 4, 5]))
    assert [r.spikes.tolist() for r in readings] == [[6, 0], [6, 0], [12, 0], [12, 0], [18, 0]]


def test_a_silent_layer_reads_out_its_bias() -> None:
    network = single_layer(one_weight(1.0, -4.0))
    (reading,) = simulate(network, torch.ones(2, 1, 2, 3), [5])
    box = network.nodes[1].module
    assert not reading.spikes.any()
    assert torch.equal(reading.maps["box"], box.bias.detach().view(1, -1, 1, 1).expand(2, -1, 2, 3))


def test_one_time_step() -> None:
    torch.manual_seed(0)
    network, images = branching_network((1, 2, 0, 0)), dyadic(1, 3, 8, 6, low=0)
    slow = reference(network, images, 1)
    (reading,) = simulate(network, images, [1])
    assert torch.equal(reading.maps["box"], slow.reading("box", 1))
    assert torch.equal(reading.spikes, slow.count(1))


def test_a_readout_may_read_the_image() -> None:
    torch.manual_seed(0)
    nodes = [
        Node("pool", (IMAGE,), AvgPool(torch.nn.AvgPool2d(2))),
        Node("conv", ("pool",), spiking_conv(3, 4, delay=1)),
        Node("both", ("pool", "conv"), Concat()),
        Node("box", ("both",), readout(7)),
        Node("class", (IMAGE,), readout(3)),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 4)
    images = dyadic(2, 3, 6, 4, low=0)
    slow = reference(network, images, 4)
    for chunk in (1, 3, 1000):
        (reading,) = simulate(network, images, [4], chunk=chunk)
        assert torch.equal(reading.maps["box"], slow.reading("box", 4))
        assert torch.equal(reading.maps["class"], slow.reading("class", 4))


@pytest.mark.parametrize(
    ("readouts", "shown"), [([0], r"\[0\]"), ([2, 5], r"\[2, 5\]"), ([-1, 2], r"\[-1, 2\]"), ([], r"\[\]")]
)
def test_readouts_must_lie_in_the_window(readouts: list[int], shown: str) -> None:
    with pytest.raises(ValueError, match=rf"time steps must lie in 1\.\.T = 4, got {shown}"):
        Simulation(branching_network(), dyadic(1, 3, 8, 6), 4, readouts)


def test_a_reading_comes_as_soon_as_its_steps_are_done() -> None:
    """latency(t) global steps, not more; the output layers' windows begin 3 steps after the image."""
    network, images = branching_network((1, 0, 1, 1)), dyadic(1, 3, 8, 6, low=0)
    run = Simulation(network, images, 4, [1, 4])
    clocks = {r.t: run.clock for _ in range(run.end) for r in run.advance(1)}
    assert clocks == {1: network.latency(1), 4: network.latency(4)} == {1: 4, 4: 7}
    assert run.clock == run.end == 7
    assert run.advance(5) == []


def test_a_run_ends_with_its_last_reading() -> None:
    network, images = branching_network((1, 0, 1, 1)), dyadic(1, 3, 8, 6, low=0)
    run = Simulation(network, images, 8, [1, 3])
    assert run.end == network.latency(3) == 6
    assert [r.t for r in run.advance(100)] == [1, 3]


def held_bytes(T: int, chunk: int) -> list[int]:
    """Most bytes of spike trains held between chunks, over the first and the last third of a run."""
    torch.manual_seed(0)
    network, images = branching_network((0, 3, 0, 2)), dyadic(1, 3, 8, 6, low=0)
    run = Simulation(network, images, T, [T])
    held = []
    while run.clock < run.end:
        run.advance(chunk)
        trains = [train.values for train in run._trains.values()]
        held.append(sum(train.untyped_storage().nbytes() for train in trains))
        assert held[-1] == sum(train.nbytes for train in trains)  # no slice of something longer
    return [max(held[: len(held) // 3]), max(held[-len(held) // 3 :])]


@pytest.mark.parametrize("chunk", [1, 4])
def test_memory_grows_with_the_chunk_and_not_with_T(chunk: int) -> None:
    short, long = held_bytes(32, chunk), held_bytes(128, chunk)
    assert max(long) == max(short)
    assert max(short) > 0  # branches that begin at different steps are buffered


@pytest.mark.parametrize("chunk", [1, 3])
def test_without_delay_no_train_outlives_its_chunk(chunk: int) -> None:
    run = Simulation(branching_network(), dyadic(1, 3, 8, 6, low=0), 9, [9])
    while run.clock < run.end:
        run.advance(chunk)
        assert all(len(train.values) == 0 for train in run._trains.values())


def test_counts_never_fall_with_t() -> None:
    network, images = random_network(11, delays=True, signed=True)
    counts = [r.spikes for r in simulate(network, images, range(1, 9))]
    assert all((later >= earlier).all() for earlier, later in pairwise(counts))
