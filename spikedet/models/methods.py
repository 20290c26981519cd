"""The network that a training method trains: activations that fire, run over real time steps."""

from __future__ import annotations

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ConfigError
from spikedet.models.architecture import has_leaky_activations
from spikedet.models.builder import ClipDetector, as_qc, over_time, replace_activations_
from spikedet.quantization import ClippedReLU, IntegerActivation, Unclipped
from spikedet.snn import CurrentLIF


def with_method(model: ClipDetector, meta: CheckpointMeta, *, noise: float = 0.0) -> ClipDetector:
    """A copy with the activations that a checkpoint's stage has, at the same weights and thetas.

    Args:
        model: the clip ANN, or of stage clif the network itself.
        meta: its stage, T, method and the settings of the method; where linear is ``analog``, convolutions without
            activation have neither clip nor levels.
        noise: quantization noise of a QC-ANN in training.

    Raises:
        ConfigError: C-LIF neurons for LeakyReLU, or for outputs of another worth.
    """
    if meta.stage in ("qc", "sfa"):
        assert meta.T is not None
        made = as_qc(model, meta.T, noise) if meta.stage == "qc" else _with_integers(model, meta)
        return unclip_linear_(made) if meta.linear == "analog" else made
    if meta.stage == "clif":
        if has_leaky_activations(meta.architecture):
            raise ConfigError("C-LIF neurons send no negative spikes; take --activation clip instead of LeakyReLU")
        if meta.worth != 1:
            raise ConfigError("spikes of C-LIF neurons are worth theta, those of this network theta / D; train another")
        return over_time(model, meta.real_steps, lambda old: CurrentLIF.from_clip(old, reset_rule=meta.reset))
    return model


def _with_integers(model: ClipDetector, meta: CheckpointMeta) -> ClipDetector:
    """A copy whose activations are those of SFA."""
    steps, D = meta.real_steps, meta.D or 1
    beta = meta.beta or 0.0 if steps > 1 else 0.0  # nothing is left of a membrane where no step follows
    return over_time(
        model, steps, lambda old: IntegerActivation.from_clip(old, D=D, beta=beta).let_be_worth_(meta.worth)
    )


def unclip_linear_(model: ClipDetector) -> ClipDetector:
    """Take clip and levels from convolutions without activation, in place; their thetas stay. Returns the model."""
    replace_activations_(model, ClippedReLU, lambda old, _: Unclipped.from_clip(old) if old.slope == 1 else old)
    return model
