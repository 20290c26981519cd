"""Conversion error by layer, what it costs in AP, and what to do about it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta, require_converted, require_same_classes
from spikedet.checkpoint.ancestry import with_parents
from spikedet.common.counts import counted
from spikedet.common.digests import file_sha256
from spikedet.common.environment import pick_device, run_facts
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.files import write_json, write_text
from spikedet.common.progress import track
from spikedet.config import SPIKING_STAGES, ExplainConfig, Stage, parse_time_steps
from spikedet.conversion import load_spiking, require_one_window, to_spiking
from spikedet.data import DetectionDataset, load_for
from spikedet.data.transforms import to_input
from spikedet.diagnosis.advice import advise
from spikedet.diagnosis.detections import DetectionsByNetwork
from spikedet.diagnosis.injection import ranked_layers
from spikedet.diagnosis.observe import Family, LayerObserver, ann_means, snn_means
from spikedet.diagnosis.ranking import rank_layers
from spikedet.diagnosis.records import ANN, CLIP_ANN, QC, SNN, ApPoint, Explanation, LayerErrors, Ranking
from spikedet.diagnosis.text import explanation_markdown
from spikedet.models import load_ann
from spikedet.snn import Backend, SpikingNetwork, make_backend
from spikedet.visualization.error_plots import plot_explanation

logger = logging.getLogger("spikedet")


def explain(config: ExplainConfig) -> Path:
    """Explain the errors of one checkpoint's network on images.

    Writes ``explain.json``, ``explain.md`` and ``explain-*.png`` into ``OUT``; returns the path of the Markdown.

    Raises:
        CheckpointError: no converted network, or one that its QC-ANN or source does not belong to.
        ConfigError: its QC-ANN or source is not where it was and was not named, or a time step beyond its T.
        DataError: see its message.
    """
    chosen = find_checkpoints(config)
    require_same_classes(list(chosen.paths.values()), chosen.snn, "explain")
    run = _Run(config, chosen)
    logger.info(f"{chosen.snn.name}: {run.backend}; errors against {chosen.against}")
    layers, chain = run.observe()
    found = Explanation(
        model=run.meta.model,
        stage=run.meta.stage,
        neuron=run.snn.neuron,
        T=run.snn.T,
        delay=run.meta.delay,
        finetuned=run.meta.finetuned,
        data=Path(run.dataset.name).name,
        split=run.dataset.split,
        images=len(run.dataset),
        layers=layers,
        chain=chain,
        ranking=run.rank() if config.rank_images else None,
        meta={
            "reference": chosen.against,
            **run_facts(config),
            "checkpoints": {role: [str(path), file_sha256(path)] for role, path in chosen.paths.items()},
        },
    )
    found = dataclasses.replace(found, advice=advise(found))
    out = Path(config.out)
    write_json(out / "explain.json", dataclasses.asdict(found))
    plot_explanation(found, out)
    written = write_text(out / "explain.md", explanation_markdown(found))
    for sentence in found.advice:
        logger.info(f"- {sentence}")
    return written


@dataclass(frozen=True)
class Checkpoints:
    """The files of a chain.

    Attributes:
        snn: the converted network.
        qc: its QC-ANN: the network with copied weights, or Stage I's checkpoint.
        source: what errors are measured against.
        ann: the source ANN, if it is another than ``source`` and still there.
    """

    snn: Path
    qc: Path
    source: Path
    ann: Path | None

    @property
    def paths(self) -> dict[str, Path]:
        """By role."""
        found = {"ann": self.ann, "source": self.source, "qc": self.qc, "snn": self.snn}
        return {role: path for role, path in found.items() if path is not None}

    @property
    def against(self) -> str:
        """What errors are measured against, in words."""
        stage = read_meta(self.source).stage
        names = {"ann": "the source ANN", "qc": "the clip ANN with Stage I's weights"}
        return names.get(stage, f"the clip ANN with the weights of {self.source.name}")


def find_checkpoints(config: ExplainConfig) -> Checkpoints:
    """The networks that a converted one came from, or those that were named."""
    snn = Path(config.checkpoint)
    if not read_meta(snn).spiking:
        raise CheckpointError(
            f"{snn}: not a converted network (stage {read_meta(snn).stage}); run spikedet convert first"
        )
    require_converted(snn, read_meta(snn))
    trained: Stage = "sfa" if read_meta(snn).method == "sfa" else "qc"
    named = [Path(name) for name in (config.ann, config.qc) if name]
    stages = {read_meta(path).stage: path for path in with_parents([snn, *named])}  # of equal ones the last
    qc = Path(config.qc) if config.qc else stages.get("copied", stages.get("qc"))
    if qc is None:
        raise ConfigError(f"{snn}: the network it was calibrated from is not where it was; name it with --qc")
    if read_meta(qc).stage in SPIKING_STAGES[1:]:
        raise ConfigError(
            f"--qc {qc}: its weights are calibrated; name the copied.safetensors or qc.safetensors before"
        )
    source = Path(config.source) if config.source else stages.get(trained, stages.get("ann"))
    if source is None:
        raise ConfigError(f"{snn}: the ANN it was made from is not where it was; name it with --source")
    ann = stages.get("ann")
    return Checkpoints(snn, qc, source, None if ann == source else ann)


def load_graph(path: Path, like: CheckpointMeta) -> SpikingNetwork:
    """A checkpoint of any stage as a graph of the layers of the spiking network ``like``."""
    if read_meta(path).spiking:
        return load_spiking(path)[0]
    how: Any = {name: getattr(like, name) for name in ("T", "neuron", "max_pool", "linear")}
    return to_spiking(load_ann(path)[0], **how)


def time_steps(asked: str | int, T: int) -> list[int]:
    """What is looked at, T among it: powers of two where nothing was asked for. Raises ConfigError beyond T."""
    steps = parse_time_steps(asked)
    if steps and steps[-1] > T:
        raise ConfigError(f"the network was converted for T = {T}; --t must lie in 1..T, got {list(steps)}")
    return sorted({T, *(steps or (2**i for i in range(T.bit_length()) if 2**i < T))})


class _Run:
    """The networks and images of one explanation."""

    def __init__(self, config: ExplainConfig, chosen: Checkpoints) -> None:
        self.config = config
        device = pick_device(config.device)
        self.snn, self.meta = load_spiking(chosen.snn)
        require_one_window(self.snn, chosen.snn)
        self.steps = time_steps(config.t, self.snn.T)
        others = {role: load_graph(chosen.paths[role], self.meta).to(device) for role in ("source", "qc")}
        self.family = Family(others["source"], others["qc"], self.snn.to(device))
        self.anns = {CLIP_ANN if read_meta(chosen.source).stage in ("qc", "sfa") else ANN: self.family.source}
        if chosen.ann is not None:
            self.anns = {ANN: load_graph(chosen.ann, self.meta).to(device), **self.anns}
        self.backend: Backend = make_backend(self.snn, config.backend, config.mode)
        dataset = load_for(self.meta, *self.meta.training_data(config.data, config.split), config)
        self.dataset = dataset.draw(config.images, config.seed)
        self._ann_seconds = 0.0

    def _batches(self, dataset: DetectionDataset, label: str) -> Iterator[tuple[list[int], Tensor]]:
        starts = range(0, len(dataset), self.config.batch)
        for start in track(starts, label):
            indices = list(range(start, min(start + self.config.batch, len(dataset))))
            images = to_input([dataset.read_image(i) for i in indices], self.meta.image_size)
            yield indices, self.backend.images(images)

    @torch.no_grad()
    def observe(self) -> tuple[tuple[LayerErrors, ...], tuple[ApPoint, ...]]:
        """Errors of every layer, and the AP of the chain, in one pass over the images."""
        observer, T = LayerObserver(self.family), self.snn.T
        evaluated = DetectionsByNetwork(self.snn, self.dataset, self.meta.image_size)
        for indices, images in self._batches(self.dataset, f"errors on {counted(len(self.dataset), 'image')}"):
            said = {name: ann_means(network, images, None) for name, network in self.anns.items()}
            started = time.perf_counter()
            qc = ann_means(self.family.qc, images, T)
            self._ann_seconds += (time.perf_counter() - started) / len(self.dataset)
            calibrated = ann_means(self.family.snn, images, T)
            evaluated.add((QC, None), indices, qc.outputs)
            for name, means in said.items():
                evaluated.add((name, None), indices, means.outputs)
            source = next(means for name, means in reversed(said.items()) if self.anns[name] is self.family.source)
            for snn in snn_means(self.snn, images, self.steps, self.backend, self.config.chunk or None):
                observer.add(source, qc, calibrated, snn)
                evaluated.add((SNN, snn.t), indices, snn.means.outputs)
        measures = evaluated.measures()
        order = [*((name, None) for name in self.anns), (QC, None), *((SNN, t) for t in self.steps)]
        chain = tuple(ApPoint(network=n, t=t, AP=measures[n, t].AP, AP50=measures[n, t].AP50) for n, t in order)
        return observer.results(), chain

    def rank(self) -> Ranking | None:
        """The layers by what their residual errors cost; an estimate is printed first."""
        dataset = self.dataset.subset(range(min(self.config.rank_images, len(self.dataset))))
        count = len(ranked_layers(self.snn))
        about = 1.5 * count * len(dataset) * self._ann_seconds  # of a variant half is known, on average
        what = f"{counted(count, 'layer')} on {counted(len(dataset), 'image')}"
        logger.info(f"ranking {what}: about {about:.0f} s (rank_images: 0 in a --config file leaves it out)")
        batches = self._batches(dataset, f"ranking {what}")
        chunk = self.config.chunk or None
        ranking = rank_layers(self.snn, self.backend, dataset, batches, self.meta.image_size, chunk)
        if ranking is None:
            logger.info("there is no object to find on these images: layers cannot be ranked")
        return ranking
