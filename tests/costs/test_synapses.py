"""Fan-outs and operation counts against convolutions with ones, in the other direction, and by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parent.parent / "snn"))

from native_runs import is_supported
from snn_reference import Reference, random_network, reference

from spikedet.costs.constants import load_constants
from spikedet.costs.folding import ANALOG, CONSTANT, SPIKES, carried
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.costs.pricing import Pricing, Totals
from spikedet.costs.synapses import dense_macs, fan_outs, met_weights
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample


def conv(cin: int, cout: int, k: int = 3, stride: int = 1, groups: int = 1, theta: float = 1.0) -> SpikingConv:
    weight = torch.ones(cout, cin // groups, k, k)
    step, pad = (stride, stride), (k // 2, k // 2)
    return SpikingConv(weight, torch.zeros(cout), torch.full((cout,), theta), stride=step, padding=pad, groups=groups)


def read(cin: int, cout: int = 1) -> Readout:
    return Readout(torch.ones(cout, cin, 1, 1), torch.zeros(cout), stride=(1, 1), padding=(0, 0))


def network(*nodes: Node) -> SpikingNetwork:
    last = nodes[-1].name
    return SpikingNetwork(list(nodes), [last], [last], torch.tensor([1.0]), 4)


# --- fan-out by hand ------------------------------------------------------------------------------------------------


def test_a_3x3_kernel_meets_less_at_borders() -> None:
    met = met_weights(conv(3, 2), (3, 4))
    assert met.tolist() == [[8, 12, 12, 8], [12, 18, 18, 12], [8, 12, 12, 8]]


def test_a_stride_of_two_sees_places_differently() -> None:
    """Outputs at 0, 2 (padding 1): rows -1..1 and 1..3, so row 1 is seen twice and row 3 once."""
    met = met_weights(conv(1, 1, stride=2), (4, 4))
    assert met[:, 0].tolist() == [1, 2, 1, 1]
    assert met[1].tolist() == [2, 4, 2, 2]


def test_places_that_a_stride_skips_cost_nothing() -> None:
    assert met_weights(conv(1, 5, k=1, stride=2), (3, 3)).tolist() == [[5, 0, 5], [0, 0, 0], [5, 0, 5]]


def test_a_spike_meets_the_weights_of_its_own_group() -> None:
    assert met_weights(conv(4, 8, k=1, groups=4), (1, 1)).item() == 2


@given(
    st.tuples(st.integers(3, 9), st.integers(3, 9)),
    *(st.integers(1, 3) for _ in range(2)),
    st.integers(0, 2),
    st.integers(1, 2),
)
def test_met_weights_are_the_gradient_of_a_convolution_with_ones(
    hw: tuple[int, int], k: int, stride: int, padding: int, dilation: int
) -> None:
    if min(hw) + 2 * padding < dilation * (k - 1) + 1:
        return
    how = {"stride": (stride, stride), "padding": (padding, padding), "dilation": (dilation, dilation)}
    layer = SpikingConv(torch.ones(4, 2, k, k), torch.zeros(4), torch.ones(4), groups=2, **how)  # type: ignore[arg-type]
    x = torch.zeros(1, 4, *hw, requires_grad=True)
    F.conv2d(x, layer.weight.detach(), None, groups=2, **how).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None
    assert torch.equal(x.grad[0], met_weights(layer, hw).float().expand(4, *hw))


def test_joins_and_copies_by_hand() -> None:
    """stem (2 ch) -> 2x up -> 1x1 conv of 3: a spike is four; and -> a slice of channel 1 -> 1x1 conv of 5."""
    made = network(
        Node("stem", (IMAGE,), conv(3, 2, k=1)),
        Node("up", ("stem",), Upsample(2)),
        Node("wide", ("up",), conv(2, 3, k=1)),
        Node("half", ("stem",), Slice(1, 2)),
        Node("deep", ("half",), conv(1, 5, k=1)),
        Node("deep-up", ("deep",), Upsample(2)),
        Node("joined", ("wide", "deep-up"), Concat()),
        Node("pooled", ("joined",), AvgPool(nn.AvgPool2d(2))),
        Node("out", ("pooled",), read(8, 7)),
    )
    found = fan_outs(made, (2, 2))
    stem = found["stem"]
    assert stem.readers == ("wide", "deep")
    by_channel = stem.maps[:, stem.groups]
    assert by_channel[0].tolist() == [[[12.0] * 2] * 2] * 2
    assert by_channel[1].tolist() == [[[0.0] * 2] * 2, [[5.0] * 2] * 2]
    assert found["wide"].maps.unique().tolist() == [7]
    assert found["deep"].maps.unique().tolist() == [28]
    assert stem.total.tolist() == [96, 20]


def test_max_pooling_sends_spikes_of_its_own() -> None:
    made = network(
        Node("stem", (IMAGE,), conv(3, 2, k=1)),
        Node("pool", ("stem",), MaxPool(nn.MaxPool2d(2))),
        Node("out", ("pool",), read(2, 3)),
    )
    assert fan_outs(made, (4, 4)).keys() == {IMAGE, "pool"}
    through = fan_outs(made, (4, 4), through_pools=True)
    assert through["stem"].maps.unique().tolist() == [0.75]


def test_what_the_layers_are_made_of() -> None:
    made = network(
        Node("stem", (IMAGE,), conv(3, 4, stride=2)),
        Node("small", (IMAGE,), AvgPool(nn.AvgPool2d(2))),
        Node("joined", ("stem", "small"), Concat()),
        Node("next", ("joined",), conv(7, 4)),
        Node("out", ("next",), read(4)),
    )
    assert {name: int((kinds == CONSTANT).sum()) for name, kinds in carried(made).items()} == {
        "stem": 3,
        "next": 3,
        "out": 0,
    }
    stem, following, out = layer_synapses(made, (8, 8))
    assert (stem.macs, stem.image_macs, stem.neurons) == (4 * 3 * 9 * 16, 4 * 3 * 9 * 16, 64)
    assert (following.macs, following.image_macs) == (4 * 7 * 9 * 16, 4 * 3 * 9 * 16)
    assert following.macs_inside == 4 * 7 * 100  # 10 weights on each axis of four places
    assert (out.macs, out.macs_inside, out.neurons, out.outputs) == (64, 64, 0, 16)
    assert dense_macs(read(4, 2), (2, 5, 3)) == 120
    assert stem.waits == 0
    made.get_submodule("stem").delay = 3  # type: ignore[assignment]
    assert layer_synapses(made, (8, 8))[0].waits == 3 * 64


def test_analog_currents_cost_macs_in_every_step() -> None:
    """Of the current itself and of what reads it, alone, joined (its channels) or added to spikes (all of them)."""
    current = LinearConv(torch.ones(6, 4, 3, 3), torch.zeros(6), stride=(1, 1), padding=(1, 1))
    made = network(
        Node("stem", (IMAGE,), conv(3, 4)),
        Node("wide", ("stem",), conv(4, 6)),
        Node("current", ("stem",), current),
        Node("sum", ("wide", "current"), Add()),
        Node("of-sum", ("sum",), conv(6, 2)),
        Node("joined", ("wide", "current"), Concat()),
        Node("of-both", ("joined",), conv(12, 2, k=1)),
        Node("last", ("of-sum", "of-both"), Add()),
        Node("out", ("last",), read(2)),
    )
    kinds = {name: kind.unique().tolist() for name, kind in carried(made).items()}
    assert kinds == {
        "stem": [CONSTANT],
        "wide": [SPIKES],
        "current": [SPIKES],
        "of-sum": [ANALOG],
        "of-both": [SPIKES, ANALOG],
        "out": [SPIKES],
    }
    layers = {layer.layer: layer for layer in layer_synapses(made, (4, 4))}
    analog = {name: layer.analog_macs for name, layer in layers.items()}
    assert analog == {
        "stem": 0,
        "wide": 0,
        "current": 4 * 6 * 9 * 16,
        "of-sum": 6 * 2 * 9 * 16,
        "of-both": 6 * 2 * 16,
        "out": 0,
    }
    assert layers["of-sum"].macs_inside == 6 * 2 * 100 and layers["of-both"].macs_inside == 12 * 2 * 16
    assert (layers["current"].neurons, layers["current"].outputs, layers["current"].image_macs) == (0, 96, 0)
    found = fan_outs(made, (4, 4))
    assert found["stem"].readers == ("wide", "current")
    assert found["stem"].maps[1].unique().tolist() == [0]  # its weights are in the MACs
    assert found["wide"].readers == ("of-sum", "of-both")
    assert [found["wide"].maps[i].unique().tolist() for i in (0, 1)] == [[0], [2]]
    assert "current" not in found
    totals = Totals.of(list(layers.values()))
    assert totals.analog_macs == sum(analog.values())
    spikes = torch.zeros(1)
    table = load_constants("45nm_float", memory_traffic=False)
    joules = Pricing(table).snn_joules(totals, 3, spikes, spikes).item()
    assert joules == pytest.approx((totals.image_macs + 3 * totals.analog_macs) * table.mac_pj * 1e-12)


def test_a_current_of_the_image_costs_its_macs_once() -> None:
    current = LinearConv(torch.ones(6, 3, 1, 1), torch.zeros(6), stride=(1, 1), padding=(0, 0))
    made = network(
        Node("current", (IMAGE,), current), Node("next", ("current",), conv(6, 2)), Node("out", ("next",), read(2))
    )
    first, following, _ = layer_synapses(made, (4, 4))
    assert (first.image_macs, first.analog_macs, first.macs_inside) == (first.macs, 0, first.macs)
    assert (following.image_macs, following.analog_macs) == (following.macs, 0)


# --- operations against brute force ---------------------------------------------------------------------------------


@torch.no_grad()
def brute_force(slow: Reference) -> dict[str, Tensor]:
    """SOPs ``[T, N]`` of every reader: spikes, one by one, through the operations and a convolution with ones."""
    counts: dict[str, Tensor] = {IMAGE: torch.zeros_like(slow.trains[IMAGE])}
    found = {}
    for node in slow.network.nodes:
        module, inputs = node.module, [counts[name] for name in node.inputs]
        if isinstance(module, (SpikingConv, Readout)):
            ones = torch.ones_like(module.weight)
            groups, dilation = getattr(module, "groups", 1), getattr(module, "dilation", 1)
            steps = inputs[0].unbind()
            made = [F.conv2d(x, ones, None, module.stride, module.padding, dilation, groups) for x in steps]
            found[node.name] = torch.stack(made).double().sum((2, 3, 4))
            if isinstance(module, SpikingConv):
                counts[node.name] = slow.spikes[node.name].abs()
        elif isinstance(module, MaxPool):
            constant = slow.network.is_constant(node.name)  # no spikes, though it sends something
            counts[node.name] = (slow.trains[node.name] != 0).float() * (not constant)
        elif isinstance(module, AvgPool):
            counts[node.name] = 4 * module(inputs)  # windows of 2 x 2
        else:
            counts[node.name] = module(inputs)
    return found


def counted(made: SpikingNetwork, images: Tensor, T: int, backend: str, chunk: int) -> OperationCounter:
    used = make_backend(made, backend)  # type: ignore[arg-type]
    counter = OperationCounter(made, used, images.shape[-2:], T)  # type: ignore[arg-type]
    counter.begin(len(images))
    list(simulate(made, images, [T], T=T, chunk=chunk, backend=used, watch=counter))
    return counter


@settings(max_examples=60)
@given(
    st.integers(0, 2**20),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from(["torch", "native"]),
)
def test_operations_are_those_of_brute_force(
    seed: int, T: int, delays: bool, signed: bool, chunk: int, backend: str
) -> None:
    made, images = random_network(seed, delays=delays, signed=signed, more=("max", "slice", "pad"))
    if backend == "native" and not is_supported(made):
        return
    slow = reference(made, images, T)
    counter, expected = counted(made, images, T, backend, chunk), brute_force(slow)
    for row, name in enumerate(counter.layers):
        assert torch.equal(counter.sops[row], expected[name]), name
        if name in slow.spikes:
            assert torch.equal(counter.spikes[row], slow.spikes[name].abs().double().sum((2, 3, 4))), name


def test_if_everything_fires_the_operations_are_the_multiplications_without_padding() -> None:
    made = network(
        Node("stem", (IMAGE,), conv(3, 4, theta=1 / 64)),
        Node("next", ("stem",), conv(4, 2, stride=2, theta=1 / 64)),
        Node("out", ("next",), read(2, 3)),
    )
    counter = counted(made, torch.ones(1, 3, 6, 5), 2, "torch", 1)
    met = [float(layer.macs_inside) for layer in layer_synapses(made, (6, 5))]
    assert counter.sops[1:, :, 0].tolist() == [[met[1]] * 2, [met[2]] * 2]
    assert counter.sops[0].sum() == 0  # the image is not spikes


def test_a_silent_network_costs_nothing() -> None:
    made = network(Node("stem", (IMAGE,), conv(3, 4)), Node("out", ("stem",), read(4)))
    counter = counted(made, torch.zeros(2, 3, 4, 4), 3, "torch", 2)
    assert counter.sops.sum() == counter.spikes.sum() == 0
    assert counter.sops.shape == (2, 3, 2)


@pytest.mark.parametrize("steps", [1, 2])
def test_only_the_steps_asked_for_are_counted(steps: int) -> None:
    made, images = random_network(3, delays=True, signed=True)
    slow = brute_force(reference(made, images, 4))
    used = make_backend(made, "torch")
    counter = OperationCounter(made, used, images.shape[-2:], steps)  # type: ignore[arg-type]
    counter.begin(2)
    list(simulate(made, images, [4], T=4, backend=used, watch=counter))
    assert all(torch.equal(counter.sops[row], slow[name][:steps]) for row, name in enumerate(counter.layers))
