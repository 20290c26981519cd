"""Which backend is taken, what it says about that, and how far fast mode is from exact mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from snn_reference import branching_network, readout, spiking_conv
from torch import nn

from spikedet.common.errors import ConfigError
from spikedet.config import BackendName, Mode
from spikedet.kernels.library import available, library, outcome
from spikedet.snn import IMAGE, Node, SpikingNetwork, make_backend, simulate
from spikedet.snn.backends.dense import CHUNK, TorchBackend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.operations import AvgPool, Concat
from spikedet.snn.simulator import Readings

T = 8
native_only = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")


@pytest.fixture
def turned_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SPIKEDET_NATIVE", "0")
    outcome.cache_clear()
    yield
    outcome.cache_clear()


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast mode of torch as on a processor that multiplies it; emulated where this one does not."""
    monkeypatch.setattr("spikedet.snn.backends.dense.multiplies_bfloat16", lambda device: True)


def beside_the_image() -> SpikingNetwork:
    """A network that bits cannot express: spikes and the image are joined."""
    nodes = [
        Node("conv", (IMAGE,), spiking_conv(3, 3)),
        Node("both", (IMAGE, "conv"), Concat()),
        Node("box", ("both",), readout(6)),
        Node("class", ("conv",), readout(3)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), T)


def trained_network(seed: int) -> SpikingNetwork:
    """Weights as training leaves them, of no short binary form."""
    torch.manual_seed(seed)
    network = branching_network((0, 1, 0, 2), "signed")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


# --- the choice -----------------------------------------------------------------------------------------------------


@native_only
@pytest.mark.parametrize(("name", "why"), [("auto", "the fastest on a CPU"), ("native", "")])
def test_the_native_backend_is_taken_where_it_works(name: BackendName, why: str) -> None:
    backend = make_backend(branching_network(), name)
    assert isinstance(backend, NativeBackend)
    assert (backend.name, backend.why) == ("native", why)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_torch_is_taken_when_asked_for(mode: Mode) -> None:
    backend = make_backend(branching_network(), "torch", mode)
    assert isinstance(backend, TorchBackend)
    assert (backend.name, backend.why, backend.chunk(1)) == ("torch", "", CHUNK)


@pytest.mark.usefixtures("turned_off")
def test_auto_takes_torch_without_kernels_and_says_why() -> None:
    backend = make_backend(branching_network())
    assert isinstance(backend, TorchBackend)
    assert backend.why == "not native: turned off by SPIKEDET_NATIVE=0"


@pytest.mark.usefixtures("turned_off")
def test_native_without_kernels_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        make_backend(branching_network(), "native")
    assert str(caught.value) == "--backend native: turned off by SPIKEDET_NATIVE=0; use --backend torch"


@native_only
@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (None, "both joins spikes and a constant"),
        (
            nn.AvgPool2d(2, ceil_mode=True),
            "pool: average pooling whose divisor changes at borders has no form on packed spikes",
        ),
    ],
)
def test_networks_without_a_form_on_bits_run_on_torch(pool: nn.AvgPool2d | None, reason: str) -> None:
    network = beside_the_image() if pool is None else branching_network()
    if pool is not None:
        next(node for node in network.nodes if isinstance(node.module, AvgPool)).module.pool = pool
    backend = make_backend(network)
    assert (backend.name, backend.why) == ("torch", f"not native: {reason}")
    assert next(iter(simulate(network, torch.rand(1, 3, 8, 6), [2], backend=backend))).t == 2
    with pytest.raises(ConfigError, match=f"^--backend native: {reason}; use --backend torch$"):
        make_backend(network, "native")


@native_only
def test_what_the_native_backend_says_of_itself() -> None:
    ways = "event-driven or dense 8-bit" if library().spikedet_has_dense() else "event-driven"
    exact, fast = (str(make_backend(branching_network(), "native", mode)) for mode in ("exact", "fast"))
    assert exact == "native backend: event-driven, float32 weights, compiled for this processor"
    assert fast == f"native backend: {ways}, int8 weights, compiled for this processor"
    assert str(make_backend(branching_network())) == f"{exact} (the fastest on a CPU)"


@pytest.mark.parametrize(("hardware", "rounded"), [(True, "bfloat16"), (False, "float32")])
def test_what_the_torch_backend_says_of_itself(monkeypatch: pytest.MonkeyPatch, hardware: bool, rounded: str) -> None:
    monkeypatch.setattr("spikedet.snn.backends.dense.multiplies_bfloat16", lambda device: hardware)
    exact, fast = (str(make_backend(branching_network(), "torch", mode)) for mode in ("exact", "fast"))
    assert exact == "torch backend: dense convolutions in float32 on cpu"
    assert fast == f"torch backend: dense convolutions in {rounded} on cpu"


@pytest.mark.usefixtures("turned_off", "bfloat16")
def test_the_reason_is_said_too() -> None:
    said = str(make_backend(branching_network(), "auto", "fast"))
    assert said == "torch backend: dense convolutions in bfloat16 on cpu (not native: turned off by SPIKEDET_NATIVE=0)"


# --- the modes ------------------------------------------------------------------------------------------------------


def readings(network: SpikingNetwork, images: torch.Tensor, name: BackendName, mode: Mode) -> Readings:
    return next(iter(simulate(network, images, [T], backend=make_backend(network, name, mode))))


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=native_only)])
@pytest.mark.parametrize("seed", range(4))
def test_fast_mode_stays_close_to_exact_mode(name: BackendName, seed: int) -> None:
    """8 bits of mantissa (torch) or of each weight (native): spikes to 1 %, output layers to 5 % of their spread."""
    network = trained_network(seed)
    images = torch.rand(4, 3, 8, 6)
    exact, fast = (readings(network, images, name, mode) for mode in ("exact", "fast"))
    torch.testing.assert_close(fast.spikes, exact.spikes, rtol=0.01, atol=0)
    assert (exact.spikes > 1000).all()
    for key in ("box", "class"):
        assert (fast.maps[key] - exact.maps[key]).abs().mean() < 0.05 * exact.maps[key].std()


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=native_only)])
def test_fast_mode_does_round(name: BackendName) -> None:
    networks = [trained_network(seed) for seed in range(4)]
    images = torch.rand(4, 3, 8, 6)
    assert any(
        not torch.equal(readings(n, images, name, "exact").spikes, readings(n, images, name, "fast").spikes)
        for n in networks
    )


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("name", ["torch", pytest.param("native", marks=native_only)])
def test_readings_look_the_same_from_every_backend(name: BackendName, mode: Mode) -> None:
    network = trained_network(0)
    found = readings(network, torch.rand(2, 3, 8, 6), name, mode)
    expected = readings(network, torch.rand(2, 3, 8, 6), "torch", "exact")
    assert found.t == expected.t == T
    assert found.maps.keys() == expected.maps.keys()
    for key, logits in found.maps.items():
        assert logits.shape == expected.maps[key].shape
        assert logits.dtype == torch.float32
        assert logits.is_contiguous()
    assert found.spikes.shape == (2,)
    assert found.spikes.dtype == torch.float64


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_constant_beside_spikes_runs_in_both_modes(mode: Mode) -> None:
    """The image takes part in the join as it is, in 16 bits in fast mode."""
    torch.manual_seed(0)
    network = beside_the_image()
    images = torch.randint(0, 9, (2, 3, 6, 5)).float() / 8  # 16 bits are enough for eighths
    found, expected = (readings(network, images, "torch", m) for m in (mode, "exact"))
    for key in ("box", "class"):
        torch.testing.assert_close(found.maps[key], expected.maps[key], rtol=0, atol=1e-6)
