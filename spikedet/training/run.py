"""One training run, whatever it trains: what it is made for, what it holds out, what it writes."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.checkpoint.metadata import TrainingImages
from spikedet.common.counts import counted
from spikedet.common.digests import file_sha256, json_sha256
from spikedet.common.distributed import barrier, first_says, is_first
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json
from spikedet.config import LoopConfig
from spikedet.data import DetectionDataset
from spikedet.data.division import digest
from spikedet.data.sources import is_synthetic
from spikedet.models import ClipDetector
from spikedet.models.builder import ExtraLoss
from spikedet.models.leaky_start import fit_leaky_
from spikedet.models.methods import with_method
from spikedet.models.start import NONE, load_teacher, normalize_
from spikedet.training.distillation import Distillation
from spikedet.training.loop import TrainingLoop
from spikedet.training.resuming import finished, interrupted_after, log_path, state_path
from spikedet.visualization.training import plot_training

logger = logging.getLogger("spikedet")

_MAY_CHANGE = frozenset(
    {"checkpoint", "teacher", "weights", "data", "split", "layout", "fractions", "strict", "skip_bad", "model", "out"}
    | {"activation", "epochs", "close_mosaic", "patience", "validate_every", "device", "workers", "resume"}
)
"""Settings that a training which goes on may change; files and images count by what is in them."""


def run_training(model: ClipDetector, dataset: DetectionDataset, config: LoopConfig, meta: CheckpointMeta) -> Path:
    path, identity = Path(config.out) / f"{meta.stage}.safetensors", made_for(config, meta, dataset)
    if first_says(finished(config, meta.stage, identity) and path.exists()):
        logger.info(f"{path}: already trained to epoch {config.epochs}")
        return path
    if is_first() and (done := interrupted_after(config, meta.stage)):
        logger.info(f"{path}: the training interrupted after epoch {done} begins anew; --resume would go on")
    rest, held_out = dataset.hold_out(config.held_out, meta.data["seed"])
    if dataset.division is not None and is_first():
        write_json(Path(config.out) / "split.json", dataset.division)
    logger.info(f"{meta.model}: {counted(len(rest), 'image')} to train on, {len(held_out)} held out, output {path}")

    def save(network: ClipDetector, measures: dict[str, float]) -> None:
        save_checkpoint(path, network.state_dict(), dataclasses.replace(meta, notes={"held_out": measures}))

    TrainingLoop(model, rest, held_out, config, meta.image_size, save, meta.stage, identity).run()
    if is_first():
        plot_training(log_path(config, meta.stage), path.with_name(f"{meta.stage}-training.png"))
    barrier()
    return path


def made_for(config: LoopConfig, meta: CheckpointMeta, dataset: DetectionDataset) -> dict[str, Any]:
    """What a state must have been trained for to be gone on from: network, images, settings; not for how long."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _MAY_CHANGE}
    files = {name: getattr(config, name, "") for name in ("checkpoint", "teacher", "weights")}
    named = {name: Path(path) for name, path in files.items() if path not in ("", NONE)}
    digests = {f"sha256 of the {name}": file_sha256(path) for name, path in named.items()}
    contents = {"layers of the model": meta.architecture, "images and boxes": dataset.image_facts()}
    digests |= {f"sha256 of the {name}": json_sha256(content) for name, content in contents.items()}
    return {**settings, "classes": list(meta.class_names), **digests}


def distillation(config: LoopConfig, model: ClipDetector, start: Path | str) -> dict[str, ExtraLoss]:
    """The loss against the teacher, by name, if there is one. Raises ConfigError if it cannot teach this network."""
    if not config.distill:
        return {}
    if not (config.teacher or start):
        raise ConfigError("--distill needs a --teacher where training starts from no weights")
    teacher = load_teacher(Path(config.teacher or start), model)
    return {"distill_loss": Distillation(teacher, config.distill)}


def training_images(
    before: CheckpointMeta | None, data: str, split: str, config: LoopConfig, dataset: DetectionDataset
) -> TrainingImages:
    """``CheckpointMeta.data``: what is held out is, where possible, what the training ``before`` held out too."""
    unseen, seed = (before and before.held_out(data, split)) or (1.0, config.seed)
    facts: TrainingImages = {"data": data, "split": split, "held_out": min(unseen, config.held_out), "seed": seed}
    same = before is not None and Path(before.data.get("data", "")).name == Path(data).name
    if layout := config.layout or (before.data.get("layout", "") if before and same else ""):
        facts["layout"] = layout
    if dataset.division is not None:
        facts["parts"] = {part: [digest(name) for name in dataset.division[part]] for part in ("val", "test")}
    return facts


def method_facts(config: LoopConfig) -> dict[str, Any]:
    """What a checkpoint says of its training method: stage, method, T and settings; Stage I's for conversion."""
    facts: dict[str, Any] = {"method": config.method, "T": config.time_steps, "linear": "analog"}
    facts |= {"D": None, "beta": None}
    if config.method == "conversion":
        return {**facts, "stage": "qc", "finetuned": True}
    if config.method == "sfa":
        facts |= {"T": config.time_steps * config.D, "D": config.D, "beta": config.beta}
        facts |= {"worth": 1 / config.D} if config.worth == "theta/D" else {}  # else as it was
    if config.method == "clif":
        facts["reset"] = config.reset
    return {**facts, "stage": config.method}


FITTED_MAPS = 64
"""Training images times time steps on which a C-LIF network is fitted to its ANN."""


def method_network(
    model: ClipDetector, meta: CheckpointMeta, dataset: DetectionDataset, config: LoopConfig, *, start: str = ""
) -> ClipDetector:
    """The network that a method trains.

    Args:
        model: the clip ANN; of a training that goes on with a C-LIF network, that network.
        meta: of the checkpoint to come.
        dataset: to be trained on; neurons of clif are fitted to the ANN on some of its images.
        config: settings of the training.
        start: stage of the weights that ``model`` has; empty for none.
    """
    made = with_method(model, meta, noise=getattr(config, "noise", 0.0))
    if meta.stage == "clif" and start != "clif" and not goes_on(config, meta.stage):
        images = dataset.draw(max(min(32, FITTED_MAPS // config.time_steps), 2), config.seed)
        if not start:
            normalize_(model, images, meta.image_size)
            made = with_method(model, meta)
        fit_leaky_(made, model, images, meta.image_size)
    return made


def goes_on(config: LoopConfig, stage: str) -> bool:
    """Whether a state will bring its own thresholds."""
    return first_says(config.resume and state_path(config, stage).exists())


def earlier_settings(before: CheckpointMeta | None, stage: str) -> dict[str, Any]:
    """The settings of the same stage that a network has been through already, for its successor's metadata."""
    if before is None or stage not in before.config:
        return {}
    settings, older = before.config[stage], before.config.get(f"{stage}_before", {})
    copies = {"copies": settings["copies"] * older.get("copies", 1)} if "copies" in settings else {}  # of all before
    return {f"{stage}_before": {**settings, **copies}}


def absolute(data: str) -> str:
    """Paths are kept absolute so that later stages find the data from any folder; set names stay as they are."""
    return str(Path(data).resolve()) if data and not is_synthetic(data) else data
