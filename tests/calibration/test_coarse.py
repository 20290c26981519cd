"""Equation 18 by hand, and the cases where there is nothing to correct."""

from __future__ import annotations

import copy

import pytest
import torch
from calibration_graphs import at, batches, branching, moved, node_of, sample_images, straight
from torch import nn

from spikedet.calibration.coarse import channel_errors, coarse_calibrate_, layer_outputs
from spikedet.calibration.observer import Observer
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, qc_forward

HALF, QUARTER = 0.375, 0.25


def one_layer(u0: list[float]) -> SpikingNetwork:
    """Two channels that see the image as it is, theta 1 and 2, T = 4."""
    one = torch.ones(2, 1, 1, 1)
    layer = SpikingConv(one, torch.zeros(2), torch.tensor([1.0, 2.0]), stride=(1, 1), padding=(0, 0))
    layer.u0 = nn.Parameter(torch.tensor(u0))
    nodes = [Node("layer", (IMAGE,), layer)]
    for name in ("box", "class"):
        nodes.append(
            Node(name, ("layer",), Readout(torch.ones(1, 2, 1, 1), torch.zeros(1), stride=(1, 1), padding=(0, 0)))
        )
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 4)


def test_equation_18_by_hand() -> None:
    """Potentials start at 0 instead of theta / 2, so that every neuron falls short by what the rounding would give.

    x = 0.375: a = floor(4 x + 1/2) / 4 = 0.5, one spike in four steps, r = 0.25, error 0.25.
    x = 0.25:  a = 0.25, one spike (u reaches 1 in the fourth step), r = 0.25, error 0.
    Channel 1 has theta 2: x = 0.375: a = 2 floor(2 x + 1/2) / 4 = 0.5, u ends at 1.5: silent, error 0.5.
                           x = 0.25:  a = 2 floor(1) / 4 = 0.5, silent, error 0.5.
    u[0] grows by T = 4 times the mean over images: 4 * 0.125 and 4 * 0.5.
    """
    network = one_layer([0.0, 0.0])
    images = torch.tensor([HALF, QUARTER]).view(2, 1, 1, 1)
    observer, node = at(network, "layer", images), node_of(network, "layer")
    before = coarse_calibrate_(observer, node, batches(2, size=1))
    assert node.module.u0.tolist() == [0.5, 2.0]
    assert before == pytest.approx((0.25**2 + 0 + 0.5**2 + 0.5**2) / 4)


def test_places_count_like_images() -> None:
    network = one_layer([0.0, 1.0])
    images = torch.tensor([HALF, HALF, HALF, QUARTER]).view(1, 1, 2, 2)
    coarse_calibrate_(at(network, "layer", images), node_of(network, "layer"), [[0]])
    assert node_of(network, "layer").module.u0.tolist() == [4 * 0.25 * 3 / 4, 1.0]


@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("T", [1, 4, 8])
def test_a_constant_input_leaves_nothing_to_correct(neuron: str, T: int) -> None:
    torch.manual_seed(0)
    network, images = branching(neuron, T=T), sample_images()
    node = node_of(network, "stem")
    kept = node.module.u0.clone()
    assert coarse_calibrate_(at(network, "stem", images), node, batches(len(images))) == 0
    assert torch.equal(node.module.u0, kept)


def test_batches_make_no_difference() -> None:
    torch.manual_seed(3)
    reference = straight(3)
    start, images, potentials = moved(reference), sample_images(7), []
    for size in (1, 3, 7):
        network = copy.deepcopy(start)
        node = node_of(network, "layer.2")
        coarse_calibrate_(at(network, "layer.2", images, reference), node, batches(7, size))
        potentials.append(node.module.u0.tolist())
    assert potentials[0] == potentials[1] == potentials[2]


def test_a_read_out_is_right_on_average_afterwards() -> None:
    torch.manual_seed(0)
    reference = branching()
    network, images = moved(reference), sample_images()
    observer, node = at(network, "class", images, reference), node_of(network, "class")
    everything = list(range(len(images)))
    wrong = observer.target(node, everything) - layer_outputs(observer, node, everything)[0]
    before = coarse_calibrate_(observer, node, batches(len(images)))
    left = observer.target(node, everything) - layer_outputs(observer, node, everything)[0]
    assert before == pytest.approx(float(wrong.square().mean()))
    assert wrong.mean((0, 2, 3)).abs().min() > 0.01
    torch.testing.assert_close(left.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-6)


def test_a_read_out_keeps_its_weights() -> None:
    torch.manual_seed(0)
    reference = branching()
    network = moved(reference)
    node = node_of(network, "box")
    kept = node.module.weight.clone()
    coarse_calibrate_(at(network, "box", sample_images(), reference), node, batches(5))
    assert torch.equal(node.module.weight, kept)


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("if", 2), ("signed", 0)])
def test_the_answer_of_a_layer_is_its_rate(neuron: str, delay: int) -> None:
    torch.manual_seed(0)
    network, images = branching(neuron, delay), sample_images()
    observer: Observer = at(network, "stem", images)
    rate, *early = layer_outputs(observer, node_of(network, "stem"), [0, 2], early=1.0)
    assert [half.shape for half in early] == ([] if delay else [rate.shape])
    assert torch.equal(rate, qc_forward(network, images[[0, 2]], network.T)["stem"])


# --- initial potential against bias ---------------------------------------------------------------------------------


def test_the_first_half_of_a_window_by_hand() -> None:
    """T = 4, theta 1, u[0] = 0, x = 0.375: u reaches 1.125 in the third step, so no spike in the first half.

    a = 0.5 and r = 0.25; after two steps r = 0. Channel 1, theta 2, is silent all the time, a = 0.5.
    """
    network = one_layer([0.0, 0.0])
    observer, node = at(network, "layer", torch.tensor([HALF]).view(1, 1, 1, 1)), node_of(network, "layer")
    rate, early = layer_outputs(observer, node, [0], early=1.0)
    assert (rate.flatten().tolist(), early.flatten().tolist()) == ([0.25, 0.0], [0.0, 0.0])
    errors = channel_errors(observer, node, [[0]], early=2.0)
    assert errors.mean.tolist() == [0.25, 0.5]
    assert errors.square.tolist() == [0.25**2, 0.5**2]
    assert errors.cost.tolist() == [0.25**2 + 2 * 0.5**2, 3 * 0.5**2]


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("if", 1), ("signed", 0)])
def test_no_channel_costs_more_than_copied_or_after_equation_18(neuron: str, delay: int) -> None:
    torch.manual_seed(1)
    reference = branching(neuron, delay)
    images, parts = sample_images(6), batches(6, 4)
    start = moved(reference)
    costs = []
    for early in (None, 0.0, 0.5):  # copied, equation 18, traded
        network = copy.deepcopy(start)
        observer, node = at(network, "last", images, reference), node_of(network, "last")
        if early is not None:
            coarse_calibrate_(observer, node, parts, early)
        costs.append(channel_errors(observer, node, parts, 0.5).cost)
    assert (costs[2] <= torch.minimum(costs[0], costs[1])).all()
    assert costs[2].sum() < min(costs[0].sum(), costs[1].sum())


def test_what_is_traded_reaches_the_same_sum() -> None:
    """Without the correction of equation 18, u[0] + T bias stays as it was in every channel."""
    torch.manual_seed(2)
    reference = branching()
    network = moved(reference)
    observer, node = at(network, "skip", sample_images(6), reference), node_of(network, "skip")
    layer = node.module
    before = layer.u0 + network.T * layer.bias
    wrong = network.T * channel_errors(observer, node, batches(6), 0.5).mean
    coarse_calibrate_(observer, node, batches(6), 0.5)
    moved_by = (layer.u0 + network.T * layer.bias - before).detach()
    assert not torch.equal(layer.bias, node_of(moved(reference), "skip").module.bias)
    assert ((moved_by.abs() < 1e-5) | (moved_by.abs() > 1e-4)).all() and wrong.abs().max() > 0.1


def test_one_step_has_no_half() -> None:
    torch.manual_seed(0)
    network = branching(T=1)
    observer, node = at(network, "stem", sample_images()), node_of(network, "stem")
    assert len(layer_outputs(observer, node, [0], early=1.0)) == 1
    assert coarse_calibrate_(observer, node, batches(5), 0.5) == 0
