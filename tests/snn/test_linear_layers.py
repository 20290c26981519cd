"""Linear layers as asymmetric IF of slope 1 and as analog currents; dyadic numbers, so every comparison is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from native_runs import (
    WHOLE,
    Watched,
    assert_readings,
    assert_same_trains,
    differing_spikes,
    sent,
    supported_networks,
    watched_run,
)
from snn_reference import dyadic, random_network, readout, reference, spiking_conv
from torch import nn

from spikedet.config import MaxPoolRule, Mode, Neuron
from spikedet.kernels.library import NativeUnavailable, available
from spikedet.snn import IMAGE, Node, SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native import backend as native
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.layers import broadcast
from spikedet.snn.network import layer_activation, qc_forward
from spikedet.snn.operations import Add, AvgPool, LinearConv, MaxPool, Upsample

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")


def analog(channels_in: int, channels: int, k: int = 1, stride: int = 1) -> LinearConv:
    made = spiking_conv(channels_in, channels, k=k, stride=stride)
    return LinearConv(made.weight.data, made.bias.data, stride=made.stride, padding=made.padding)


def linear_layer(channels_in: int, channels: int, k: int = 1, delay: int = 0) -> SpikingConv:
    return spiking_conv(channels_in, channels, k=k, neuron="asymmetric", slope=1.0, delay=delay)


def network(*nodes: Node, T: int = 8) -> SpikingNetwork:
    """These nodes and a read-out of the last one."""
    last = nodes[-1].name
    channels = len([n for n in nodes if hasattr(n.module, "bias")][-1].module.bias)  # type: ignore[arg-type]
    return SpikingNetwork([*nodes, Node("out", (last,), readout(channels))], ["out"], ["out"], torch.tensor([1.0]), T)


# --- asymmetric IF of slope 1 ---------------------------------------------------------------------------------------


def test_a_trace_by_hand() -> None:
    """theta 1, u[0] = 1/2: -3/4 a step; u = -1/4, -1 (fires, 0), -3/4, -3/2 (fires, -1/2), -5/4 (fires, -1/4)."""
    layer = SpikingConv(
        torch.ones(1, 1, 1, 1),
        torch.zeros(1),
        torch.ones(1),
        stride=(1, 1),
        padding=(0, 0),
        neuron="asymmetric",
        slope=1.0,
    )
    state = layer.initial_state((1, 1, 1, 1))
    spikes = layer.run(torch.full((5, 1, 1, 1, 1), -0.75), state)
    assert spikes.flatten().tolist() == [0, -1, 0, -1, -1]
    assert state.u.item() == -0.25
    assert layer.linear


@given(seed=st.integers(0, 2**20), T=st.sampled_from([1, 2, 4, 8, 16]))
def test_the_count_of_a_constant_input_is_the_qc_activation(seed: int, T: int) -> None:
    """Of a convolution with a bias, negative and positive inputs beyond the clip on both sides."""
    torch.manual_seed(seed)
    layer, x = linear_layer(3, 4, k=3), dyadic(1, 2, 3, 5, 4, low=-16, high=16)
    v = layer.potential(x)
    spikes = layer.run(v.expand(T, *v.shape[1:]), layer.initial_state(v.shape[1:]))
    rate = spikes.sum(0) * broadcast(layer.theta) / T
    assert torch.equal(rate, layer_activation(layer, v[0], T))
    assert rate.min() < 0 < rate.max()
    assert bool((rate.abs() <= broadcast(layer.theta)).all())


# --- analog currents ------------------------------------------------------------------------------------------------


def test_an_analog_current_is_the_convolution_of_the_mean() -> None:
    """Read out after T steps, and the bias counted once a step."""
    torch.manual_seed(0)
    made = network(Node("stem", (IMAGE,), spiking_conv(3, 4)), Node("current", ("stem",), analog(4, 6, k=3, stride=2)))
    images, current = dyadic(2, 3, 7, 5, low=0), made.nodes[1].module
    (reading,) = simulate(made, images, [8])
    rate = qc_forward(made, images, 8)["stem"]  # the stem's input is constant: its rate is g
    assert isinstance(current, LinearConv) and current.bias.any()
    assert torch.equal(reading.maps["out"], made.nodes[2].module(current([rate.unsqueeze(0)])[0]))


@pytest.mark.parametrize("delay", [0, 3])
def test_a_delayed_reader_gets_the_bias_once_a_step_of_the_window(delay: int) -> None:
    """Silent input, so that all there is is the bias, which comes T times: T b / theta spikes in all."""
    quiet = SpikingConv(torch.zeros(1, 3, 1, 1), torch.zeros(1), torch.ones(1), stride=(1, 1), padding=(0, 0))
    current = LinearConv(torch.ones(1, 1, 1, 1), torch.full((1,), 0.5), stride=(1, 1), padding=(0, 0))
    reader = SpikingConv(
        torch.ones(1, 1, 1, 1), torch.zeros(1), torch.ones(1), stride=(1, 1), padding=(0, 0), delay=delay
    )
    nodes = Node("quiet", (IMAGE,), quiet), Node("current", ("quiet",), current), Node("reader", ("current",), reader)
    made = network(*nodes, T=4)
    (reading,) = simulate(made, torch.zeros(1, 3, 1, 1), [4], chunk=1)
    assert reading.spikes.item() == 2
    assert made.latency(4) == 4 + delay


@given(seed=st.integers(0, 2**20), T=st.integers(1, 6), delays=st.booleans())
def test_currents_and_linear_layers_anywhere_equal_the_slow_simulator(seed: int, T: int, delays: bool) -> None:
    made, images = random_network(seed, delays=delays, signed=True, more=("analog", "analog"))
    slow = reference(made, images, T)
    for chunk in (1, 3, WHOLE):
        assert_readings(list(simulate(made, images, [T], chunk=chunk)), slow)


@torch.no_grad()
def test_a_current_of_the_image_is_computed_once() -> None:
    torch.manual_seed(0)
    made = network(Node("current", (IMAGE,), analog(3, 4)), Node("next", ("current",), spiking_conv(4, 4)))
    images = dyadic(1, 3, 5, 4, low=0)
    assert made.is_constant("current")
    slow = reference(made, images, 4)
    for backend in (TorchBackend(made), *([NativeBackend(made)] if available() else [])):
        assert_readings(list(simulate(made, images, [4], backend=backend)), slow)


def test_fast_mode_keeps_its_type() -> None:
    """A current and a train of spikes are added in one type, whatever that is here."""
    torch.manual_seed(0)
    nodes = [Node("stem", (IMAGE,), spiking_conv(3, 4)), Node("current", ("stem",), analog(4, 4))]
    nodes += [Node("sum", ("stem", "current"), Add()), Node("next", ("sum",), spiking_conv(4, 4))]
    made, images = network(*nodes), dyadic(1, 3, 5, 4, low=0)
    exact, fast = (next(simulate(made, images, [8], backend=TorchBackend(made, m))) for m in ("exact", "fast"))
    torch.testing.assert_close(fast.maps["out"], exact.maps["out"], rtol=0.1, atol=1.0)


# --- the native backend: bits, and sums where bits would be too many ------------------------------------------------


@needs_kernels
@pytest.mark.parametrize(("delays", "widest"), [(False, 0), (True, 1), (True, 3), (False, 1000)])
def test_no_spike_differs_with_sums_and_currents(delays: bool, widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From all trains between layers summed to none but those of currents."""
    monkeypatch.setattr(native, "WIDEST", {"exact": widest, "fast": widest})
    summed = currents = 0
    more = ("analog", "slice", "pad")
    for made, images in supported_networks(12, delays=delays, signed=True, more=more):
        slow, backend = reference(made, images, 5), Watched(made)
        for chunk in (1, 2, WHOLE):
            readings, fired = watched_run(backend, images, [2, 5], chunk)
            assert differing_spikes(fired, slow) == 0
            assert_readings(readings, slow)
        summed += any(channels.summed for channels in backend.channels.values())
        currents += any(isinstance(node.module, LinearConv) for node in made.nodes)
    assert summed > 3 if widest < 1000 else summed <= currents
    assert currents > 3


@needs_kernels
@pytest.mark.parametrize("neuron", ["if", "signed", "asymmetric"])
@pytest.mark.parametrize("rule", ["count", "or"])
def test_overlapping_maxima(rule: MaxPoolRule, neuron: Neuron) -> None:
    """3x3 windows of stride 2, padded by 1: the stem's pooling of a CSP backbone, by each rule."""
    torch.manual_seed(1)
    slope = 1.0 if neuron == "asymmetric" else 0.0
    made = network(
        Node("stem", (IMAGE,), spiking_conv(3, 6, stride=2, neuron=neuron, slope=slope)),
        Node("pool", ("stem",), MaxPool(nn.MaxPool2d(3, 2, 1), rule)),
        Node("next", ("pool",), spiking_conv(6, 4, neuron=neuron, slope=slope)),
    )
    images = dyadic(2, 3, 13, 19, low=-8)
    dense, backend = TorchBackend(made), make_backend(made)
    _, trains = sent(dense, images, 8)
    pool, unit = nn.MaxPool2d(3, 2, 1), broadcast(made.nodes[0].module.theta)  # type: ignore[arg-type]
    if rule == "count":
        assert torch.equal(trains["pool"].sum(0), pool((trains["stem"] / unit).sum(0)) * unit)
    else:
        assert torch.equal(trains["pool"], pool(trains["stem"].flatten(0, 1)).unflatten(0, trains["pool"].shape[:2]))
    if rule == "or" and neuron != "if":
        assert "no form on packed spikes" in backend.why
        with pytest.raises(NativeUnavailable):
            NativeBackend(made)
    else:
        assert_same_trains(backend, dense, images, 8)


@needs_kernels
@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("neuron", ["if", "signed", "asymmetric"])
def test_averages_of_2x2(neuron: Neuron, mode: Mode) -> None:
    """Four bits of a channel, or eight: as bits or summed, as the mode has it; weights of 8 bits hold these exactly."""
    torch.manual_seed(1)
    slope = 1.0 if neuron == "asymmetric" else 0.0
    made = network(
        Node("stem", (IMAGE,), spiking_conv(3, 4, neuron=neuron, slope=slope)),
        Node("pool", ("stem",), AvgPool(nn.AvgPool2d(2, 2, 0))),
        Node("next", ("pool",), spiking_conv(4, 5, neuron=neuron, slope=slope)),
    )
    if mode == "fast":
        stem, following = (layer for _, layer in made.spiking())
        stem.theta.fill_(1.0)
        following.weight.data = torch.randint(-127, 128, following.weight.shape) / 32
        following.weight.data[:, 0, 0, 0] = 127 / 32
    backend = NativeBackend(made, mode)
    assert backend.channels["pool"].summed == (mode == "exact" and neuron != "if")
    assert_same_trains(backend, TorchBackend(made), dyadic(2, 3, 10, 14, low=-8), 8)


@needs_kernels
@pytest.mark.parametrize("kept", ["bits", "sums"])
def test_a_sum_after_upsampling(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "WIDEST", {"exact": 1000 if kept == "bits" else 1})
    torch.manual_seed(1)
    made = network(
        Node("stem", (IMAGE,), spiking_conv(3, 4)),
        Node("lateral", ("stem",), linear_layer(4, 6)),
        Node("down", ("stem",), spiking_conv(4, 6, stride=2)),
        Node("up", ("down",), Upsample(2)),
        Node("sum", ("lateral", "up"), Add()),
        Node("next", ("sum",), spiking_conv(6, 5)),
    )
    backend = NativeBackend(made)
    assert backend.channels["sum"].summed == (kept == "sums")
    assert_same_trains(backend, TorchBackend(made), dyadic(2, 3, 8, 14, low=-4), 8)
