"""Which backend simulates a network here."""

from __future__ import annotations

from spikedet.common.errors import ConfigError
from spikedet.config import BackendName, Mode
from spikedet.kernels.library import NativeUnavailable
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.network import SpikingNetwork


def make_backend(network: SpikingNetwork, name: BackendName = "auto", mode: Mode = "exact") -> Backend:
    """A backend for this network on the device its weights are on; ``str()`` of it says what was chosen and why.

    Args:
        network: converted network; its weights are read now.
        name: ``auto`` takes the native backend where it works.
        mode: ``exact`` (float32; two backends may differ by rounding, which can move a spike) or ``fast``.

    Raises:
        ConfigError: the native backend was asked for and cannot work here; the message says why.
    """
    if name == "torch":
        return TorchBackend(network, mode)
    try:
        backend: Backend = NativeBackend(network, mode)
        backend.why = "" if name == "native" else "the fastest on a CPU"
    except NativeUnavailable as error:
        if name == "native":
            raise ConfigError(f"--backend native: {error}; use --backend torch") from error
        backend = TorchBackend(network, mode)
        backend.why = f"not native: {error}"
    return backend
