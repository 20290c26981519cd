"""AP by time step of a chain of networks: ANN, QC-ANN, SNN with copied weights and calibrated."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta, require_same_classes
from spikedet.checkpoint.ancestry import lineage, with_parents
from spikedet.common.digests import file_sha256
from spikedet.common.distributed import first_says, gather_numbers, is_first
from spikedet.common.environment import versions
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_text
from spikedet.common.progress import track
from spikedet.config import EvaluateConfig, Stage, parse_time_steps
from spikedet.data import DetectionDataset, load_dataset
from spikedet.detections import Detections
from spikedet.evaluation import APMeasures, ResultRow, markdown_table, measure, paired_loss, resample, write_results
from spikedet.evaluation.archive import Predicted, archive_key, load_predicted, save_predicted
from spikedet.evaluation.bootstrap import Resampled
from spikedet.evaluation.predict import predict_dataset
from spikedet.inference.network import ANN_STEP, Network, load_network, network_names
from spikedet.models import has_leaky_activations, has_max_pools
from spikedet.visualization import plot_ap_by_t

logger = logging.getLogger("spikedet")


@dataclass
class Evaluated:
    """One network read out at one time step: its detections and measures."""

    network: str
    digest: str
    meta: CheckpointMeta
    t: int | None
    latency: int | None
    spikes_per_image: float | None
    detections: list[Detections]
    measures: APMeasures

    @property
    def ap(self) -> float:
        """AP50:95 in percent, 0 where it is undefined."""
        return self.measures.AP or 0.0


@dataclass
class _SpikeMean:
    """Mean spikes per image by time step, collected batch by batch."""

    total: dict[int, float] = field(default_factory=dict)
    images: dict[int, int] = field(default_factory=dict)

    def add(self, t: int, spikes: Tensor) -> None:
        self.total[t] = self.total.get(t, 0.0) + float(spikes.sum())
        self.images[t] = self.images.get(t, 0) + len(spikes)

    def means(self, steps: Sequence[int]) -> dict[int, float]:
        """At the steps that were counted, over the images of all processes."""
        counted = [number for t in steps for number in (self.total.get(t, 0.0), self.images.get(t, 0))]
        sums = gather_numbers(counted).sum(0).reshape(-1, 2)
        return {t: float(total / images) for t, (total, images) in zip(steps, sums, strict=True) if images}


def evaluate(config: EvaluateConfig) -> list[ResultRow]:
    """Evaluate checkpoints and the networks they came from; writes ``results.json``, ``table.md`` and ``ap_by_t.png``.

    The conversion loss of a row is the better of (source ANN, clip ANN with Stage I's weights), among the networks
    evaluated, minus the row, in points of AP50:95, with a paired bootstrap interval.

    Under torchrun the images are shared out; the first process alone writes, and has rows to return.

    Raises:
        CheckpointError, DataError, ConfigError: see their messages.
    """
    evaluation = evaluate_all(config)
    if not is_first():
        return []
    evaluated, dataset, digests = evaluation.evaluated, evaluation.dataset, evaluation.digests
    rows = make_rows(evaluated, dataset, config)
    out = Path(config.out)
    meta = {
        "versions": versions(),
        "command": shlex.join(["spikedet", *sys.argv[1:]]),
        "config": dataclasses.asdict(config),
        "seed": config.seed,
        "checkpoints": {path.name if len(digests) == 1 else str(path): digest for path, digest in digests.items()},
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
        dataset: the images.
        digests: of the checkpoints, in the order they were evaluated.
        evaluated: one for each network and time step; in the first process alone under torchrun.
    """

    dataset: DetectionDataset
    digests: dict[Path, str]
    evaluated: list[Evaluated]


def evaluate_all(config: EvaluateConfig) -> Evaluation:
    """Every network that the checkpoints represent, at every time step. Raises as ``evaluate``."""
    asked = expand(config.checkpoints)
    paths = with_parents(asked)
    first = read_meta(asked[0])
    require_same_classes(paths, asked[0], "evaluate")
    dataset = load_dataset(
        first.evaluation_data(config.data, config.split),
        config.split,
        class_names=first.class_names,
        strict=config.strict,
        skip_bad=config.skip_bad,
    )
    if config.limit:
        dataset = dataset.subset(range(min(config.limit, len(dataset))))
    digests = {path: file_sha256(path) for path in paths}
    evaluated: list[Evaluated] = []
    for path in paths:
        for name in network_names(read_meta(path)):
            network = load_network(path, config, name)
            started = time.perf_counter()
            found = evaluate_network(name, network, digests[path], dataset, config)
            evaluated.extend(found)
            logger.info(f"{name} on {len(dataset)} images in {time.perf_counter() - started:.1f} s")
            for result in found:
                spikes = f", {result.spikes_per_image:.3g} spikes an image" if result.spikes_per_image else ""
                logger.info(f"{name}, t = {result.t or '-'}: AP50:95 {result.ap:.1f}{spikes}  ({path})")
    return Evaluation(dataset, digests, evaluated)


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
        logger.info(f"{name}: t = {', '.join(map(str, beyond))} left out, its T is {network.meta.T}")
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
        shown = (network.meta.T if name == "qc" else None) if t == ANN_STEP else t
        measures = measure(dataset, detections)
        spikes = predicted.spikes.get(t)
        results.append(Evaluated(name, digest, network.meta, shown, network.latency(t), spikes, detections, measures))
    return results


def predict(name: str, network: Network, dataset: DetectionDataset, steps: Sequence[int], batch: int) -> Predicted:
    """One run over the images."""
    spikes = _SpikeMean()

    def forward(images: Tensor) -> dict[int, Tensor]:
        decoded = {}
        for t, prediction in network.predict(images, steps).items():
            decoded[t] = prediction.decoded
            if prediction.spikes is not None:
                spikes.add(t, prediction.spikes)
        return decoded

    label = f"{name} on {len(dataset)} images"
    found = predict_dataset(forward, dataset, network.meta.image_size, batch, lambda batches: track(batches, label))
    return Predicted(found, spikes.means(sorted(found)))


def made_by(meta: CheckpointMeta, stage: str) -> dict[str, Any]:
    """What a network is and how it was made, as fields of its row; a QC checkpoint's clip ANN is of stage ``ann``."""
    return {
        "method": meta.config.get("convert", {}).get("method", "two-stage"),
        "model": meta.model,
        "stage": stage,
        "finetuned": meta.finetuned,
        "neuron": meta.neuron if meta.spiking else None,
        "delay": meta.delay if meta.spiking else None,
        "T": meta.T if stage != "ann" else None,
        "seed": meta.seed,
        "stage1_T": meta.config.get("finetune", {}).get("T"),
        "stage1_options": _stage1_options(meta),
        "max_pool": _max_pool(meta),
        "linear": "analog" if meta.spiking and meta.linear == "analog" else None,
        "activation": "leaky" if has_leaky_activations(meta.architecture) else None,
        **_calibration(meta),
    }


def _stage1_options(meta: CheckpointMeta) -> str | None:
    """What Stage I did beyond the paper's; None without Stage I."""
    if "finetune" not in meta.config:
        return None
    settings = meta.config["finetune"]
    options = {
        "distilled": settings.get("distill"),
        f"sparsity {settings.get('sparsity', 0):g}": settings.get("sparsity"),
        "spiking forward": settings.get("spiking_forward"),
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


def make_rows(evaluated: Sequence[Evaluated], dataset: DetectionDataset, config: EvaluateConfig) -> list[ResultRow]:
    """Result rows with the conversion loss against the best ANN that each network came from."""
    parents = {j.digest: j.meta.parent["sha256"] if j.meta.parent else None for j in evaluated}
    resampled = partial(resample, dataset, draws=config.draws, seed=config.seed)
    references: dict[str, Resampled] = {}  # each ANN is resampled once
    rows = []
    for j in evaluated:
        loss, interval = None, None
        family = lineage(j.digest, parents)
        anns = [other for other in evaluated if other.network == "ann" and other.digest in family]
        reference = max(anns, key=lambda other: other.ap, default=None)
        if reference is not None and j.network != "ann" and j.measures.AP is not None:
            if reference.digest not in references:
                references[reference.digest] = resampled(reference.detections)
            loss, interval = paired_loss(references[reference.digest], resampled(j.detections))
        rows.append(
            ResultRow(
                **made_by(j.meta, j.network),
                t=j.t,
                L=j.latency,
                spikes_per_image=j.spikes_per_image,
                data=Path(dataset.name).name,
                split=dataset.split,
                images=len(dataset),
                loss=loss,
                loss_ci95=interval,
                **vars(j.measures),
            )
        )
    return rows
