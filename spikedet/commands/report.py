"""One HTML file about an evaluation: what was evaluated, how well, on which images best and worst, and at what cost."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikedet.commands.evaluate import Evaluated, Evaluation, evaluate_all
from spikedet.common.digests import file_sha256
from spikedet.common.errors import DataError
from spikedet.common.files import write_text
from spikedet.config import EvaluateConfig, ReportConfig
from spikedet.data import DetectionDataset
from spikedet.evaluation import ResultRow, markdown_table, read_results
from spikedet.evaluation.bootstrap import APResampler
from spikedet.evaluation.results import find_results
from spikedet.visualization import beside, draw_detections, plot_ap_by_class, plot_ap_by_t
from spikedet.visualization.page import (
    Section,
    file_figure,
    image_figure,
    markdown_html,
    page_html,
    preformatted,
)

logger = logging.getLogger("spikedet")

SHOWN_CONFIDENCE = 0.25
"""Lowest score of the boxes that are drawn."""


LEVELS = 4
"""Folders above the results in which a checkpoint's relative path is looked up."""


def report(config: ReportConfig) -> Path:
    """Write ``report.html``; it opens offline.

    Detections that the evaluation has kept are used again; what is missing is evaluated anew.

    Raises:
        ConfigError, DataError: the run is no evaluation's folder, or its checkpoints or images are gone.
    """
    results = find_results(Path(config.run))
    meta, rows = read_results(results)
    sections = [Section("Table", markdown_html(markdown_table(rows))), *_plots(rows)]
    evaluation = evaluate_all(stored_config(results, meta))
    sections += _images(evaluation, config)
    sections += _written_beside(results.parent)
    sections.append(Section("Settings", preformatted(json.dumps(meta["config"], indent=1))))
    facts = {key: meta[key] for key in ("command", "checkpoints", "versions") if key in meta}
    sections.append(Section("Command, checkpoints, versions", preformatted(json.dumps(facts, indent=1))))
    title = f"spikedet: {rows[0].model} on {rows[0].data} {rows[0].split}" if rows else "spikedet"
    page = Path(config.out) if config.out else results.parent / "report.html"
    write_text(page, page_html(title, sections))
    logger.info(f"{page}: written")
    return page


def stored_config(results: Path, meta: dict[str, Any]) -> EvaluateConfig:
    """The evaluation's settings, so that its detections are found again. Raises DataError if they are not whole."""
    try:
        settings = dict(meta["config"])
        known = {field.name for field in dataclasses.fields(EvaluateConfig)}
        settings = {key: value for key, value in settings.items() if key in known}
        settings["checkpoints"] = found_checkpoints(results, settings["checkpoints"], meta.get("checkpoints", {}))
        settings["detections"] = settings.get("detections") or str(results.parent / "detections")  # it may have moved
        return EvaluateConfig(**{**settings, "resume": True})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{results}: its settings are damaged ({error}); evaluate again") from error


def found_checkpoints(results: Path, named: Sequence[str], digests: Mapping[str, str]) -> tuple[str, ...]:
    """The evaluated checkpoints, wherever the report is made from.

    A path is taken as it is stored, or relative to the results or to a folder above them. Where a path leads nowhere,
    the files around the results are compared with the digests that the evaluation has kept.

    Args:
        results: the ``results.json``.
        named: paths of files and folders, as they were given to ``evaluate``.
        digests: SHA-256 of every evaluated file by its path.
    """
    bases = [Path(), *results.resolve().parents[:LEVELS]]
    places = [next((base / name for base in bases if (base / name).exists()), None) for name in named]
    if None not in places:
        return tuple(map(str, places))
    near = {path for base in bases[1:3] for path in base.glob("*.safetensors")}
    by_digest = {file_sha256(path): path for path in sorted(near)}
    found = [str(by_digest[digest]) for digest in digests.values() if digest in by_digest]
    return tuple(found or named)


def _plots(rows: Sequence[ResultRow]) -> list[Section]:
    sections = []
    with tempfile.TemporaryDirectory(prefix="spikedet-report-") as folder:
        plots = [("AP by time step", plot_ap_by_t)]
        plots += [("AP by class", plot_ap_by_class)] if any(row.per_class for row in rows) else []
        for number, (title, plot) in enumerate(plots):
            sections.append(Section(title, file_figure(plot(rows, Path(folder) / f"{number}.png"), title)))
    return sections


def _images(evaluation: Evaluation, config: ReportConfig) -> list[Section]:
    """Images on which the last network does best and worst beside its ANN, by AP50:95 of each image alone."""
    evaluated = evaluation.evaluated
    spiking = [j for j in evaluated if j.meta.spiking and j.t is not None]
    if not spiking or not config.examples:
        return []
    snn = max(spiking, key=lambda j: (evaluated.index(j) if j.digest == spiking[-1].digest else -1, j.t or 0))
    ann = max((j for j in evaluated if j.network == "ann"), key=lambda j: j.ap, default=None)
    scores = image_scores(evaluation.dataset, snn)
    known = [int(i) for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    count = min(config.examples, len(known) // 2)
    sections = []
    for title, chosen in (("Best images", known[:count]), ("Worst images", known[len(known) - count :][::-1])):
        shown = "".join(_image(evaluation.dataset, i, ann, snn, float(scores[i])) for i in chosen)
        sections.append(Section(title, f'<div class="pairs">{shown}</div>'))
    return sections


def image_scores(dataset: DetectionDataset, evaluated: Evaluated) -> np.ndarray[Any, np.dtype[np.float64]]:
    """AP50:95 of each image alone, percent, ``[images]``; NaN where there is no object to find."""
    return APResampler(dataset, evaluated.detections).ap(np.eye(len(dataset), dtype=np.int64))


def _image(dataset: DetectionDataset, index: int, ann: Evaluated | None, snn: Evaluated, score: float) -> str:
    name = dataset.samples[index].image_id
    try:
        image = dataset.read_image(index)
    except DataError as error:
        return markdown_html(f"{name}: {error}")
    drawn = [
        draw_detections(image, j.detections[index].above(SHOWN_CONFIDENCE), dataset.class_names)
        for j in (ann, snn)
        if j is not None
    ]
    left = "left the ANN, right" if ann is not None else ""
    return image_figure(beside(drawn), f"{name}: AP50:95 {score:.1f}; {left} the SNN at t = {snn.t}")


WRITTEN_BESIDE = {
    "energy": (
        "Energy",
        {
            "": "Energy by time step, and AP against energy",
            "_by_layer": "Operations by layer",
            "_sparsity": "AP against synaptic operations, by the penalty on firing",
        },
    ),
    "explain": (
        "Error by layer",
        {
            "-1-ap": "AP50:95 of the ANNs, and of the SNN by t",
            "-2-ranking": "AP50:95 with the residual error of one layer, and with all but it",
            "-3-split": "Mean squares of the terms of the error",
            "-4-residual": "Neurons with residual error, and how far they are off",
            "-5-cosine": "Similarity to the QC-ANN by steps read out",
            "-6-theta": "Pre-activations against theta",
        },
    ),
}
"""What other commands write into an evaluation's folder: the Markdown file's stem, its title, captions of its plots."""


def _written_beside(folder: Path) -> list[Section]:
    """Markdown files of other commands, with the plots of the same name."""
    sections = []
    for name, (title, captions) in WRITTEN_BESIDE.items():
        path = folder / f"{name}.md"
        if path.is_file():
            plots = sorted(folder.glob(f"{name}*.png"))
            figures = [file_figure(plot, captions.get(plot.stem.removeprefix(name), "")) for plot in plots]
            text = markdown_html(_within_section(path.read_text(encoding="utf-8")))
            sections.append(Section(title, text + "".join(figures)))
    return sections


def _within_section(markdown: str) -> str:
    """Without its title, which the section has, and with its headings one level down."""
    lines = [line for line in markdown.splitlines() if not line.startswith("# ")]
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines)
