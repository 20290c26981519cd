"""Our IF layers against SpikingJelly's IFNode (soft reset), spike for spike; dyadic weights, so float32 is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, simulate

neuron = pytest.importorskip("spikingjelly.activation_based.neuron")


def dyadic(*shape: int, low: int, high: int) -> Tensor:
    return torch.randint(low, high + 1, shape).float() / 8


def random_convolutions(seed: int) -> tuple[list[tuple[nn.Conv2d, float]], Tensor]:
    """Two to four convolutions with bias and a threshold each, and two images of odd, non-square size."""
    torch.manual_seed(seed)
    layers, channels = [], 3
    for _ in range(int(torch.randint(2, 5, ()))):
        k, stride = (int(torch.randint(0, 2, ())) * 2 + 1), int(torch.randint(1, 3, ()))
        conv = nn.Conv2d(channels, 4, k, stride, k // 2)
        conv.weight.data = dyadic(4, channels, k, k, low=-3, high=4)
        assert conv.bias is not None
        conv.bias.data = dyadic(4, low=-2, high=4)
        layers.append((conv, [0.5, 1.0, 2.0][int(torch.randint(0, 3, ()))]))
        channels = 4
    return layers, dyadic(2, 3, 7, 9, low=0, high=8)


@torch.no_grad()
def jelly_spikes(layers: list[tuple[nn.Conv2d, float]], images: Tensor, T: int, step_mode: str) -> list[Tensor]:
    """``[T, N, C, H, W]`` spikes of every layer, by IFNode; the first potential is theta / 2."""
    train, found = images.expand(T, *images.shape), []
    for conv, theta in layers:
        v = torch.stack([conv(x) for x in train])
        node = neuron.IFNode(v_threshold=theta, v_reset=None, step_mode=step_mode)
        node.v = torch.full_like(v[0], theta / 2)
        spikes = node(v) if step_mode == "m" else torch.stack([node(current) for current in v])
        found.append(spikes)
        train = spikes * theta
    return found


def converted(layers: list[tuple[nn.Conv2d, float]]) -> SpikingNetwork:
    """The same convolutions as our network; the output layers see the last layer's spikes unchanged."""
    nodes, source = [], IMAGE
    for index, (conv, theta) in enumerate(layers):
        layer = SpikingConv(
            conv.weight.detach(),
            conv.bias.detach(),  # type: ignore[union-attr]
            torch.full((4,), theta),
            stride=conv.stride,
            padding=conv.padding,  # type: ignore[arg-type]
        )
        nodes.append(Node(f"layer.{index}", (source,), layer))
        source = f"layer.{index}"
    identity = Readout(torch.eye(4).view(4, 4, 1, 1), torch.zeros(4), stride=(1, 1), padding=(0, 0))
    return SpikingNetwork([*nodes, Node("out", (source,), identity)], ["out"], ["out"], torch.tensor([1.0]), 8)


def our_spikes(network: SpikingNetwork, images: Tensor, T: int, chunk: int) -> tuple[list[Tensor], Tensor]:
    """Spikes of every layer and the read-out at T."""
    pieces: dict[SpikingConv, list[Tensor]] = {layer: [] for _, layer in network.spiking()}
    plain = SpikingConv.run

    def run(layer: SpikingConv, v: Tensor, state: object) -> Tensor:
        spikes = plain(layer, v, state)  # type: ignore[arg-type]
        pieces[layer].append(spikes.clone())  # the backend scales them in place
        return spikes

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(SpikingConv, "run", run)
        (reading,) = simulate(network, images, [T], chunk=chunk)
    return [torch.cat(parts) for parts in pieces.values()], reading.maps["out"]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**20), T=st.sampled_from([1, 2, 3, 8, 33, 64]), step_mode=st.sampled_from(["s", "m"]))
def test_spikes_are_those_of_spikingjelly_layer_by_layer(seed: int, T: int, step_mode: str) -> None:
    layers, images = random_convolutions(seed)
    expected = jelly_spikes(layers, images, T, step_mode)
    got, out = our_spikes(converted(layers), images, T, chunk=1 if step_mode == "s" else 5)
    assert len(got) == len(expected)
    for index, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert torch.equal(ours, theirs), f"layer {index}"
    assert torch.equal(out, (theirs * layers[-1][1]).sum(0) / T)


def test_the_compared_layers_fire() -> None:
    rates = [s.mean().item() for seed in range(5) for s in jelly_spikes(*random_convolutions(seed), 8, "m")]
    assert sum(0.05 < rate < 0.95 for rate in rates) > len(rates) / 2
