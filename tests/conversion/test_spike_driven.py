"""Spike-driven inference of SFA networks: the same integers as in training; dyadic weights, so that all is exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_detectors import BOTTLENECK, LINEAR, STEM, Row, any_of, architecture, dyadic, dyadic_detector, logits
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta
from spikedet.commands.calibrate import calibrate
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import CalibrateConfig, Linear
from spikedet.conversion import load_spiking, save_spiking, to_spiking
from spikedet.models import ClipDetector, activations, as_qc
from spikedet.models.methods import with_method
from spikedet.quantization import ClippedReLU, IntegerActivation, Unclipped
from spikedet.snn import Backend, Node, Simulation, SpikingConv, SpikingNetwork, make_backend
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.operations import MaxPool
from spikedet.snn.recording import record_layer

BODIES: dict[str, tuple[Row, ...]] = {
    "plain": (STEM, [-1, 1, "Conv", [8, 3, 1]]),
    "residual": (STEM, [-1, 1, "Bottleneck", [8, True]], [-1, 1, "Conv", [8, 3, 2]]),
    "concatenation": (
        STEM,
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 0], 1, "Concat", [1]],
        [-1, 1, "C2f", [8, True]],
    ),
    "maximum": (
        STEM,
        [-1, 1, "nn.MaxPool2d", [3, 2, 1]],
        [-1, 1, "Conv", [8, 3, 1]],
        [[-1, 1], 1, "Add", []],
        [-1, 1, "nn.MaxPool2d", [2, 2, 0]],  # of a sum of two trains
        [-1, 1, "Conv", [8, 1, 1]],
    ),
    "pyramid": (STEM, [-1, 1, "SPPF", [8, 3]], [-1, 1, "Conv", [8, 3, 1]]),
    "linear": (STEM, [-1, 1, "Conv", [8, 1, 1]], *BOTTLENECK[:-1], [[-1, -4], 1, "Add", []], LINEAR),
    "averages": (STEM, [-1, 1, "Conv", [8, 3, 1]], [-1, 1, "nn.AvgPool2d", [2, 2, 0]], [-1, 1, "Conv", [8, 3, 1]]),
}


def detector(body: str, D: int, seed: int) -> ClipDetector:
    """Thresholds are D times a power of two, so that one spike of a real step is worth a power of two."""
    torch.manual_seed(seed)
    model = dyadic_detector(*BODIES[body])
    for _, activation in activations(model):
        activation.set_theta(D * any_of([0.25, 0.5, 1.0], activation.log_theta.numel()))
    return model


@pytest.fixture(autouse=True, scope="module")
def exact_thetas() -> Iterator[None]:
    """exp(log(theta)) is not always theta; here it is, for multiples of 1/4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClippedReLU, "theta", property(lambda self: (self.log_theta.exp() * 4).round() / 4))
        yield


def integer(model: ClipDetector, T: int, D: int, beta: float, linear: Linear = "spiking") -> ClipDetector:
    worth = next(activations(model))[1].worth
    meta = stored("plain", T * D, method="sfa", D=D, beta=beta, worth=worth, linear=linear)
    return with_method(model, replace(meta, stage="sfa")).eval()


def spiking(model: ClipDetector, T: int, D: int, beta: float, linear: Linear = "spiking") -> SpikingNetwork:
    leak = beta if T > 1 else 0.0
    return to_spiking(model, T * D, delay=D, group=D if T > 1 else 0, leak=leak, linear=linear)


@torch.no_grad()
def integers(model: ClipDetector, images: Tensor) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """S[t] of every activation by the name of its convolution, and the averaged raw outputs."""
    sent: dict[str, list[Tensor]] = {}

    def hook(name: str, activation: ClippedReLU, _: object, output: Tensor) -> None:
        assert isinstance(activation, IntegerActivation)
        spike = activation.worth * activation.theta / activation.D
        sent.setdefault(name, []).append((output / spike.view(1, -1, 1, 1)).round())

    for name, activation in activations(model):
        if not isinstance(activation, Unclipped):
            activation.register_forward_hook(partial(hook, name.removesuffix(".act")))
    return sent, model(images)[1]


@torch.no_grad()
def trains(network: SpikingNetwork, images: Tensor, backend: Backend, chunk: int) -> tuple[dict[str, Tensor], Tensor]:
    """Spike counts of every layer, ``[T D, N, C, H, W]`` in {-1, 0, 1}, and the reading at the end."""
    pieces: dict[str, list[Tensor]] = {}

    def watch(node: Node, piece: Tensor) -> None:
        if not isinstance(node.module, MaxPool):
            assert isinstance(node.module, SpikingConv)
            pieces.setdefault(node.name, []).append(torch.sign(piece))

    run = Simulation(network, images, network.T, [network.T], backend, watch)
    readings = []
    while run.clock < run.end:
        readings += run.advance(chunk)
    (reading,) = readings
    assert int(reading.spikes.sum()) == sum(int(p.abs().sum()) for ps in pieces.values() for p in ps)
    return {name: torch.cat(found) for name, found in pieces.items()}, reading


@pytest.mark.slow
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**20),
    body=st.sampled_from(sorted(BODIES)),
    T=st.integers(1, 4),
    D=st.integers(1, 8),
    beta=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    chunk=st.sampled_from([1, 3, 1000]),
    worth=st.sampled_from([1.0, 0.25]),
    linear=st.sampled_from(["spiking", "analog"]),
)
def test_spikes_are_the_integers(
    seed: int, body: str, T: int, D: int, beta: float, chunk: int, worth: float, linear: Linear
) -> None:
    model = detector(body, D, seed)
    for _, activation in activations(model):
        activation.let_be_worth_(worth)
    images = dyadic(2, 3, 16, 32, low=0)
    expected, maps = integers(integer(model, T, D, beta, linear), images)
    network = spiking(model, T, D, beta, linear)
    found, reading = trains(network, images, TorchBackend(network), chunk)
    assert found.keys() == expected.keys()
    for name, train in found.items():
        groups = train.unflatten(0, (T, D))
        assert torch.equal(groups.sum(1), torch.stack(expected[name])), name
        assert torch.equal(groups.abs(), groups.abs().sort(1, descending=True).values), name  # thermometer order
    boxes, classes = logits(network, reading.maps)
    for one, other in ((boxes, maps["boxes"]), (classes, maps["scores"])):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-5)  # means over steps that are not dyadic


def test_the_networks_are_worth_running() -> None:
    """All integers from 0 to D occur, membranes carry over, and negative spikes are among them."""
    for body in BODIES:
        model = detector(body, 3, 1)
        images = dyadic(2, 3, 32, 64, low=0)
        expected, _ = integers(integer(model, 3, 3, 0.25), images)
        seen = {int(v) for steps in expected.values() for step in steps for v in step.unique()}
        assert seen >= {0, 1, 2, 3}
        assert any(not torch.equal(steps[0], steps[1]) for steps in expected.values())
        assert (min(seen) < 0) == (body == "linear")


@pytest.mark.parametrize("body", sorted(BODIES))
def test_bits_and_dense_trains_are_the_same(body: str) -> None:
    for T, D in ((1, 4), (2, 3), (4, 1)):
        network, images = spiking(detector(body, D, 7), T, D, 0.25), dyadic(2, 3, 16, 32, low=0)
        backend = make_backend(network)
        found = Simulation(network, images, network.T, [D, network.T], backend)
        dense = Simulation(network, images, network.T, [D, network.T], TorchBackend(network))
        for one, other in zip(found.advance(1000), dense.advance(1000), strict=True):
            assert torch.equal(one.spikes, other.spikes)
            assert all(torch.equal(one.maps[name], other.maps[name]) for name in one.maps)


def test_at_one_real_step_the_network_is_a_qc_ann_with_delay() -> None:
    """The bridge: D levels, firing delay D, one engine."""
    model, D = detector("concatenation", 4, 3), 4
    images = dyadic(2, 3, 32, 64, low=0)
    as_sfa, qc = integer(model, 1, D, 0.25), as_qc(model, D).eval()
    assert torch.equal(as_sfa(images)[0], qc(images)[0])
    network = to_spiking(qc, D, delay=D)  # what any QC-ANN becomes with a delay
    same = spiking(model, 1, D, 0.25)
    assert all(torch.equal(value, network.tensors()[name]) for name, value in same.tensors().items())
    assert (same.group, same.T, same.latency(D)) == (0, D, network.latency(D))
    counts, _ = trains(network, images, TorchBackend(network), 1000)
    expected, _ = integers(as_sfa, images)
    assert all(torch.equal(train.sum(0), expected[name][0]) for name, train in counts.items())


def test_the_membrane_carries_over_by_hand() -> None:
    """One neuron, theta = 1 for one of D = 2 spikes, beta = 1/2, X = 0.75: U = 0.75, 0.625, 0.5625."""
    activation = IntegerActivation(1, theta=2.0, D=2, beta=0.5)
    x = torch.full((1, 1, 1, 1), 0.75)
    assert [activation(x).item() for _ in range(3)] == [1.0, 1.0, 1.0]
    assert float(activation.left) == 0.75 + 0.5 * (0.625 - 1.0) - 1.0  # type: ignore[arg-type]
    activation.reset()
    x = torch.full((1, 1, 1, 1), 4.0)  # more than D spikes can say: what is left stays
    assert [activation(x).item() for _ in range(2)] == [2.0, 2.0]
    assert float(activation.left) == 4.0 + 0.5 * 2.0 - 2.0  # type: ignore[arg-type]


def stored(body: str, T: int, **more: Any) -> CheckpointMeta:
    """Of a converted network of this body."""
    return CheckpointMeta(
        stage="copied",
        model="small",
        architecture=architecture(*BODIES[body]),
        class_names=("cell", "dot"),
        image_size=32,
        T=T,
        neuron="if",
        delay=4,
        **more,
    )


def test_groups_are_stored(tmp_path: Path) -> None:
    network = spiking(detector("residual", 4, 0), 2, 4, 0.25)
    meta = stored("residual", 8, method="sfa", D=4, beta=0.25)
    save_spiking(tmp_path / "copied.safetensors", network, meta)
    loaded, read = load_spiking(tmp_path / "copied.safetensors")
    assert (loaded.group, loaded.leak, read.format) == (4, 0.25, 3)
    save_spiking(tmp_path / "one.safetensors", spiking(detector("residual", 4, 0), 1, 4, 0.25), meta)
    assert load_spiking(tmp_path / "one.safetensors")[1].format == 2
    with pytest.raises(ConfigError, match="2 real time steps, whose membranes carry over"):
        calibrate(CalibrateConfig(checkpoint=str(tmp_path / "copied.safetensors")))


def test_groups_that_do_not_fit_the_steps_are_refused_when_read(tmp_path: Path) -> None:
    network = spiking(detector("plain", 4, 0), 2, 4, 0.25)
    meta = stored("plain", 6)
    save_spiking(tmp_path / "copied.safetensors", network, meta)
    with pytest.raises(CheckpointError, match="its graph is not valid: T = 6 and every firing delay"):
        load_spiking(tmp_path / "copied.safetensors")


def test_one_layer_is_recorded_group_by_group() -> None:
    model, images = detector("residual", 4, 2), dyadic(1, 3, 32, 64, low=0)
    expected, _ = integers(integer(model, 2, 4, 0.25), images)
    record = record_layer(spiking(model, 2, 4, 0.25), images, "model.2", 8)
    sent = record.spikes.unflatten(0, (3, 4)).sum(1)  # of the delay, and of two groups
    assert torch.equal(sent, torch.stack([torch.zeros_like(sent[0]), *(step[0] for step in expected["model.2"])]))
    assert record.potential.shape == record.spikes.shape


def test_groups_that_do_not_fit_are_refused() -> None:
    model = detector("plain", 4, 0)
    for T, delay in ((7, 4), (8, 2)):
        with pytest.raises(ValueError, match="groups of 4 steps"):
            to_spiking(model, T, delay=delay, group=4)
