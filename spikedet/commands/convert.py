"""From a source checkpoint to a spiking network in one command: Stage I, conversion, Stage II and joint calibration."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from spikedet.calibration.waiting import spend_latency_
from spikedet.checkpoint import CheckpointMeta, read_meta
from spikedet.commands.calibrate import calibrate
from spikedet.commands.finetune import finetune
from spikedet.commands.joint import joint
from spikedet.common.digests import file_sha256
from spikedet.common.errors import ConfigError, ConversionError
from spikedet.config import SPIKING_STAGES, CalibrateConfig, ConvertConfig, FinetuneConfig, JointConfig
from spikedet.conversion import save_spiking, to_spiking
from spikedet.conversion.report import as_text, report
from spikedet.data import DetectionDataset, load_for
from spikedet.data.transforms import to_input
from spikedet.models import (
    fitted_levels,
    import_ultralytics,
    load_ann,
    set_largest_thetas_,
    set_mean_square_best_thetas_,
)
from spikedet.models.imported import SUFFIX
from spikedet.snn import SpikingNetwork
from spikedet.snn.operations import LinearConv

logger = logging.getLogger("spikedet")


def convert(config: ConvertConfig) -> list[Path]:
    """Convert a network; returns the checkpoints written, in order of the stages.

    ``OUT/qc.safetensors`` with ``finetune``, ``OUT/copied.safetensors`` always, ``OUT/coarse.safetensors`` and
    ``OUT/fine.safetensors`` with ``calibrate``, ``OUT/joint.safetensors`` with ``joint``.

    An ultralytics ``.pt`` file is read into ``OUT/ann.safetensors`` first. With ``dry_run`` nothing is written.

    Raises:
        ConversionError: a layer cannot spike.
        ConfigError: no T is known, or the baseline was asked for with a stage that is not in it.
    """
    if config.dry_run:
        dry_run(config)
        return []
    if config.method == "channel-norm" and (config.finetune or config.calibrate or config.joint):
        raise ConfigError(
            "--method channel-norm is the baseline without Stage I and II: drop --finetune, --calibrate and --joint"
        )
    source = Path(config.checkpoint)
    _require_trained(config, source)
    out = Path(config.out) if config.out else source.parent
    shared: dict[str, Any] = {name: getattr(config, name) for name in ("data", "split", "skip_bad", "resume", "seed")}
    shared["out"] = str(out)
    written = []
    if source.suffix == SUFFIX:
        source = import_ultralytics(source, out / "ann.safetensors")
        written.append(source)
    if config.finetune:
        stage1 = FinetuneConfig(
            checkpoint=str(source),
            T=_time_steps(config, read_meta(source).T),
            theta_images=config.theta_images,
            epochs=config.finetune_epochs,
            **shared,
        )
        source = finetune(stage1)
        written.append(source)
    copied = out / "copied.safetensors"
    before = file_sha256(copied) if copied.is_file() else None
    written.append(_copied(config, source, copied))
    if before not in (None, file_sha256(copied)):
        _say_replaced(copied, config)
    if config.calibrate:
        stage2 = CalibrateConfig(checkpoint=str(copied), images=config.images, epochs=config.epochs, **shared)
        written.extend(calibrate(stage2))
    if config.joint:
        last = JointConfig(checkpoint=str(written[-1]), epochs=config.joint_epochs, **shared)
        written.append(joint(last))
    return written


def _say_replaced(copied: Path, config: ConvertConfig) -> None:
    """Log that another network has taken the place of one, and which later stages of that one stay beside it."""
    anew = ("copied", *(("coarse", "fine") if config.calibrate else ()), *(("joint",) if config.joint else ()))
    later = [f"{stage}.safetensors" for stage in SPIKING_STAGES if stage not in anew]
    stale = [name for name in later if (copied.parent / name).is_file()]
    beside = f"; {', '.join(stale)} beside it came from the earlier one" if stale else ""
    logger.warning(f"{copied}: another network was here and is replaced{beside}")


def _require_trained(config: ConvertConfig, source: Path) -> None:
    """Raise ConfigError where a network that was trained as it spikes is asked for what only an ANN can become."""
    if source.suffix == SUFFIX:
        return
    meta = read_meta(source)
    asked = [f"--{name}" for name in ("finetune", "calibrate", "joint") if getattr(config, name)]
    asked += ["--method channel-norm"] * (config.method == "channel-norm")
    if asked and meta.stage == "clif":
        raise ConfigError(f"{source}: a C-LIF network was trained as it spikes; drop {' and '.join(asked)}")
    if config.latency and meta.method != "conversion":
        raise ConfigError(
            f"{source}: --latency has no effect on a network that was trained by {meta.method}; leave it out"
        )


def _copied(config: ConvertConfig, source: Path, path: Path) -> Path:
    """The network with copied weights, written to ``path``; with ``resume`` it stays where it is there already."""
    model, meta = load_ann(source)
    if meta.method == "sfa":
        config = _spike_driven(config, source, meta)
    T = _time_steps(config, meta.T)
    grouped = meta.method == "sfa" and meta.real_steps > 1
    baseline = config.method == "channel-norm"
    images, unseen, new_thetas = None, None, meta.stage == "ann" or baseline
    if config.theta_images and (new_thetas or config.latency):
        images, unseen = _drawn(config, meta)
    if new_thetas and images is not None:
        if baseline:
            set_largest_thetas_(model, images, meta.image_size)
        else:
            set_mean_square_best_thetas_(model, images, meta.image_size, fitted_levels(T))
    how = _network_settings(config)
    leak = meta.beta or 0.0 if grouped else 0.0
    network = to_spiking(model, T, **how, group=config.delay if grouped else 0, leak=leak)
    if baseline:
        for _, layer in network.spiking():
            layer.u0.data.zero_()
    if config.latency:
        _let_layers_wait_(network, unseen, meta.image_size, config)
    how |= {"neuron": network.neuron, "linear": "analog" if _analog_layers(network) else "spiking"}
    if network.neuron == "clif":
        how["max_pool"] = "or"
    meta = meta.child(
        source,
        stage="copied",
        T=T,
        **how,
        config={**meta.config, "convert": config.recorded()},
        notes={},
        seed=config.seed,
    )
    save_spiking(path, network, meta, keep=config.resume)
    neurons = f"{sum(1 for _ in network.spiking())} spiking layers, neuron {network.neuron}{_linear_layers(network)}"
    logger.info(f"{path}: {neurons}, delay {config.delay}, T = {T}, latency L = {network.latency(T)} steps")
    if network.depth > DEEP and network.neuron == "if" and network.latency(T) == T and not baseline:
        logger.warning(
            f"{path}: {network.depth} spiking layers lie one behind the other; plain IF neurons that do not wait fire "
            f"too early there and lose much AP. --neuron signed, --delay {T} or --latency lose less"
        )
    return path


def _drawn(config: ConvertConfig, meta: CheckpointMeta) -> tuple[DetectionDataset, DetectionDataset]:
    """Training images for thresholds, and as many for a choice, of which those that no training has seen come first."""
    data, split = meta.training_data(config.data, config.split)
    dataset = load_for(meta, data, split, config).for_training()
    held_out = meta.held_out(data, split)
    return dataset.draw(config.theta_images, config.seed), dataset.draw(config.theta_images, config.seed, held_out)


DEEP = 20
"""Spiking layers one behind the other from which plain IF lost half of its AP or more (docs/training-log.md)."""


def _let_layers_wait_(
    network: SpikingNetwork, images: DetectionDataset | None, image_size: int, config: ConvertConfig
) -> None:
    """Choose the layers that wait, in place, and name them. Raises ConfigError where there is nothing to choose."""
    if images is None:
        raise ConfigError("--latency needs training images to choose by, but --theta-images is 0; leave it out")
    if config.latency <= (least := network.latency(network.T)):
        raise ConfigError(f"--latency must be above the {least} steps that the network takes as it is")
    pixels = to_input([images.read_image(i) for i in range(len(images))], image_size)
    spent = spend_latency_(network, pixels, config.latency)
    logger.info("layers that wait: " + ", ".join(f"{name} {steps}" for name, steps in spent.items()))


def _network_settings(config: ConvertConfig) -> dict[str, Any]:
    """What a spiking network is made by, and its checkpoint says, but for T."""
    return {name: getattr(config, name) for name in ("neuron", "delay", "max_pool", "linear")}


def _spike_driven(config: ConvertConfig, source: Path, meta: CheckpointMeta) -> ConvertConfig:
    """The settings of spike-driven inference: sub-steps, and a firing delay of D, so that every layer waits.

    Raises:
        ConfigError: others were asked for.
    """
    D, T = meta.D or 1, meta.T or 1
    own = {"method": "two-stage", "neuron": "if", "max_pool": "count", "linear": "analog"}
    wrong = [name for name, value in own.items() if getattr(config, name) != value]
    wrong += ["T"] * (config.T not in (None, T)) + ["delay"] * (config.delay not in (0, D))
    if wrong:
        raise ConfigError(
            f"{source}: trained by sfa for {T // D} x {D} sub-steps of plain IF neurons that wait; leave --"
            f"{wrong[0].replace('_', '-')} at its default"
        )
    return dataclasses.replace(config, delay=D, T=T, linear=meta.linear)


def _analog_layers(network: SpikingNetwork) -> int:
    return sum(isinstance(node.module, LinearConv) for node in network.nodes)


def _linear_layers(network: SpikingNetwork) -> str:
    """How many linear layers there are and what became of them, in words; empty without any."""
    spiking = sum(layer.linear for _, layer in network.spiking())
    analog = _analog_layers(network)
    parts = [f"asymmetric in {spiking} linear ones"] * bool(spiking) + [f"{analog} linear ones without"] * bool(analog)
    return "".join(f", {part}" for part in parts)


def dry_run(config: ConvertConfig) -> None:
    """Print what would become of every layer. Raises ConversionError if one cannot spike."""
    lines = report(Path(config.checkpoint), **_network_settings(config), activation=config.activation)
    logger.info(as_text(lines))
    refused = [line.name for line in lines if not line.supported]
    if refused:
        named = ", ".join(refused[:5]) + (", ..." if len(refused) > 5 else "")
        raise ConversionError(f"{config.checkpoint}: {len(refused)} of {len(lines)} layers cannot spike: {named}")


def _time_steps(config: ConvertConfig, known: int | None) -> int:
    T = config.T or known
    if T is None:
        raise ConfigError(f"{config.checkpoint} is a source ANN: say for how many time steps, for example --T 8")
    return T
