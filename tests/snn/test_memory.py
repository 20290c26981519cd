"""What a simulation needs, and what is refused before anything is taken."""

from __future__ import annotations

import math

import pytest
import torch
from snn_reference import branching_network, readout, spiking_conv

from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.kernels.library import available
from spikedet.snn import IMAGE, Node, Simulation, SpikingNetwork, layer_rates, make_backend, memory, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native import layers
from spikedet.snn.memory import BASE, estimate_bytes, need
from spikedet.snn.operations import Upsample

every_backend = pytest.mark.parametrize(
    "name",
    [pytest.param("native", marks=pytest.mark.skipif(not available(), reason="no kernels here")), "torch"],
)
MIB = 2**20


def upsampled(factor: int, channels: int = 16) -> SpikingNetwork:
    """A map that grows by a factor, as a small file can ask for."""
    nodes = [
        Node("first", (IMAGE,), spiking_conv(3, channels)),
        Node("up", ("first",), Upsample(factor)),
        Node("wide", ("up",), spiking_conv(channels, channels)),
        Node("out", ("wide",), readout(channels)),
    ]
    return SpikingNetwork(nodes, ["out"], ["out"], torch.tensor([1.0]), 8)


@every_backend
def test_a_batch_that_cannot_fit_is_refused_before_it_is_taken(name: str) -> None:
    """10^9 images, of which there is one in memory."""
    network, images = branching_network(), torch.zeros(1, 3, 8, 6).expand(10**9, 3, 8, 6)
    backend = make_backend(network, name)  # type: ignore[arg-type]
    expected = (
        r"^simulating 1000000000 images of 8 x 6, 1 time steps together, needs \d+\.\d GiB \(\w+: \d+\.\d GiB\), "
        r"but \d+\.\d GiB are free; use a smaller --batch, chunk or image size$"
    )
    with pytest.raises(SpikedetError, match=expected):
        list(simulate(network, images, [4], backend=backend))


@every_backend
def test_a_network_that_cannot_fit_is_refused_by_the_name_of_its_layer(name: str) -> None:
    network, largest = upsampled(4096), {"native": "out", "torch": "wide"}[name]
    backend = make_backend(network, name)  # type: ignore[arg-type]
    with pytest.raises(SpikedetError, match=rf"\({largest}: \d+\.\d GiB\)"):
        layer_rates(network, torch.zeros(1, 3, 16, 16), 16, backend)


@every_backend
def test_a_chunk_that_cannot_fit_is_refused_before_its_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 300 * MIB)
    network, images = upsampled(4), torch.zeros(1, 3, 32, 32)
    backend = make_backend(network, name)  # type: ignore[arg-type]
    run = Simulation(network, images, 32767, [32767], backend)
    run.advance(2)
    with pytest.raises(SpikedetError, match=r", 30000 time steps together, needs .* but 0\.3 GiB are free"):
        run.advance(30000)
    assert run.clock == 2
    run.advance(1)


@every_backend
def test_what_fits_runs_and_what_is_free_is_asked_for_large_runs_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(memory, "free_bytes", lambda device: asked.append(device) or 2**40)
    network = branching_network()
    backend = make_backend(network, name)  # type: ignore[arg-type]
    list(simulate(network, torch.zeros(2, 3, 8, 6), [4], backend=backend))
    assert not asked
    monkeypatch.setattr(memory, "UNCHECKED", 0)
    list(simulate(network, torch.zeros(2, 3, 8, 6), [4], backend=backend))
    assert asked == 2 * [torch.device("cpu")]  # states, then the chunk


def test_states_by_hand() -> None:
    """Potentials of both layers, three copies of the first one's input, and two channels read out; a batch of 5."""
    network = upsampled(2)
    found = need(TorchBackend(network), (8, 6), 5, 3, 1.0)
    assert found.states == BASE + 4 * 5 * (16 * (4 * 8 * 6 + 16 * 12) + (16 + 2) * 16 * 12)


@every_backend
def test_the_estimate_grows_with_the_batch_and_the_chunk(name: str) -> None:
    backend = make_backend(upsampled(8), name)  # type: ignore[arg-type]
    sizes = [
        estimate_bytes(backend, (32, 32), batch, chunk) - BASE
        for batch, chunk in ((1, 1), (1, 4), (4, 4), (400, 4000), (400, None))
    ]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[4] < sizes[3]


@pytest.mark.skipif(not available(), reason="no kernels here")
def test_lists_of_a_call_in_parts_are_those_of_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has spikes and where each place begins, here of maps of 256 x 256 with 16 channels."""
    backend = make_backend(upsampled(8), "native")
    monkeypatch.setattr(layers, "LISTED", 3900 * 256 * 256 * 16)
    parts = need(backend, (32, 32), 1000, 4, 1.0)
    monkeypatch.setattr(layers, "LISTED", 2**60)
    whole = need(backend, (32, 32), 1000, 4, 1.0)
    assert (parts.largest, whole.largest) == ("wide", "wide")
    assert whole.chunk - parts.chunk == (4 * 1000 - 3900) * 4 * (256 * 257 + 256 * 256 * 16)
    assert whole.states == parts.states


@pytest.mark.skipif(not available(), reason="no kernels here")
@pytest.mark.parametrize("image_hw", [(32, 2**24), (2**14, 2**14)], ids=["wide", "large"])
def test_a_map_beyond_32_bits_is_refused_by_the_native_backend(image_hw: tuple[int, int]) -> None:
    backend = make_backend(upsampled(1), "native")
    node, layer = list(backend.network.spiking())[1]
    with pytest.raises(
        ConfigError, match=r"wide: an input map of \d+ x \d+ with 16 channels is too large.*--backend torch"
    ):
        backend.state(node, layer, 1, image_hw)
    assert math.prod(image_hw) * 16 >= 2**32


def test_more_steps_than_can_be_counted_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 32767 time steps can be simulated, got 32768"):
        Simulation(branching_network(), torch.zeros(1, 3, 8, 6), 32768, [1])
