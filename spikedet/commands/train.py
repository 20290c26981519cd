"""Source training: a detector with clip activations."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from spikedet.checkpoint import CheckpointMeta, is_foreign, read_meta
from spikedet.common.environment import seed_everything
from spikedet.common.errors import ConfigError
from spikedet.config import TrainConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.models import (
    ClipDetector,
    build_detector,
    fitted_levels,
    load_model_yaml,
    read_start,
    set_mean_square_best_thetas_,
    start_from_,
    with_copies,
)
from spikedet.models.extent import largest_stride
from spikedet.models.imported import SUFFIX
from spikedet.models.start import AUTO, NONE, fit_, normalized, starting_weights
from spikedet.training.run import (
    absolute,
    distillation,
    earlier_settings,
    method_facts,
    method_network,
    run_training,
    training_images,
)

logger = logging.getLogger("spikedet")

FITTING_IMAGES = 64
"""Training images on which thresholds and normalization of weights without thresholds are fitted."""


def train(config: TrainConfig) -> Path:
    """Train a source ANN with clip activations; returns ``OUT/ann.safetensors``.

    With another ``method`` activations fire from the first epoch on; returns ``OUT/sfa.safetensors``.
    """
    seed_everything(config.seed)
    given = None if config.weights in (AUTO, NONE) else _start(config.weights)
    dataset = load_dataset(
        config.data,
        config.split,
        strict=config.strict,
        skip_bad=config.skip_bad,
        layout=config.layout,
        fractions=config.fractions,
        trained=given.data if given else None,
    ).for_training()
    architecture = load_model_yaml(config.model, config.activation)
    start = starting_weights(config.weights, architecture)
    config = dataclasses.replace(config, weights=start or NONE)
    model = build_detector(architecture, dataset.class_names, theta=config.theta)
    if config.image_size % (stride := largest_stride(model.stride)):
        raise ConfigError(
            f"--image-size must be a multiple of the largest stride of {config.model}, {stride} px, "
            f"got {config.image_size}"
        )
    notices: tuple[str, ...] = ()
    if start:
        notices = _start_from(model, dataset, config)
    else:
        logger.info(f"{config.model}: trained from scratch")
    extra_losses = distillation(config, model, start)
    if config.copies > 1:
        model, architecture = with_copies(model.eval(), architecture, config.copies, config.D)
    before = _start(start)
    meta = CheckpointMeta(
        **({"stage": "ann"} if config.method == "conversion" else method_facts(config)),
        model=Path(config.model).stem,
        architecture=architecture,
        class_names=dataset.class_names,
        image_size=config.image_size,
        data=training_images(before, absolute(config.data), config.split, config, dataset),
        config={**earlier_settings(before, "train"), "train": config.recorded()},
        credits=notices,
        seed=config.seed,
    )
    stage = before.stage if before else "ann" if start else ""
    model = method_network(model, meta, dataset, config, start=stage)
    model.extra_losses = extra_losses
    return run_training(model, dataset, config, meta)


def _start_from(model: ClipDetector, dataset: DetectionDataset, config: TrainConfig) -> tuple[str, ...]:
    """Take over weights in place; thresholds and normalization are fitted where these come without thresholds.

    Returns:
        The notices of other projects whose weights these are.
    """
    path, images = Path(config.weights), dataset.draw(FITTING_IMAGES, config.seed)
    start = read_start(path)
    if is_foreign(path):
        start = normalized(start, images, config.image_size)
    taken = start_from_(model, start, path)
    classes = f"; output rows of {len(taken.classes)} of {len(dataset.class_names)} classes" if taken.classes else ""
    logger.info(f"starting from {path}: {taken.tensors} of {taken.of} tensors{classes} (--weights none: scratch)")
    integer = config.method == "sfa" and config.theta_levels > 0  # a clip's thresholds waste the few levels of D
    levels = fitted_levels(config.D) if integer else config.theta_levels
    if not taken.clipped and config.theta_levels:
        fit_(model, images, config.image_size, levels)
    elif integer:
        set_mean_square_best_thetas_(model, images, config.image_size, levels)
    return start.credits


def _start(weights: str) -> CheckpointMeta | None:
    """What is known of the weights that training starts from: nothing of those that are not spikedet's."""
    path = Path(weights)
    return read_meta(path) if weights and path.suffix != SUFFIX and not is_foreign(path) else None
