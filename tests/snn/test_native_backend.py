"""The compiled backend against the slow simulator and plain convolutions; dyadic numbers, so zero spikes may differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runs import WHOLE, Watched, assert_readings, differing_spikes, eight_bit_, supported_networks, watched_run
from snn_reference import branching_network, dyadic, neuron_step, random_network, readout, reference, spiking_conv
from torch import Tensor, nn

from spikedet.config import Mode
from spikedet.kernels import build as kernels_build
from spikedet.kernels import library as kernels
from spikedet.kernels.library import NativeUnavailable, available, library
from spikedet.snn import IMAGE, Node, Simulation, SpikingConv, SpikingNetwork, simulate
from spikedet.snn.backends.native import layers as native_layers
from spikedet.snn.backends.native.backend import CHUNK, NativeBackend
from spikedet.snn.backends.native.layers import PackedConv, quantize, row_block
from spikedet.snn.operations import Add, AvgPool, Concat, MaxPool, SpikeOp
from spikedet.snn.packing import layer_channels, pack, unpack
from spikedet.snn.simulator import Readings
from spikedet.snn.surrogate import rate

pytestmark = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

MODES: tuple[Mode, ...] = ("exact", "fast")
BY_EVENTS, DENSE = 1, 2
has_dense = available() and bool(library().spikedet_has_dense())


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True], ids=["if", "signed"])
@pytest.mark.parametrize("delays", [False, True], ids=["prompt", "delayed"])
def test_no_spike_differs_on_a_hundred_random_networks(delays: bool, signed: bool) -> None:
    """25 networks for each of 4 kinds, every layer, whatever the chunk."""
    T, compared, negative, per_neuron, late = 6, 0, 0, 0, 0
    for network, images in supported_networks(25, delays=delays, signed=signed):
        slow, backend = reference(network, images, T), Watched(network)
        for chunk in (1, 3, WHOLE):
            readings, fired = watched_run(backend, images, [1, 4, T], chunk)
            assert differing_spikes(fired, slow) == 0
            assert [r.t for r in readings] == [1, 4, T]
            assert_readings(readings, slow)
        compared += 1
        negative += any((spikes < 0).any() for spikes in slow.spikes.values())
        per_neuron += any(layer.u0.ndim == 3 for _, layer in network.spiking())
        late += network.latency(T) > T
    assert compared == 25
    assert per_neuron > 3
    assert (negative > 3, late > 3) == (signed, delays)


@pytest.mark.parametrize("delays", [False, True], ids=["prompt", "delayed"])
def test_maxima_slices_and_padding_too(delays: bool) -> None:
    """The same on networks that also have these; at least one maximum is taken in pieces of time."""
    pooled = 0
    for network, images in supported_networks(15, delays=delays, signed=True, more=("max", "slice", "pad")):
        slow, backend = reference(network, images, 5), Watched(network)
        for chunk in (1, 2, WHOLE):
            readings, fired = watched_run(backend, images, [2, 5], chunk)
            assert differing_spikes(fired, slow) == 0
            assert_readings(readings, slow)
        pooled += any(isinstance(node.module, MaxPool) for node in network.nodes)
    assert pooled > 3


@pytest.mark.parametrize(("delays", "way"), [(False, BY_EVENTS), (True, DENSE)], ids=["events", "dense"])
def test_fast_mode_is_exact_where_8_bits_are_enough(delays: bool, way: int) -> None:
    """Networks whose weights times the worth of a spike are multiples of 1 / 64 up to 127 / 64."""
    compared = 0
    for network, images in supported_networks(25, delays=delays, signed=True):
        if not eight_bit_(network):
            continue
        slow, backend = reference(network, images, 5), Watched(network, "fast")
        for packed in backend.layers.values():
            packed.way = way
        for chunk in (1, 3, WHOLE):
            readings, fired = watched_run(backend, images, [2, 5], chunk)
            assert differing_spikes(fired, slow) == 0
            assert_readings(readings, slow)
        compared += 1
    assert compared >= 12


@settings(max_examples=25)
@given(seed=st.integers(0, 2**20), mode=st.sampled_from(MODES), chunk=st.integers(1, 4))
def test_the_chunk_changes_no_bit_of_any_number(seed: int, mode: Mode, chunk: int) -> None:
    """Weights as training leaves them; sums are rounded, but always in the same order."""
    torch.manual_seed(seed)
    network = branching_network((0, 1, 0, 2), "signed")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images, backend = torch.rand(2, 3, 8, 6), Watched(network, mode)
    (expected,), spikes = watched_run(backend, images, [7], WHOLE)
    (found,), others = watched_run(backend, images, [7], chunk)
    assert all(torch.equal(spikes[name], others[name]) for name in spikes)
    assert_identical(found, expected)


def assert_identical(one: Readings, other: Readings) -> None:
    assert one.maps.keys() == other.maps.keys()
    assert all(torch.equal(one.maps[name], other.maps[name]) for name in one.maps)
    assert torch.equal(one.spikes, other.spikes)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_run_is_identical_and_two_may_take_turns(mode: Mode) -> None:
    torch.manual_seed(0)
    network = branching_network((1, 2, 0, 1), "signed")
    backend, images = NativeBackend(network, mode), [torch.rand(1, 3, 8, 6), torch.rand(1, 3, 8, 6)]
    expected = [next(iter(simulate(network, images, [5], backend=backend))) for images in images]
    again = [next(iter(simulate(network, images, [5], backend=backend))) for images in images]
    runs = [Simulation(network, images, 5, [5], backend) for images in images]
    found: list[list[Readings]] = [[], []]
    while runs[0].clock < runs[0].end:
        for run, readings in zip(runs, found, strict=True):
            readings += run.advance(1)
    for one, two, (three,) in zip(expected, again, found, strict=True):
        assert_identical(one, two)
        assert_identical(one, three)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_says_what_its_images_say(size: int, mode: Mode) -> None:
    torch.manual_seed(0)
    network, images = branching_network((0, 1, 0, 0), "signed"), torch.rand(4, 3, 8, 6)
    backend = NativeBackend(network, mode)
    (together,) = simulate(network, images, [4], backend=backend)
    parts = [next(iter(simulate(network, part, [4], backend=backend))) for part in images.split(size)]
    assert torch.equal(torch.cat([p.spikes for p in parts]), together.spikes)
    for name in ("box", "class"):
        # A constant image and a read-out are convolved by torch, whose order of summing may follow the batch: 1e-6.
        found = torch.cat([p.maps[name] for p in parts])
        torch.testing.assert_close(found, together.maps[name], rtol=0, atol=1e-6)


def test_other_image_sizes_run_on_the_same_backend() -> None:
    torch.manual_seed(0)
    network = branching_network()
    backend = Watched(network)
    for height, width in ((8, 6), (12, 10), (4, 4)):
        images = dyadic(1, 3, height, width, low=0)
        assert differing_spikes(watched_run(backend, images, [3], WHOLE)[1], reference(network, images, 3)) == 0


@pytest.mark.parametrize("mode", MODES)
def test_silence(mode: Mode) -> None:
    """No layer fires: output layers give their bias, and nothing is counted."""
    network = branching_network()
    with torch.no_grad():
        for _, layer in network.spiking():
            layer.bias.fill_(-9)
    (reading,) = simulate(network, torch.zeros(2, 3, 8, 6), [5], backend=NativeBackend(network, mode))
    assert reading.spikes.tolist() == [0, 0]
    for node in network.nodes[-2:]:
        logits = reading.maps[node.name]
        assert torch.equal(logits, node.module.bias.detach().view(1, -1, 1, 1).expand_as(logits))  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_one_time_step(neuron: str) -> None:
    torch.manual_seed(0)
    network, images = branching_network((1, 2, 0, 0), neuron), dyadic(1, 3, 8, 6, low=0)
    slow = reference(network, images, 1)
    readings, fired = watched_run(Watched(network), images, [1], WHOLE)
    assert differing_spikes(fired, slow) == 0
    assert_readings(readings, slow)


def test_a_run_leaves_the_image_and_the_network_as_they_were() -> None:
    network, images = random_network(3, delays=True, signed=True)
    kept, image = {name: value.clone() for name, value in network.tensors().items()}, images.clone()
    list(simulate(network, images, [4], backend=NativeBackend(network)))
    assert torch.equal(images, image)
    assert all(torch.equal(value, kept[name]) for name, value in network.tensors().items())


@pytest.mark.parametrize("mode", MODES)
def test_weights_between_spikes_are_read_when_the_backend_is_made(mode: Mode) -> None:
    torch.manual_seed(0)
    network, images = branching_network(), dyadic(1, 3, 8, 6, low=0)
    backend = NativeBackend(network, mode)
    (before,) = simulate(network, images, [4], backend=backend)
    with torch.no_grad():
        for node, layer in network.spiking():
            if node.inputs != (IMAGE,):
                layer.weight.mul_(-2)
                layer.bias.add_(1)
    (kept,) = simulate(network, images, [4], backend=backend)
    (moved,) = simulate(network, images, [4], backend=NativeBackend(network, mode))
    assert_identical(kept, before)
    assert not torch.equal(moved.spikes, before.spikes)


@pytest.mark.parametrize(("batch", "chunk"), [(1, CHUNK), (2, CHUNK // 2), (5, 4), (100, 4)])
def test_steps_times_images_are_simulated_together(batch: int, chunk: int) -> None:
    assert NativeBackend(branching_network()).chunk(batch) == chunk


# --- what has no form on bits ---------------------------------------------------------------------------------------


def joined(module: SpikeOp, inputs: tuple[str, ...], channels: int) -> SpikingNetwork:
    """conv and small see the image's average; ``join`` joins what ``inputs`` name."""
    nodes = [
        Node("small", (IMAGE,), AvgPool(nn.AvgPool2d(2))),
        Node("conv", ("small",), spiking_conv(3, 3)),
        Node("join", inputs, module),
        Node("box", ("join",), readout(channels)),
        Node("class", ("conv",), readout(3)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 4)


@pytest.mark.parametrize(
    ("module", "inputs", "channels", "reason"),
    [
        (Concat(), ("conv", "small"), 6, "join joins spikes and a constant"),
        (Add(), ("small", "conv"), 3, "join joins spikes and a constant"),
        (Concat(), ("small",), 3, "box reads a constant"),
        (AvgPool(nn.AvgPool2d(2, ceil_mode=True)), ("conv",), 3, "join: average pooling whose divisor changes"),
    ],
)
def test_networks_that_are_refused(module: SpikeOp, inputs: tuple[str, ...], channels: int, reason: str) -> None:
    with pytest.raises(NativeUnavailable, match=reason):
        NativeBackend(joined(module, inputs, channels))


def test_weights_elsewhere_are_refused() -> None:
    NativeBackend(branching_network())
    with pytest.raises(NativeUnavailable, match="the network's weights are not on the CPU"):
        NativeBackend(branching_network().to("meta"))


def test_a_constant_may_be_pooled_before_the_first_layer() -> None:
    torch.manual_seed(0)
    network, images = joined(Concat(), ("conv", "conv"), 6), dyadic(2, 3, 8, 6, low=0)
    slow = reference(network, images, 4)
    readings, fired = watched_run(Watched(network), images, [4], 3)
    assert differing_spikes(fired, slow) == 0
    assert_readings(readings, slow)


# --- one layer ------------------------------------------------------------------------------------------------------


def conv(
    count: tuple[int, int],
    kernel: tuple[int, int],
    theta_in: Tensor,
    *,
    groups: int = 1,
    exact_in_8_bits: bool = True,
    **how: Any,
) -> SpikingConv:
    """A layer of ``count`` = (input, output) channels with potentials around its thresholds.

    Weights times the worth of a spike are multiples of a power of two, the largest one 127 of them: 8 bits hold them.
    """
    cin, cout = count
    width = cin // groups
    levels = torch.randint(-127, 128, (cout, width, *kernel)).float()
    levels[:, -1, -1, -1] = 127
    unit = 2.0 ** -round(math.log2(64 * math.sqrt(width * kernel[0] * kernel[1]) / 2))
    worth = torch.cat([part.expand(cout // groups, width) for part in theta_in.view(groups, 1, width)])
    weight = levels * unit / worth[..., None, None]
    if not exact_in_8_bits:
        weight = weight + 0.1 * weight.abs().max() * torch.randn_like(weight)
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (cout,))]
    return SpikingConv(weight, dyadic(cout, low=-2, high=4), theta, groups=groups, **how)


def input_train(T: int, shape: tuple[int, ...], signed: bool) -> tuple[Tensor, Tensor]:
    """Random spikes ``[T, N, C, H, W]`` in activation units, and thetas ``[C]`` of the layer that sends them."""
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (shape[1],))]
    spikes = (torch.rand(T, *shape) < 0.4).float()
    if signed:
        spikes *= torch.randint(0, 2, spikes.shape) * 2 - 1
    return spikes * theta.view(-1, 1, 1), theta


@torch.no_grad()
def loop(layer: SpikingConv, train: Tensor) -> Tensor:
    """``F.conv2d`` and the neurons, step by step."""
    states: dict[str, tuple[Tensor, Tensor]] = {}
    inputs = [[x] for x in train] + [[]] * layer.delay
    steps = (neuron_step(layer, x, step, states, "layer") for step, x in enumerate(inputs))
    return torch.stack([spikes for spikes in steps if spikes is not None])


def packed_run(
    layer: SpikingConv, train: Tensor, theta: Tensor, mode: Mode, *, signed: bool = False, way: int = 0, cut: int = 0
) -> tuple[Tensor, Tensor]:
    """Spikes and last potentials of the compiled layer; ``cut`` simulates that many steps before the others."""
    packed = PackedConv(layer, layer_channels(theta, signed), mode)
    packed.way = way
    bits = pack((train / theta.view(-1, 1, 1)), negative=signed)
    state = packed.state(train.shape[1], (train.shape[3], train.shape[4]))
    pieces = [packed.run(state, bits[:cut], cut, 0)] if cut else []
    pieces.append(packed.run(state, bits[cut:], len(bits) - cut, layer.delay))
    ones = torch.ones(len(layer.theta))
    return unpack(torch.cat(pieces), ones, negative=layer.negative), state.u


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """Channels from 1 to 130, kernels of 1, 3 and 5, everything else of a convolution, and a map it fits on."""
    kernel = (draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 2, 3, 5])))
    dilation = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 1)]))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 3)))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    smallest = [max(dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i], 1) for i in range(2)]
    return {
        "count": tuple(groups * draw(st.integers(1, 130 // groups)) for _ in range(2)),
        "kernel": kernel,
        "map_hw": tuple(side + draw(st.integers(0, 6)) for side in smallest),
        "groups": groups,
        "dilation": dilation,
        "padding": padding,
        "stride": draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 3)])),
        "neuron": draw(st.sampled_from(["if", "signed"])),
        "delay": draw(st.integers(0, 2)),
    }


@pytest.mark.slow
@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**20),
    how=geometries(),
    T=st.integers(1, 4),
    signed_input=st.booleans(),
    way=st.sampled_from([BY_EVENTS, DENSE]),
)
def test_any_convolution(seed: int, how: dict[str, Any], T: int, signed_input: bool, way: int) -> None:
    """Both modes and both ways are a convolution and a loop over neurons, to the spike."""
    torch.manual_seed(seed)
    map_hw = how.pop("map_hw")
    train, theta = input_train(T, (2, how["count"][0], *map_hw), signed_input)
    layer = conv(how.pop("count"), how.pop("kernel"), theta, **how)
    expected = loop(layer, train)
    cut = seed % T
    for mode in MODES:
        found, _ = packed_run(layer, train, theta, mode, signed=signed_input, way=way, cut=cut)
        assert torch.equal(found, expected), mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("count", [(16, 16), (64, 64), (130, 128), (256, 192)])
def test_wide_layers_where_the_window_is_cut_into_rows_and_taps(count: tuple[int, int], size: int, mode: Mode) -> None:
    torch.manual_seed(0)
    train, theta = input_train(3, (1, count[0], 5, 6), False)
    layer = conv(count, (size, size), theta, stride=(1, 1), padding=(size // 2, size // 2))
    expected = loop(layer, train)
    assert 0.1 < expected.mean() < 0.8
    for way in (BY_EVENTS, DENSE):
        assert torch.equal(packed_run(layer, train, theta, mode, way=way)[0], expected)


@pytest.mark.skipif(not has_dense, reason="the processor has no 8-bit dot product")
@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("count", [(3, 5), (20, 30), (64, 130)])
def test_both_ways_of_fast_mode_give_the_same_bits_for_any_numbers(count: tuple[int, int], neuron: str) -> None:
    """Integer sums are exact, so spikes and potentials are equal although the weights are not dyadic."""
    torch.manual_seed(0)
    train, theta = input_train(5, (2, count[0], 6, 7), True)
    how: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "neuron": neuron, "delay": 1, "exact_in_8_bits": False}
    layer = conv(count, (3, 3), theta, **how)
    with torch.no_grad():
        layer.bias.add_(torch.randn_like(layer.bias) / 3)
        layer.u0.add_(torch.randn_like(layer.u0) / 3)
        layer.theta.mul_(1.1)
    by_events, dense = (
        packed_run(layer, train, theta, "fast", signed=True, way=way, cut=2) for way in (BY_EVENTS, DENSE)
    )
    assert torch.equal(by_events[0], dense[0])
    assert torch.equal(by_events[1], dense[1])
    assert 0.05 < by_events[0].abs().mean() < 0.95


@pytest.mark.parametrize(
    ("dilation", "way", "taken"), [(1, BY_EVENTS, BY_EVENTS), (1, DENSE, DENSE), (2, DENSE, BY_EVENTS)]
)
def test_the_way_that_was_asked_for_is_taken(
    dilation: int, way: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense kernel knows no dilation, and not every processor has it."""
    kernels, ways = library(), []
    plain = kernels.spikedet_convolve_int8

    def watched(*arguments: Any) -> int:
        ways.append(plain(*arguments))
        return ways[-1]

    monkeypatch.setattr(kernels, "spikedet_convolve_int8", watched)
    torch.manual_seed(0)
    train, theta = input_train(2, (1, 4, 7, 7), False)
    layer = conv((4, 4), (3, 3), theta, stride=(1, 1), padding=(2, 2), dilation=(dilation, dilation))
    packed_run(layer, train, theta, "fast", way=way)
    assert ways == [taken if has_dense else BY_EVENTS]


@pytest.mark.parametrize("way", [BY_EVENTS, DENSE], ids=["events", "dense"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_full_window_of_largest_weights_does_not_overflow(sign: int, way: int) -> None:
    """70 channels x 25 places that all fire: sums of 1750 times 127, far beyond 16 bits; potentials to the bit."""
    layer = SpikingConv(
        torch.full((40, 70, 5, 5), sign * 127.0), dyadic(40), torch.full((40,), 2.0**17), stride=(1, 1), padding=(2, 2)
    )
    train, theta = torch.ones(3, 1, 70, 7, 6), torch.ones(70)
    spikes, potentials = packed_run(layer, train, theta, "fast", way=way)
    expected = loop(layer, train)
    v = layer.potential(train).detach()
    assert v[0, 0, :, 3, 3].abs().max() > 1750 * 127 - 2
    assert torch.equal(spikes, expected)
    u = 2.0**16 + v.sum(0) - 2.0**17 * expected.sum(0)
    assert torch.equal(potentials[..., :40].permute(0, 3, 1, 2), u)
    assert expected.any() == (sign > 0)


@pytest.mark.parametrize("neuron", ["if", "signed", "asymmetric"])
@pytest.mark.parametrize("delay", [0, 2, 9])
@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 20])
def test_a_call_in_parts_changes_no_bit(at_once: int, delay: int, neuron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 steps of 3 images, of which so many maps are listed at once; numbers whose sums are rounded."""
    torch.manual_seed(0)
    train, theta = input_train(5, (3, 20, 6, 7), True)
    slope = 0.5 if neuron == "asymmetric" else 0.0
    how: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "neuron": neuron, "slope": slope, "delay": delay}
    layer = conv((20, 30), (3, 3), theta, exact_in_8_bits=False, **how)
    for mode, way in (("exact", 0), ("fast", BY_EVENTS), ("fast", DENSE)):
        whole_call = packed_run(layer, train, theta, mode, signed=True, way=way, cut=1)  # type: ignore[arg-type]
        with monkeypatch.context() as patched:
            patched.setattr(native_layers, "LISTED", at_once * 6 * 7 * 64)
            parts = packed_run(layer, train, theta, mode, signed=True, way=way, cut=1)  # type: ignore[arg-type]
        assert all(torch.equal(one, other) for one, other in zip(parts, whole_call, strict=True))
        assert whole_call[0].any()


@pytest.mark.parametrize("name", ["bias", "theta"])
def test_fewer_numbers_than_filters_are_refused(name: str) -> None:
    """The kernels would read beyond them."""
    layer = conv((4, 8), (3, 3), torch.ones(4), stride=(1, 1), padding=(1, 1))
    setattr(layer, name, nn.Parameter(torch.ones(3)) if name == "bias" else torch.ones(3))
    with pytest.raises(ValueError, match="as many biases and thresholds as filters expected, 8"):
        PackedConv(layer, layer_channels(torch.ones(4), False), "exact")


def test_however_wide_a_block_of_rows_the_spikes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    train, theta = input_train(3, (2, 9, 5, 6), True)
    layer = conv((9, 384), (3, 3), theta, stride=(1, 1), padding=(1, 1), neuron="signed")
    expected = loop(layer, train)
    row_column = {"exact": 32 * 9 * 4, "fast": 32 * 9}  # bytes of one output channel: 16 inputs in each of 2 planes
    for mode in MODES:
        blocks = set()
        for budget in (16, 32, 64, 128, 192):
            monkeypatch.setattr(native_layers, "ROW_BUDGET", budget * row_column[mode])
            packed = PackedConv(layer, layer_channels(theta, True), mode)
            assert packed._rows is not None
            blocks.add(packed._rows.shape[-1])
            found, _ = packed_run(layer, train, theta, mode, signed=True, way=BY_EVENTS)
            assert torch.equal(found, expected), (mode, budget)
        assert blocks >= {16, 32, 64, 128}


@given(units=st.integers(1, 40), row_column_bytes=st.integers(1, 200_000))
def test_a_block_of_rows_divides_the_layer_and_fits_the_cache(units: int, row_column_bytes: int) -> None:
    channels = 64 * units
    block = row_block(channels, row_column_bytes)
    assert channels % block == 0
    assert block == 16 or block * row_column_bytes <= native_layers.ROW_BUDGET


@pytest.mark.parametrize(
    ("channels", "row_column_bytes", "block"), [(16, 100, 16), (32, 100, 32), (256, 100, 128), (256, 10**9, 16)]
)
def test_a_block_of_rows_by_hand(channels: int, row_column_bytes: int, block: int) -> None:
    assert row_block(channels, row_column_bytes) == block


def test_groups_are_a_whole_convolution_with_zeros() -> None:
    torch.manual_seed(0)
    train, theta = input_train(1, (1, 6, 4, 4), False)
    layer = conv((6, 4), (3, 3), theta, groups=2, stride=(1, 1), padding=(1, 1))
    made = layer.whole()
    assert made.shape == (4, 6, 3, 3)
    assert torch.equal(nn.functional.conv2d(train[0], made, layer.bias, padding=1), layer.potential(train)[0])


@pytest.mark.parametrize("silent", [False, True], ids=["random", "a row of zeros"])
def test_8_bit_weights_are_half_a_step_away_at_most(silent: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 7, 3, 3) * torch.logspace(-3, 3, 5).view(-1, 1, 1, 1)
    if silent:
        weight[2] = 0
    levels, scale = quantize(weight)
    assert levels.dtype == torch.int8
    assert (scale > 0).all()
    assert levels.amax() <= 127 <= levels.abs().amax()
    assert levels.amin() >= -127
    error = (weight - levels * scale.view(-1, 1, 1, 1)).abs()
    assert (error <= 0.5001 * scale.view(-1, 1, 1, 1)).all()


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("way", [BY_EVENTS, DENSE])
def test_the_number_of_threads_changes_no_bit(mode: Mode, way: int) -> None:
    """Wide enough that every loop is shared out; real numbers, so that a race or another order of sums would show."""
    torch.manual_seed(0)
    theta = torch.ones(48)
    layer = SpikingConv(
        torch.randn(80, 48, 3, 3) / 8,
        torch.randn(80) / 8,
        torch.ones(80),
        stride=(1, 1),
        padding=(1, 1),
        neuron="signed",
    )
    bits = pack((torch.rand(6, 2, 48, 23, 17) < 0.3).float(), negative=False)
    runs = []
    try:
        for threads in (1, 2, 4, 2):
            torch.set_num_threads(threads)
            packed = PackedConv(layer, layer_channels(theta, False), mode)
            packed.way = way
            state = packed.state(2, (23, 17))
            spikes = packed.window(state, bits, 6)
            runs.append((spikes, state.u, rate(*calibration_case())))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))


def calibration_case() -> tuple[Tensor, Tensor, Tensor, int]:
    """Potentials, initial potential, thresholds and T for ``rate``."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(4, 3, 20, 9, 11, generator=generator)
    return v, torch.full((1, 20, 1, 1), 0.5), torch.ones(20), 4


# --- another processor ----------------------------------------------------------------------------------------------


@pytest.fixture
def plain_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of kernels compiled without a word about the processor: no AVX-512, no OpenMP."""
    monkeypatch.setenv("SPIKEDET_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels_build, "FLAGS", ((),))
    monkeypatch.setattr(kernels_build, "COMMON", ("-O1", "-std=c++17", "-fPIC", "-shared", "-w"))
    kernels.outcome.cache_clear()
    yield tmp_path
    kernels.outcome.cache_clear()


@pytest.mark.slow
def test_kernels_for_a_plain_processor_fire_the_same_spikes(plain_kernels: Path) -> None:
    assert Path(library()._name).parent == plain_kernels
    compared = {"exact": 0, "fast": 0}
    for network, images in supported_networks(20, delays=True, signed=True):
        modes: tuple[Mode, ...] = ("exact", "fast") if eight_bit_(network) else ("exact",)
        slow = reference(network, images, 4)
        for mode in modes:
            readings, fired = watched_run(Watched(network, mode), images, [1, 4], WHOLE)
            assert differing_spikes(fired, slow) == 0
            assert_readings(readings, slow)
            compared[mode] += 1
    assert compared["exact"] == 20
    assert compared["fast"] > 8
    assert library().spikedet_has_dense() == 0
    assert str(NativeBackend(network, "fast")) == (
        "native backend: event-driven, int8 weights, compiled for this processor"
    )
