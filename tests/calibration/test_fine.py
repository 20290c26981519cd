"""Crops see exactly what the whole map sees; training never makes a layer worse and touches nothing it may not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from calibration_graphs import at, branching, dyadic, node_of, sample_images, settings
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.calibration.coarse import layer_outputs
from spikedet.calibration.fine import fine_calibrate_, firing, random_crop, receptive_field, trained_rates
from spikedet.calibration.observer import Observer, Region
from spikedet.snn import Node, Readout, SpikingConv, SpikingNetwork

TRAINING, HELD_OUT = [0, 1, 2, 3, 4, 5], [6, 7]
WHOLE = 100
sides = st.integers(1, 9)


def every_crop(map_hw: tuple[int, int]) -> Iterator[Region]:
    for top in range(map_hw[0]):
        for left in range(map_hw[1]):
            for height in range(1, map_hw[0] - top + 1):
                for width in range(1, map_hw[1] - left + 1):
                    yield slice(top, top + height), slice(left, left + width)


@given(st.tuples(sides, sides), st.sampled_from([1, 3]), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2))
def test_a_crop_of_the_output_needs_its_receptive_field(
    map_hw: tuple[int, int], k: int, stride: int, padding: int, dilation: int
) -> None:
    """For every crop: the convolution of the padded window equals the window of the whole convolution, to the bit."""
    assume(min(map_hw) + 2 * padding >= dilation * (k - 1) + 1)
    layer = SpikingConv(
        dyadic(2, 2, k, k),
        dyadic(2),
        torch.ones(2),
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(dilation, dilation),
    )
    maps = dyadic(1, 1, 2, *map_hw)
    with torch.no_grad():
        whole = layer.potential(maps)[0]
        for crop in every_crop((min(whole.shape[2], 5), min(whole.shape[3], 5))):
            (rows, columns), padded = receptive_field(crop, layer, map_hw)
            x = F.pad(maps[0][..., rows, columns], padded)
            part = F.conv2d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation)
            assert torch.equal(part, whole[..., *crop]), crop


def test_the_last_crop_of_a_large_map() -> None:
    layer = SpikingConv(dyadic(1, 1, 3, 3), dyadic(1), torch.ones(1), stride=(2, 1), padding=(1, 0))
    (rows, columns), padded = receptive_field((slice(4, 5), slice(2, 7)), layer, (9, 9))
    assert (rows, columns) == (slice(7, 9), slice(2, 9))
    assert padded == (0, 0, 0, 1)


@given(st.tuples(sides, sides), st.integers(1, 12), st.integers(0, 2**16))
def test_random_crops_lie_on_the_map(map_hw: tuple[int, int], side: int, seed: int) -> None:
    for length, span in zip(map_hw, random_crop(map_hw, side, torch.Generator().manual_seed(seed)), strict=True):
        assert span.stop - span.start == min(side, length)
        assert span.start >= 0 and span.stop <= length


def test_random_crops_reach_every_place() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = {(rows.start, columns.start) for rows, columns in (random_crop((4, 5), 3, generator) for _ in range(200))}
    assert seen == {(top, left) for top in range(2) for left in range(3)}


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("if", 2), ("signed", 0), ("signed", 1)])
@pytest.mark.parametrize("name", ["stem", "down", "last", "class"])
def test_the_rate_that_is_trained_is_the_rate_that_is_simulated(neuron: str, delay: int, name: str) -> None:
    torch.manual_seed(0)
    network = branching(neuron, delay)
    images = sample_images()
    observer, node = at(network, name, images), node_of(network, name)
    module = node.module
    assert isinstance(module, (SpikingConv, Readout))
    x = F.pad(observer.train(node.inputs[0], [0, 3]), (module.padding[1],) * 2 + (module.padding[0],) * 2)
    rates = trained_rates(module, x, network.T, settings(early=0.5), "fp32")
    expected = layer_outputs(observer, node, [0, 3], early=1.0)
    assert len(rates) == len(expected)
    assert all(map(torch.equal, rates, expected))


# --- training one layer ---------------------------------------------------------------------------------------------


def perturbed(name: str, by: float = 0.3, neuron: str = "if", delay: int = 0) -> tuple[SpikingNetwork, Observer, Node]:
    """The branching network with one layer's weights moved, the copied ones as the reference."""
    torch.manual_seed(0)
    reference = branching(neuron, delay)
    network = copy.deepcopy(reference)
    module = node_of(network, name).module
    with torch.no_grad():
        module.weight.add_(by * torch.randn_like(module.weight))  # type: ignore[union-attr, operator]
    return network, at(network, name, sample_images(8, 16), reference), node_of(network, name)


def error_on(observer: Observer, node: Node, indices: list[int]) -> float:
    return float((layer_outputs(observer, node, indices)[0] - observer.target(node, indices)).square().mean())


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("if", 1), ("signed", 0)])
@pytest.mark.parametrize("name", ["stem", "last", "class"])
def test_training_mends_a_layer_that_was_moved(name: str, neuron: str, delay: int) -> None:
    _, observer, node = perturbed(name, neuron=neuron, delay=delay)
    before, after, _ = fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(epochs=25, lr=0.05, patience=0))
    assert after < 0.5 * before


@pytest.mark.parametrize("name", ["stem", "last", "class"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_errors_reported_are_those_of_the_held_out_images_in_fp32(name: str, precision: Any) -> None:
    _, observer, node = perturbed(name)
    wrong = error_on(observer, node, HELD_OUT)
    config = settings(crop=WHOLE, epochs=5, lr=0.01, precision=precision)
    before, after, epochs = fine_calibrate_(observer, node, TRAINING, HELD_OUT, config)
    assert before == pytest.approx(wrong)
    assert after == pytest.approx(error_on(observer, node, HELD_OUT))
    assert after < before
    assert 0 < epochs <= 5


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_a_penalty_on_firing_trades_error_for_silence(neuron: str) -> None:
    rates, errors = [], []
    for sparsity in (0.0, 0.3):
        _, observer, node = perturbed("last", neuron=neuron)
        config = settings(epochs=25, lr=0.05, patience=0, crop=WHOLE, sparsity=sparsity)
        before, after, _ = fine_calibrate_(observer, node, TRAINING, HELD_OUT, config)
        assert after < before
        assert isinstance(node.module, SpikingConv)
        found = layer_outputs(observer, node, HELD_OUT)[0]
        rates.append(float(firing(node.module, found).mean()))
        errors.append(error_on(observer, node, HELD_OUT))
        assert after == pytest.approx(errors[-1] + sparsity * rates[-1])
    assert rates[1] < rates[0] and errors[1] > errors[0]


def test_spikes_on_time_are_bought_with_early() -> None:
    """The first half is better with its weight than without, and both count in what is reported."""
    halves = []
    for early in (0.0, 2.0):
        _, observer, node = perturbed("last")
        config = settings(epochs=25, lr=0.05, patience=0, crop=WHOLE, early=early)
        before, after, _ = fine_calibrate_(observer, node, TRAINING, HELD_OUT, config)
        assert after < before
        _, half = layer_outputs(observer, node, HELD_OUT, early=1.0)
        halves.append(float((half - observer.target(node, HELD_OUT)).square().mean()))
        assert after == pytest.approx(error_on(observer, node, HELD_OUT) + early * halves[-1])
    assert halves[1] < halves[0]


def test_firing_by_hand() -> None:
    """Thetas 1 and 2, mean square 2.5; rates 1/2 of each, one of them negative."""
    layer = SpikingConv(dyadic(2, 1, 1, 1), dyadic(2), torch.tensor([1.0, 2.0]), stride=(1, 1), padding=(0, 0))
    assert torch.equal(firing(layer, torch.tensor([0.5, -1.0]).view(1, 2, 1, 1)).flatten(), torch.full((2,), 1.25))
    readout = Readout(dyadic(2, 1, 1, 1), dyadic(2), stride=(1, 1), padding=(0, 0))
    assert not firing(readout, torch.ones(1, 2, 1, 1)).any()


@pytest.mark.parametrize("lr", [1.0, 1e30], ids=["too large", "not finite"])
@pytest.mark.parametrize("name", ["last", "class"])
def test_the_state_before_training_is_kept_where_nothing_was_better(name: str, lr: float) -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images(8)
    observer, node = at(network, name, images), node_of(network, name)
    kept, wrong = state(node.module), error_on(observer, node, HELD_OUT)
    before, after, epochs = fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(lr=lr, crop=WHOLE, epochs=4))
    assert before == after == pytest.approx(wrong)
    assert epochs == 4
    assert all(torch.equal(value, kept[key]) for key, value in node.module.state_dict().items())


@pytest.mark.parametrize("lr", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("name", ["skip", "deep", "box"])
def test_a_layer_never_gets_worse(name: str, lr: float) -> None:
    _, observer, node = perturbed(name, by=0.05)
    wrong = error_on(observer, node, HELD_OUT)
    before, after, _ = fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(lr=lr, crop=WHOLE))
    assert after <= before
    assert error_on(observer, node, HELD_OUT) <= wrong


def test_patience_ends_a_layer_early() -> None:
    torch.manual_seed(0)
    network = branching()
    observer, node = at(network, "last", sample_images(8)), node_of(network, "last")
    assert fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(lr=1e3, epochs=9, patience=2))[2] == 2


@pytest.mark.parametrize(
    ("weights", "potential", "moved"),
    [
        (True, True, {"weight", "bias", "u0"}),
        (True, False, {"weight", "bias"}),
        (False, True, {"u0"}),
        (False, False, set()),
    ],
)
def test_only_what_may_be_trained_moves(weights: bool, potential: bool, moved: set[str]) -> None:
    _, observer, node = perturbed("last")
    kept = state(node.module)
    config = settings(lr=5e-3, epochs=6, train_weights=weights, train_potential=potential)
    before, after, epochs = fine_calibrate_(observer, node, TRAINING, HELD_OUT, config)
    assert {name for name, value in node.module.state_dict().items() if not torch.equal(value, kept[name])} == moved
    assert (after < before, epochs > 0) == (bool(moved), bool(moved))


def test_a_read_out_has_no_potential_to_train() -> None:
    _, observer, node = perturbed("class")
    kept = state(node.module)
    before, after, epochs = fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(train_weights=False))
    assert before == after
    assert epochs == 0
    assert all(torch.equal(value, kept[name]) for name, value in node.module.state_dict().items())


def test_the_seed_decides_everything() -> None:
    states = []
    for seed in (1, 1, 2):
        _, observer, node = perturbed("last")
        torch.manual_seed(len(states))  # the global generator must not matter
        fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings(seed=seed, lr=5e-3, epochs=6))
        states.append(state(node.module))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["weight"], states[2]["weight"])


def test_the_network_around_the_layer_stays() -> None:
    network, observer, node = perturbed("last")
    kept = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("last")}
    fine_calibrate_(observer, node, TRAINING, HELD_OUT, settings())
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items() if name in kept)
