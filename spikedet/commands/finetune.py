"""Stage I: quantization-clip fine-tuning; or the training of firing activations that starts from an ANN."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.environment import seed_everything
from spikedet.common.errors import ConfigError
from spikedet.config import FinetuneConfig
from spikedet.data import load_for
from spikedet.models import (
    ClipDetector,
    activations,
    average_pools,
    build_detector,
    fitted_levels,
    load_ann,
    set_mean_square_best_thetas_,
    with_copies,
)
from spikedet.models.methods import unclip_linear_
from spikedet.training.run import (
    absolute,
    distillation,
    earlier_settings,
    goes_on,
    method_facts,
    method_network,
    run_training,
    training_images,
)
from spikedet.training.sparsity import FiringPenalty


def finetune(config: FinetuneConfig) -> Path:
    """Stage I: fine-tune a QC-ANN for ``config.T`` time steps; returns ``OUT/qc.safetensors``.

    With another ``method`` its activations are trained instead; returns ``OUT/sfa.safetensors``.
    """
    seed_everything(config.seed)
    source = Path(config.checkpoint)
    config = dataclasses.replace(config, out=config.out or str(source.parent), T=config.time_steps)
    model, meta = load_ann(source)
    stage = meta.stage
    if stage == "clif" and config.method != "clif":
        raise ConfigError(f"{source}: the weights of C-LIF neurons are not those of an ANN; give --method clif")
    if stage == "clif" and config.reset != meta.reset:
        raise ConfigError(f"{source}: its neurons have a {meta.reset} reset; give reset: {meta.reset}")
    levels = config.D if config.method == "sfa" else config.time_steps
    if config.pool == "average":
        model, meta = _average_pools(model, meta)
    data, split = meta.training_data(absolute(config.data), config.split)
    dataset = load_for(meta, data, split, config).for_training()
    unclip_linear_(model)
    recorded_as, facts = "finetune" if config.method == "conversion" else config.method, method_facts(config)
    if config.theta_images and config.method != "clif" and not goes_on(config, facts["stage"]):
        images = dataset.draw(config.theta_images, config.seed)
        set_mean_square_best_thetas_(model, images, meta.image_size, fitted_levels(levels))
    if config.copies > 1:
        model, architecture = with_copies(model, meta.architecture, config.copies, levels)
        meta = dataclasses.replace(meta, architecture=architecture)
    meta = meta.child(
        source,
        **facts,
        data=training_images(meta, data, split, config, dataset),
        config={**meta.config, **earlier_settings(meta, recorded_as), recorded_as: config.recorded()},
        seed=config.seed,
    )
    qc = method_network(model, meta, dataset, config, start=stage)
    extra_losses = distillation(config, qc, source)
    if config.sparsity:
        extra_losses["sparsity_loss"] = FiringPenalty(qc, config.sparsity, meta.image_size)
    qc.extra_losses = extra_losses
    return run_training(qc, dataset, config, meta)


def _average_pools(model: ClipDetector, meta: CheckpointMeta) -> tuple[ClipDetector, CheckpointMeta]:
    """The same network with average pooling in place of max-pooling layers; they have no weights."""
    architecture = average_pools(meta.architecture)
    made = build_detector(architecture, meta.class_names)
    for (_, old), (_, new) in zip(activations(model), activations(made), strict=True):
        new.set_theta(old.theta)
    made.load_state_dict(model.state_dict())
    return made.eval(), dataclasses.replace(meta, architecture=architecture)
