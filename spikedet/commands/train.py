"""Source training and Stage I: two configurations of one loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from spikedet.checkpoint.metadata import CheckpointMeta, is_foreign, read_meta, save_checkpoint
from spikedet.common.digests import file_sha256, json_sha256
from spikedet.common.distributed import barrier, first_says, is_first
from spikedet.common.environment import seed_everything
from spikedet.common.errors import ConfigError
from spikedet.config import FinetuneConfig, LoopConfig, TrainConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.sources import is_synthetic
from spikedet.models import (
    ClipDetector,
    ExtraLoss,
    activations,
    as_clip,
    as_qc,
    average_pools,
    build_detector,
    fit_,
    load_ann,
    load_model_yaml,
    load_teacher,
    normalized,
    read_start,
    set_mean_square_best_thetas_,
    start_from_,
    starting_weights,
)
from spikedet.models.imported import SUFFIX
from spikedet.models.start import NONE
from spikedet.training.distillation import Distillation
from spikedet.training.loop import TrainingLoop
from spikedet.training.resuming import finished, interrupted_after, log_path, state_path
from spikedet.training.sparsity import FiringPenalty
from spikedet.training.spiking_forward import SpikingForward
from spikedet.visualization import plot_training

_MAY_CHANGE = frozenset(
    {"checkpoint", "teacher", "weights", "data", "split", "strict", "skip_bad", "device", "workers", "resume", "out"}
    | {"model", "activation", "epochs", "close_mosaic", "patience", "validate_every"}
)
"""Settings that a training which goes on may change; files and pictures count by what is in them."""


FITTING_IMAGES = 64
"""Training pictures on which thresholds and normalization of weights without thresholds are fitted."""


def train(config: TrainConfig) -> Path:
    """Train a source ANN with clip activations; returns ``OUT/ann.safetensors``."""
    seed_everything(config.seed)
    dataset = load_dataset(config.data, config.split, strict=config.strict, skip_bad=config.skip_bad)
    architecture = load_model_yaml(config.model, config.activation)
    start = starting_weights(config.weights, architecture)
    config = dataclasses.replace(config, weights=start or NONE)
    model = build_detector(architecture, dataset.class_names, theta=config.theta, theta_per=config.theta_per)
    notices: tuple[str, ...] = ()
    if start:
        notices = _start_from(model, dataset, config)
    else:
        print(f"{config.model}: trained from scratch", flush=True)
    model.extra_losses = _distillation(config, model, start)
    before = _start(start)
    meta = CheckpointMeta(
        stage="ann",
        model=Path(config.model).stem,
        architecture=architecture,
        class_names=dataset.class_names,
        image_size=config.image_size,
        data=_training_pictures(before, _absolute(config.data), config.split, config),
        config={**_earlier(before, "train"), "train": dataclasses.asdict(config)},
        credits=notices,
        seed=config.seed,
    )
    return _run(model, dataset, config, meta)


def _start_from(model: ClipDetector, dataset: DetectionDataset, config: TrainConfig) -> tuple[str, ...]:
    """Take over weights in place; thresholds and normalization are fitted where these come without thresholds.

    Returns:
        The notices of other projects whose weights these are.
    """
    path, pictures = Path(config.weights), dataset.draw(FITTING_IMAGES, config.seed)
    start = read_start(path)
    if is_foreign(path):
        start = normalized(start, pictures, config.image_size)
    taken = start_from_(model, start, path)
    classes = f"; output rows of {len(taken.classes)} of {len(dataset.class_names)} classes" if taken.classes else ""
    kept = ", the most important channels of a wider network" if taken.narrowed else ""
    print(
        f"starting from {path}{kept}: {taken.tensors} of {taken.of} tensors{classes} (--weights none: scratch)",
        flush=True,
    )
    if (taken.narrowed or not taken.clipped) and config.theta_levels:
        fit_(model, pictures, config.image_size, config.theta_levels)
    return start.credits


def finetune(config: FinetuneConfig) -> Path:
    """Stage I: fine-tune a QC-ANN for ``config.T`` time steps; returns ``OUT/qc.safetensors``."""
    seed_everything(config.seed)
    source = Path(config.checkpoint)
    config = dataclasses.replace(config, out=config.out or str(source.parent))
    model, meta = load_ann(source)
    if config.pool == "average":
        model, meta = _average_pools(model, meta)
    data, split = meta.training_data(_absolute(config.data), config.split)
    dataset = load_dataset(data, split, class_names=meta.class_names, strict=config.strict, skip_bad=config.skip_bad)
    if config.theta_images and not _goes_on(config, model):
        set_mean_square_best_thetas_(model, dataset.draw(config.theta_images, config.seed), meta.image_size, config.T)
    meta = meta.child(
        source,
        stage="qc",
        finetuned=True,
        T=config.T,
        data=_training_pictures(meta, data, split, config),
        config={**meta.config, **_earlier(meta, "finetune"), "finetune": dataclasses.asdict(config)},
        seed=config.seed,
    )
    qc = as_qc(model, config.T, config.noise)
    extra_losses = _distillation(config, qc, source)
    if config.sparsity:
        extra_losses["sparsity_loss"] = FiringPenalty(qc, config.sparsity, meta.image_size)
    qc.extra_losses = extra_losses
    if config.spiking_forward:
        SpikingForward(config.neuron, config.delay).attach(qc)
    return _run(qc, dataset, config, meta)


def _distillation(config: LoopConfig, model: ClipDetector, start: Path | str) -> dict[str, ExtraLoss]:
    """The loss against the teacher, by name, if there is one. Raises ConfigError if it cannot teach this network."""
    if not config.distill:
        return {}
    if not (config.teacher or start):
        raise ConfigError("--distill needs a --teacher where training starts from no weights")
    teacher = load_teacher(Path(config.teacher or start), model)
    return {"distill_loss": Distillation(teacher, config.distill)}


def _goes_on(config: FinetuneConfig, model: ClipDetector) -> bool:
    """Whether a state will bring its own thresholds, of the shapes that these have: one per channel."""
    kept = config.resume and state_path(config, "qc").exists()
    return first_says(kept) and all(activation.theta.numel() > 1 for _, activation in activations(model))


def _start(weights: str) -> CheckpointMeta | None:
    """What is known of the weights that training starts from: nothing of those that are not spikedet's."""
    path = Path(weights)
    return read_meta(path) if weights and path.suffix != SUFFIX and not is_foreign(path) else None


def _earlier(before: CheckpointMeta | None, stage: str) -> dict[str, Any]:
    """The settings of the same stage that a network has been through already, for its successor's metadata."""
    return {f"{stage}_before": before.config[stage]} if before and stage in before.config else {}


def _training_pictures(before: CheckpointMeta | None, data: str, split: str, config: LoopConfig) -> dict[str, Any]:
    """``CheckpointMeta.data``: what is held out is, where possible, what the training ``before`` held out too."""
    unseen, seed = (before and before.held_out(data, split)) or (1.0, config.seed)
    return {"data": data, "split": split, "held_out": min(unseen, config.held_out), "seed": seed}


def _average_pools(model: ClipDetector, meta: CheckpointMeta) -> tuple[ClipDetector, CheckpointMeta]:
    """The same network with average pooling in place of max-pooling layers; they have no weights."""
    architecture = average_pools(meta.architecture)
    made = build_detector(architecture, meta.class_names)
    for (_, old), (_, new) in zip(activations(model), activations(made), strict=True):
        new.set_theta(old.theta)
    made.load_state_dict(model.state_dict())
    return made.eval(), dataclasses.replace(meta, architecture=architecture)


def _run(model: ClipDetector, dataset: DetectionDataset, config: LoopConfig, meta: CheckpointMeta) -> Path:
    path, identity = Path(config.out) / f"{meta.stage}.safetensors", made_for(config, meta, dataset)
    if first_says(finished(config, meta.stage, identity) and path.exists()):
        print(f"{path}: already trained to epoch {config.epochs}", flush=True)
        return path
    if is_first() and (done := interrupted_after(config, meta.stage)):
        print(f"{path}: the training interrupted after epoch {done} begins anew; --resume would go on", flush=True)
    rest, held_out = dataset.hold_out(config.held_out, meta.data["seed"])
    print(f"{meta.model}: {len(rest)} pictures to train on, {len(held_out)} held out, output {path}", flush=True)

    def save(network: ClipDetector, measures: dict[str, float]) -> None:
        clip = as_clip(network)
        save_checkpoint(path, clip.state_dict(), dataclasses.replace(meta, notes={"held_out": measures}))

    TrainingLoop(model, rest, held_out, config, meta.image_size, save, meta.stage, identity).run()
    if is_first():
        plot_training(log_path(config, meta.stage), path.with_name(f"{meta.stage}-training.png"))
    barrier()
    return path


def made_for(config: LoopConfig, meta: CheckpointMeta, dataset: DetectionDataset) -> dict[str, Any]:
    """What a state must have been trained for to be gone on from: network, pictures, settings; not for how long."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _MAY_CHANGE}
    files = {name: getattr(config, name, "") for name in ("checkpoint", "teacher", "weights")}
    named = {name: Path(path) for name, path in files.items() if path not in ("", NONE)}
    digests = {f"sha256 of the {name}": file_sha256(path) for name, path in named.items()}
    contents = {"layers of the model": meta.architecture, "list of pictures": dataset.picture_facts()}
    digests |= {f"sha256 of the {name}": json_sha256(content) for name, content in contents.items()}
    return {**settings, "classes": list(meta.class_names), **digests}


def _absolute(data: str) -> str:
    """Paths are kept absolute so that later stages find the data from any folder; set names stay as they are."""
    return str(Path(data).resolve()) if data and not is_synthetic(data) else data
