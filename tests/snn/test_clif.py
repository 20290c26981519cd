"""The C-LIF neuron: traces by hand, properties, SpikingJelly, and its gradient against autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snn_reference import branching_network, dyadic
from torch import Tensor

from spikedet.config import Reset, Surrogate
from spikedet.snn import SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.functional import clif_step
from spikedet.snn.surrogate import SHAPES, firing

ONE = torch.tensor(1.0)
RESETS: tuple[Reset, ...] = ("hard", "soft")


def run(train: Tensor, decays: tuple[Any, Any] = (0.5, 0.75), reset: Reset = "hard", **how: Any) -> list[Tensor]:
    """Spikes, currents and potentials after reset of every step, each ``[T, ...]``; theta = 1, at rest before."""
    c = v = torch.zeros_like(train[0])
    found = []
    for x in train:
        s, c, v = clif_step(x, c, v, ONE, decays, reset, **how)
        found.append((s, c, v))
    return [torch.stack(part) for part in zip(*found, strict=True)]


def test_hard_reset_by_hand() -> None:
    spikes, currents, potentials = run(torch.tensor([0.5, 0.25, 0.0, -1.0, 4.0]))
    #            before reset: 0.5, 0.375 + 0.5, 0.65625 + 0.25, 0.6796875 - 0.875, -0.146484375 + 3.5625
    assert currents.tolist() == [0.5, 0.5, 0.25, -0.875, 3.5625]
    assert potentials.tolist() == [0.5, 0.875, 0.90625, -0.1953125, 0.0]
    assert spikes.tolist() == [0, 0, 0, 0, 1]


def test_soft_reset_by_hand() -> None:
    spikes, _, potentials = run(torch.tensor([2.5, 0.0, 0.0]), reset="soft")
    # before reset: 2.5, 0.75 * 1.5 + 1.25, 0.75 * 1.375 + 0.625
    assert spikes.tolist() == [1, 1, 1]
    assert potentials.tolist() == [1.5, 1.375, 0.65625]


def test_a_spike_leaves_no_potential_but_keeps_the_current() -> None:
    spikes, currents, potentials = run(torch.tensor([3.0, 0.0]))
    assert spikes.tolist() == [1, 1]  # the current that is left fires again
    assert currents.tolist() == [3.0, 1.5]
    assert potentials.tolist() == [0.0, 0.0]


def test_the_threshold_itself_fires() -> None:
    below = torch.nextafter(ONE, torch.tensor(0.0))
    assert clif_step(ONE, ONE * 0, ONE * 0, ONE, (0.5, 0.75))[0] == 1
    assert clif_step(below, ONE * 0, ONE * 0, ONE, (0.5, 0.75))[0] == 0


@given(seed=st.integers(0, 2**20), scale=st.sampled_from([0.25, 2.0, 8.0]), reset=st.sampled_from(RESETS))
def test_it_is_homogeneous(seed: int, scale: float, reset: Reset) -> None:
    """Threshold and input may be scaled alike: what conversion folds changes no spike."""
    torch.manual_seed(seed)
    train, c, v, theta = dyadic(6, 3), torch.zeros(3), torch.zeros(3), torch.tensor(0.5)
    other_c, other_v = c, v
    for x in train:
        s, c, v = clif_step(x, c, v, theta, (0.5, 0.75), reset)
        other_s, other_c, other_v = clif_step(scale * x, other_c, other_v, scale * theta, (0.5, 0.75), reset)
        assert torch.equal(s, other_s)
        assert torch.equal(scale * v, other_v)


@given(seed=st.integers(0, 2**20))
def test_without_leak_and_current_it_is_if(seed: int) -> None:
    torch.manual_seed(seed)
    train = dyadic(8, 5)
    u, fired = torch.zeros(5), []
    for x in train:
        u = u + x
        fired.append((u >= 1).float())
        u = u - fired[-1]
    assert torch.equal(run(train, (0.0, 1.0), "soft")[0], torch.stack(fired))


@pytest.mark.parametrize("reset", RESETS)
def test_spikes_are_those_of_spikingjelly(reset: Reset) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    train = dyadic(16, 2, 3, 5, low=-4, high=8)
    current = neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=1e9, step_mode="s")
    membrane = neuron.LIFNode(tau=4.0, decay_input=False, v_reset=0.0 if reset == "hard" else None, step_mode="s")
    fired = []
    for x in train:
        current(x)
        fired.append(membrane(current.v))
    expected = torch.stack(fired)
    spikes, _, potentials = run(train, reset=reset)
    assert 0.1 < expected.mean() < 0.9
    assert torch.equal(spikes, expected)
    assert torch.equal(potentials[-1], membrane.v)


class Rectangle(torch.autograd.Function):
    """A readable reference of the default surrogate, theta = 1."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v >= 1).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return torch.where((v - 1).abs() < 0.5, grads[0], 0.0)


@pytest.mark.parametrize("reset", RESETS)
def test_the_gradient_through_time_is_that_of_a_reference(reset: Reset) -> None:
    torch.manual_seed(1)
    inputs, weights = torch.randn(2, 5, 40, dtype=torch.float64), torch.randn(5, 40, dtype=torch.float64)
    found = []
    for ours in (True, False):
        x = inputs[0].clone().requires_grad_()
        d_c, d_v = (torch.tensor(d, dtype=torch.float64, requires_grad=True) for d in (0.4, 0.7))
        if ours:
            spikes = run(x, (d_c, d_v), reset, fire=firing("rectangle", 1.0))[0]
        else:
            c = v = torch.zeros(40, dtype=torch.float64)
            steps = []
            for t in range(5):
                c = d_c * c + x[t]
                v = d_v * v + c
                steps.append(Rectangle.apply(v))
                v = v * (1 - steps[-1]) if reset == "hard" else v - steps[-1]
            spikes = torch.stack(steps)
        (spikes * weights).sum().backward()
        found.append((spikes, x.grad, d_c.grad, d_v.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("surrogate", SHAPES)
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_shapes_have_unit_area_and_a_peak_of_one_by_width(surrogate: Surrogate, width: float) -> None:
    z = torch.arange(-50_000, 50_001, dtype=torch.float64) / 250
    slope = SHAPES[surrogate](z, width)
    assert torch.trapezoid(slope, z).item() == pytest.approx(1, abs=5e-3)
    assert slope.max().item() == pytest.approx(1 / width)
    assert slope[z == 0].item() == pytest.approx(1 / width)


def test_shapes_are_those_of_spikingjelly() -> None:
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    z = torch.linspace(-2, 2, 101, dtype=torch.float64, requires_grad=True)
    for name, theirs in (("sigmoid", surrogate.Sigmoid(alpha=4 / 0.8)), ("arctan", surrogate.ATan(alpha=2 / 0.8))):
        (expected,) = torch.autograd.grad(theirs(z).sum(), z)
        torch.testing.assert_close(SHAPES[name](z.detach(), 0.8), expected)  # type: ignore[index]


def test_a_spike_depends_on_potential_by_threshold_alone() -> None:
    v, theta = torch.tensor([0.9, 2.5, 1.9], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    spikes = firing("triangle", 1.0)(v, theta)
    spikes.backward(torch.tensor([1.0, 2.0, 4.0]))
    # z: -0.55, 0.25, -0.05, so slopes 0.45, 0.75, 0.95 and by v half of them
    torch.testing.assert_close(v.grad, torch.tensor([0.225, 0.75, 1.9]))
    assert theta.grad is not None
    assert v.grad is not None
    torch.testing.assert_close(theta.grad, -(v.grad * v.detach() / 2).sum())


def leaky_network(reset: Reset = "hard") -> tuple[SpikingNetwork, Tensor]:
    """A branching network of C-LIF layers and two images."""
    torch.manual_seed(3)
    network = branching_network(neuron="clif")
    for _, layer in network.spiking():
        layer.reset = reset
    return network, dyadic(2, 3, 6, 10, low=0)


def reference_spikes(layer: SpikingConv, train: Tensor) -> Tensor:
    """Of one layer, step by step, for its input train."""
    c = v = torch.zeros_like(layer.potential(train[:1])[0])
    theta, found = layer.theta.view(1, -1, 1, 1), []
    for step in train:
        c = 0.5 * c + layer.potential(step.unsqueeze(0))[0]
        v = 0.75 * v + c
        fired = (v >= theta).float()
        v = v * (1 - fired) if layer.reset == "hard" else v - theta * fired
        found.append(fired * theta)
    return torch.stack(found)


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("reset", RESETS)
@torch.no_grad()
def test_networks_chunk_by_chunk(backend: Any, chunk: int, reset: Reset) -> None:
    network, images = leaky_network(reset)
    stem = reference_spikes(network.nodes[0].module, images.expand(8, *images.shape))  # type: ignore[arg-type]
    skip = reference_spikes(network.nodes[1].module, stem)  # type: ignore[arg-type]
    down = reference_spikes(network.nodes[2].module, stem)  # type: ignore[arg-type]
    deep = reference_spikes(network.nodes[3].module, down)  # type: ignore[arg-type]
    up = deep.repeat_interleave(2, -2).repeat_interleave(2, -1)
    readings = list(simulate(network, images, [2, 5, 8], chunk=chunk, backend=make_backend(network, backend)))
    for reading in readings:
        expected = network.nodes[-2].module((skip + up)[: reading.t].mean(0))
        torch.testing.assert_close(reading.maps["box"], expected, rtol=1e-6, atol=1e-6)
        fired = sum((train[: reading.t] != 0).sum((0, 2, 3, 4)).double() for train in (stem, skip, down, deep))
        assert torch.equal(reading.spikes, fired)
    assert [reading.t for reading in readings] == [2, 5, 8]


@pytest.mark.parametrize("reset", RESETS)
def test_fast_mode_is_near(reset: Reset) -> None:
    network, images = leaky_network(reset)
    (exact,) = simulate(network, images, [8], backend=make_backend(network, "native"))
    (fast,) = simulate(network, images, [8], backend=make_backend(network, "native", "fast"))
    assert fast.spikes.sum() == pytest.approx(exact.spikes.sum().item(), rel=0.1)


def test_a_firing_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="expected no firing delay"):
        branching_network((1, 0, 0, 0), neuron="clif")
