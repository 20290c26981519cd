"""A checkpoint made fit to be given away: float16, no paths of this machine, evaluated as it is, with a model card."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.commands.evaluate import evaluate
from spikedet.common.digests import file_sha256
from spikedet.common.environment import versions
from spikedet.common.files import write_text
from spikedet.common.markdown import decimal, plain_text, table
from spikedet.config import (
    CalibrateConfig,
    ConvertConfig,
    EvaluateConfig,
    FinetuneConfig,
    JointConfig,
    LoopConfig,
    PublishConfig,
    TrainConfig,
)
from spikedet.costs.synapses import network_macs, readers
from spikedet.evaluation import ResultRow, markdown_table, write_results
from spikedet.inference.network import spiking_graph

logger = logging.getLogger("spikedet")

STAGE_CONFIGS: dict[str, type[LoopConfig | ConvertConfig | CalibrateConfig | JointConfig]] = {
    "train_before": TrainConfig,  # of a training that went on from another one's weights
    "train": TrainConfig,
    "finetune_before": FinetuneConfig,  # of a Stage I that went on after another one
    "finetune": FinetuneConfig,
    "sfa_before": FinetuneConfig,
    "clif_before": FinetuneConfig,
    "sfa": FinetuneConfig,  # fine-tuning by another method
    "clif": FinetuneConfig,
    "convert": ConvertConfig,
    "calibrate": CalibrateConfig,
    "joint": JointConfig,
}
LICENCE = (
    "AGPL-3.0-or-later, as spikedet and ultralytics, whose code made them; the training images have their own terms."
)
LIMITS = (
    "It knows the classes above and no others, and is as good as its AP says: a small network, trained on few "
    "images, for demonstration and comparison, not for decisions about people. It takes square letterboxed images "
    "of its own size; small objects are its weakest. Scores are not calibrated probabilities."
)


def publish(config: PublishConfig) -> list[Path]:
    """Write the weights and, beside them, a card ``NAME.md`` and its rows ``NAME.json``.

    The AP is that of the file that was written.

    Returns:
        The weights, the card and the rows.

    Raises:
        CheckpointError, ConfigError, DataError: see their messages.
    """
    tensors, meta = load_checkpoint(Path(config.checkpoint))
    data = meta.evaluation_data(config.data, config.split)  # the file that is written no longer knows the folder
    out = Path(config.out)
    cleaned = without_paths(meta)
    weights = save_checkpoint(out, tensors, cleaned, half=True)
    evaluated = EvaluateConfig(
        checkpoints=(str(weights),), data=data, split=config.split, t=config.t, out=config.results, resume=True
    )
    rows = evaluate(evaluated)
    size = weights.stat().st_size / 1e6
    tables = "\n\n".join([markdown_table(rows).rstrip(), by_class(rows[-1])])
    text = card(out.stem, cleaned, tables, size, cost(weights))
    facts = {"weights": weights.name, "sha256": file_sha256(weights), "versions": versions()}
    card_file = write_text(out.with_suffix(".md"), text)
    written = [weights, card_file, write_results(out.with_suffix(".json"), facts, rows)]
    logger.info(f"written: {', '.join(map(str, written))}")
    return written


def without_paths(meta: CheckpointMeta) -> CheckpointMeta:
    """The same metadata with the last part of every absolute path, and without the calibration's log."""
    cleaned = _without_paths(dataclasses.asdict(meta))
    cleaned["class_names"], cleaned["credits"] = meta.class_names, meta.credits
    cleaned["notes"] = {key: value for key, value in cleaned["notes"].items() if key != "layers"}
    cleaned["config"] = {
        stage: {key: value for key, value in settings.items() if key not in ("out", "checkpoint", "teacher")}
        for stage, settings in cleaned["config"].items()
    }
    return CheckpointMeta(**cleaned)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def cost(path: Path) -> str:
    """Parameters, and multiply-accumulates of the ANN at the network's input size."""
    network, meta = spiking_graph(path)
    macs = network_macs(network, (meta.image_size, meta.image_size))
    parameters = sum(module.weight.numel() + module.bias.numel() for _, module in readers(network))
    return f"{parameters / 1e6:.2f} M parameters, {macs / 1e9:.2f} G multiply-accumulates as an ANN"


def by_class(row: ResultRow) -> str:
    """A table of the row's AP by class, Markdown; empty where it has none."""
    if not row.per_class:
        return ""
    lines = [[plain_text(name), decimal(ap["AP"]), decimal(ap["AP50"])] for name, ap in row.per_class.items()]
    at = "" if row.t is None else f" at t = {row.t}"
    return f"By class{at}:\n\n{table(('class', 'AP50:95', 'AP50'), lines)}"


def card(name: str, meta: CheckpointMeta, results: str, megabytes: float, cost: str = "") -> str:
    """The model card, Markdown."""
    kinds = {"ann": "source ANN with clip activations", "qc": "QC-ANN (Stage I)"}
    kinds |= {"sfa": f"SFA network, integers of at most D = {meta.D}", "clif": "C-LIF network before conversion"}
    kind = kinds.get(meta.stage) or f"spiking network ({meta.neuron} neurons, T = {meta.T}), stage {meta.stage}"
    recipe = [f"- {stage}: {settings}" for stage in STAGE_CONFIGS if (settings := changed_settings(meta, stage))]
    recipe += [f"- weights: {meta.notes['weights']}"] if "weights" in meta.notes else []
    made = f"spikedet at {meta.versions.get('git', '-')}, torch {meta.versions.get('torch', '-')}"
    size = f"{meta.image_size} px, {megabytes:.1f} MB in float16{f'; {cost}' if cost else ''}"
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{plain_text(f'{meta.model}, {kind}')}; {size}.",
            "",
            f"- Classes: {plain_text(', '.join(meta.class_names))}.",
            plain_text(f"- Trained on: {Path(meta.data.get('data', '-')).name} {meta.data.get('split', '-')}."),
            plain_text(f"- Made with {made}."),
            f"- Licence: {LICENCE}",
            *(plain_text(f"- Trained from the weights of {notice}.") for notice in meta.credits),
            f"- Limits: {LIMITS}",
            "",
            "## Recipe",
            "",
            "Settings that differ from their defaults:",
            "",
            *map(plain_text, recipe),
            "",
            "## AP of this file",
            "",
            results,
        ]
    )


def changed_settings(meta: CheckpointMeta, stage: str) -> str:
    """The settings of a stage that differ from their defaults, as flags or keys; empty if the stage did not run."""
    if stage not in meta.config:
        return ""
    kind = STAGE_CONFIGS[stage]
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    hidden = {"out", "checkpoint", "data", "split", "resume", "teacher"}
    changed = {k: v for k, v in meta.config[stage].items() if k in defaults.keys() - hidden and v != defaults[k]}
    return " ".join(f"{kind.shown(key)} {value}" for key, value in changed.items()) or "defaults"
