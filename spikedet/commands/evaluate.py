"""AP by time step of a chain of networks: ANN, QC-ANN, SNN with copied weights and calibrated."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta, require_same_classes
from spikedet.checkpoint.ancestry import lineage, with_parents
from spikedet.common.counts import counted
from spikedet.common.distributed import first_says, gather_arrays, is_first
from spikedet.common.environment import run_facts
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_text
from spikedet.common.objects import known_by_name
from spikedet.common.progress import track
from spikedet.config import EvaluateConfig, Stage, parse_time_steps
from spikedet.costs.counts import operation_counts
from spikedet.data import DetectionDataset, is_synthetic, load_for
from spikedet.detections import Detections
from spikedet.evaluation import ResultRow, markdown_table, measure, paired_loss, resample, write_results
from spikedet.evaluation.archive import Predicted, archive_key, load_predicted, save_predicted
from spikedet.evaluation.bootstrap import Resampled
from spikedet.evaluation.origins import relative_name
from spikedet.evaluation.predict import predict_dataset
from spikedet.inference.exported import ExportedNetwork, exported_networks
from spikedet.inference.network import ANN_STEP, Network, checkpoint_sha256, load_network, network_names
from spikedet.models import has_leaky_activations, has_max_pools
from spikedet.models.start import NONE
from spikedet.visualization.curves import plot_ap_by_t

logger = logging.getLogger("spikedet")


@dataclass(frozen=True)
class Evaluated:
    """One network read out at one time step: its row, still without loss, and its detections."""

    row: ResultRow
    detections: list[Detections]

    @property
    def ap(self) -> float:
        """AP50:95 in percent, 0 where it is undefined."""
        return self.row.AP or 0.0


def evaluate(config: EvaluateConfig, *, chain: bool = True) -> list[ResultRow]:
    """Evaluate checkpoints and the networks they came from; writes ``results.json``, ``table.md`` and ``ap_by_t.png``.

    Without ``chain``, of the networks they came from the ANNs alone are evaluated. The operations of spiking networks
    are counted in the same run over the images.

    The conversion loss of a row is the better of (source ANN, clip ANN with Stage I's weights), among the networks
    evaluated, minus the row, in points of AP50:95, with a paired bootstrap interval.

    Under torchrun the images are shared out; the first process alone writes, and has rows to return.

    Raises:
        CheckpointError, DataError, ConfigError: see their messages.
    """
    evaluation = evaluate_all(config, chain=chain)
    if not is_first():
        return []
    evaluated, dataset, digests = evaluation.evaluated, evaluation.dataset, evaluation.digests
    rows = make_rows(evaluated, dataset, config, evaluation.parents)
    out = Path(config.out)
    meta = {
        **run_facts(config),
        "seed": config.seed,
        "checkpoints": {relative_name(path, out): digest for path, digest in digests.items()},
        "data": evaluation.data if is_synthetic(evaluation.data) else relative_name(Path(evaluation.data), out),
        "data_key": archive_key(dataset),
    }
    if config.limit:
        meta["images"] = [sample.image_id for sample in dataset.samples]
    write_results(out / "results.json", meta, rows)
    table = markdown_table(rows)
    write_text(out / "table.md", table)
    plot_ap_by_t(rows, out / "ap_by_t.png")
    logger.info(table)
    logger.info(f"written: results.json, table.md and ap_by_t.png in {out}")
    return rows


@dataclass(frozen=True)
class Evaluation:
    """All networks of an evaluation, evaluated.

    Attributes:
        data: the dataset's path, or ``synthetic`` with its settings.
        dataset: the images.
        digests: of the checkpoints, in the order they were evaluated.
        evaluated: one for each network and time step; in the first process alone under torchrun.
        parents: by the digest of every checkpoint of the chain, that of the one it was made from.
    """

    data: str
    dataset: DetectionDataset
    digests: dict[Path, str]
    evaluated: list[Evaluated]
    parents: dict[str, str | None]


def evaluate_all(config: EvaluateConfig, *, chain: bool = True) -> Evaluation:
    """Every network that the checkpoints represent, at every time step. Raises as ``evaluate``."""
    with known_by_name(exported_networks(config.checkpoints, config)):
        first = read_meta(expand(config.checkpoints)[0])
        data = first.evaluation_data(config.data, config.split)
        return evaluate_on(load_for(first, data, config.split, config), data, config, chain=chain)


def evaluate_on(dataset: DetectionDataset, data: str, config: EvaluateConfig, *, chain: bool = True) -> Evaluation:
    """Every network that the checkpoints represent on these images."""
    asked = expand(config.checkpoints)
    paths = with_parents(asked)
    require_same_classes(paths, asked[0], "evaluate")
    digests = {path: checkpoint_sha256(path) for path in paths}
    parents = {digest: parent_of(read_meta(path)) for path, digest in digests.items()}
    if not chain:
        digests = {path: digests[path] for path in paths if path in asked or not read_meta(path).spiking}
    evaluated: list[Evaluated] = []
    for path, digest in digests.items():
        for name in network_names(path):
            network = load_network(path, config, name)
            started = time.perf_counter()
            found = evaluate_network(name, network, digest, dataset, config)
            evaluated.extend(found)
            logger.info(f"{name} on {counted(len(dataset), 'image')} in {time.perf_counter() - started:.1f} s")
            for result in found:
                spent = result.row.spikes_per_image
                spikes = f", {spent:.3g} spikes an image" if spent else ""
                logger.info(f"{name}, t = {result.row.t or '-'}: AP50:95 {result.ap:.1f}{spikes}  ({path})")
    return Evaluation(data, dataset, digests, evaluated, parents)


def expand(checkpoints: Sequence[str]) -> list[Path]:
    """Files as they are; a folder represents every network directly in it (training states are not networks)."""
    found: list[Path] = []
    for text in checkpoints:
        path = Path(text)
        inside = [path / f"{stage}.safetensors" for stage in get_args(Stage)]
        if path.is_dir() and not any(p.exists() for p in inside):
            raise ConfigError(f"{path}: no checkpoint in this folder; expected {', '.join(p.name for p in inside)}")
        found.extend([p for p in inside if p.exists()] if path.is_dir() else [path])
    if not found:
        raise ConfigError("say which checkpoints to evaluate: files or folders")
    return found


def evaluate_network(
    name: str, network: Network, digest: str, dataset: DetectionDataset, config: EvaluateConfig
) -> list[Evaluated]:
    """Detections and AP of one network at every time step, from one run over the images or an earlier one."""
    asked = parse_time_steps(config.t)
    steps = network.steps(asked)
    if network.meta.spiking and (beyond := sorted(set(asked) - set(steps))):
        at = ", ".join(map(str, beyond))
        logger.info(f"{name}: t = {at} left out, its T is {network.meta.T} and it is read at {steps}")
    if not steps:
        return []
    facts = {"checkpoint": digest, "network": name, "t": steps, "mode": config.mode, "backend": config.backend}
    kept = Path(config.detections or Path(config.out) / "detections") / f"{name}-{archive_key(dataset, **facts)}"
    kept = kept.with_suffix(".safetensors")
    predicted = load_predicted(kept, len(dataset)) if config.resume else None
    if not first_says(predicted is not None):
        logger.info(f"{name}: {network.describe(config.batch)}")
        predicted = predict(name, network, dataset, steps, config.batch)
        if is_first():
            save_predicted(kept, predicted)
    if predicted is None or not is_first():
        return []
    results = []
    for t, detections in predicted.detections.items():
        row = ResultRow(
            **made_by(network.meta, name, digest),
            operations=predicted.operations.get(t),
            t=(network.meta.T if name != "ann" else None) if t == ANN_STEP else t,
            L=network.latency(t),
            spikes_per_image=predicted.spikes.get(t),
            data=Path(dataset.name).name,
            split=dataset.split,
            images=len(dataset),
            **vars(measure(dataset, detections)),
        )
        results.append(Evaluated(row, detections))
    return results


def predict(name: str, network: Network, dataset: DetectionDataset, steps: Sequence[int], batch: int) -> Predicted:
    """One run over the images: detections, and what spikes do meanwhile."""
    operations_seen: list[Tensor] = []
    spikes_seen: dict[int, list[Tensor]] = {t: [] for t in steps}

    def forward(images: Tensor) -> dict[int, Tensor]:
        predictions = network(images, steps, count_sops=True)
        if (operations := predictions[max(predictions)].operations) is not None:
            operations_seen.append(operations)
        for t, prediction in predictions.items():
            spikes_seen[t] += [] if prediction.spikes is None else [prediction.spikes]
        return {t: prediction.decoded for t, prediction in predictions.items()}

    label = f"{name} on {counted(len(dataset), 'image')}"
    found = predict_dataset(forward, dataset, network.meta.image_size, batch, lambda batches: track(batches, label))
    if isinstance(network, ExportedNetwork):
        return Predicted(found, mean_spikes(spikes_seen))
    counts = operation_counts(operations_seen, sorted(found)) if network.meta.spiking else {}
    return Predicted(found, {t: at.spikes for t, at in counts.items()}, counts)


def mean_spikes(seen: Mapping[int, Sequence[Tensor]]) -> dict[int, float]:
    """Mean over the images of all processes by time step, of the spikes ``[N]`` that their batches had."""
    here = {str(t): torch.cat(list(batches)).numpy() for t, batches in seen.items() if batches}
    parts = gather_arrays(here)
    every = {t: [part[str(t)] for part in parts if str(t) in part] for t in seen}
    return {t: float(np.concatenate(spikes).mean()) for t, spikes in every.items() if spikes}


def parent_of(meta: CheckpointMeta) -> str | None:
    """The digest of the checkpoint that one was made from."""
    return meta.parent["sha256"] if meta.parent else None


def made_by(meta: CheckpointMeta, stage: str, digest: str) -> dict[str, Any]:
    """What a network is and how it was made, as fields of its row; a QC checkpoint's clip ANN is of stage ``ann``."""
    convert = meta.config.get("convert", {})
    return {
        "checkpoint": digest,
        "parent": parent_of(meta),
        "method": convert.get("method", "two-stage") if meta.method == "conversion" else meta.method,
        "model": meta.model,
        "stage": stage,
        "finetuned": meta.finetuned,
        "neuron": meta.neuron if meta.spiking else None,
        "delay": meta.delay if meta.spiking else None,
        "T": meta.T if stage != "ann" else None,
        "D": meta.D,
        "seed": meta.seed,
        "stage1_T": meta.config.get("finetune", {}).get("T"),
        "stage1_options": _training_options(meta),
        "max_pool": _max_pool(meta),
        "latency": meta.latency,
        "linear": "analog" if meta.spiking and meta.linear == "analog" else None,
        "activation": "leaky" if has_leaky_activations(meta.architecture) else None,
        **_calibration(meta),
    }


def _training_options(meta: CheckpointMeta) -> str | None:
    """What Stage I, or the training of another method, did beyond its paper; else ``from scratch`` or None."""
    trained = meta.config.get("train", {})
    scratch = "from scratch" if trained.get("weights") == NONE else None
    whole = meta.method != "conversion" and trained.get("method") == meta.method  # by train alone
    runs = [meta.config[name] for name in (meta.method, "finetune") if name in meta.config] or [trained] * whole
    if not runs:
        return scratch
    settings = runs[0]
    # A run after another one keeps its copies; a training from weights has its own alone.
    copies = math.prod(run.get("copies", 1) for stage, run in meta.config.items() if stage != "train_before")
    options = {
        "from scratch": settings is trained and scratch,
        "fine-tuned": meta.method in meta.config,
        "theta fixed": meta.method == "sfa" and settings.get("theta_lr_factor") == 0,
        f"{copies} copies": copies > 1,
        "distilled": settings.get("distill"),
        f"sparsity {settings.get('sparsity', 0):g}": settings.get("sparsity"),
    }
    return ", ".join(name for name, chosen in options.items() if chosen)


def _max_pool(meta: CheckpointMeta) -> str | None:
    """What represents maxima: the spiking network's rule, or averages since Stage I."""
    if meta.config.get("finetune", {}).get("pool") == "average":
        return "average"
    return meta.max_pool if meta.spiking and has_max_pools(meta.architecture) else None


def _calibration(meta: CheckpointMeta) -> dict[str, Any]:
    """Images of Stage II, and what its fine calibration and the joint one have trained."""
    if meta.stage == "copied":
        return {}
    settings, joint = meta.config.get("calibrate", {}), meta.config.get("joint", {})
    fine = settings if meta.stage != "coarse" else {}
    said = {
        "W": fine.get("train_weights"),
        "u[0]": fine.get("train_potential"),
        f"sparsity {fine.get('sparsity', 0):g}": fine.get("sparsity"),
        "jointly": joint,
        f"joint sparsity {joint.get('sparsity', 0):g}": joint.get("sparsity"),
    }
    trained = ", ".join(name for name, chosen in said.items() if chosen)
    return {"calibration_images": settings.get("images"), "calibrated": trained or None}


def make_rows(
    evaluated: Sequence[Evaluated],
    dataset: DetectionDataset,
    config: EvaluateConfig,
    parents: Mapping[str, str | None],
) -> list[ResultRow]:
    """The rows with the conversion loss against the best ANN that each network came from.

    ``parents`` are those of all checkpoints, also of such that were not evaluated themselves.
    """
    resampled = partial(resample, dataset, draws=config.draws, seed=config.seed)
    references: dict[str, Resampled] = {}  # each ANN is resampled once
    rows = []
    for j in evaluated:
        row, family = j.row, lineage(j.row.checkpoint or "", parents)
        anns = [other for other in evaluated if other.row.stage == "ann" and other.row.checkpoint in family]
        reference = max(anns, key=lambda other: other.ap, default=None)
        if reference is not None and row.stage != "ann" and row.AP is not None:
            digest = reference.row.checkpoint or ""
            if digest not in references:
                references[digest] = resampled(reference.detections)
            loss, interval = paired_loss(references[digest], resampled(j.detections))
            row = replace(row, loss=loss, loss_ci95=interval)
        rows.append(row)
    return rows
