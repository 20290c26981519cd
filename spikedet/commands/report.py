"""One HTML file about an evaluation: what was found, on which images best and worst, AP by time step, and the rest."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.checkpoint import read_meta
from spikedet.commands.evaluate import Evaluated, Evaluation, evaluate_on
from spikedet.common.errors import CheckpointError, DataError
from spikedet.common.files import write_text
from spikedet.config import EvaluateConfig, ReportConfig
from spikedet.costs.priced import priced
from spikedet.data import DetectionDataset, is_synthetic, load_for
from spikedet.evaluation import ResultRow, markdown_table, read_results
from spikedet.evaluation.archive import archive_key
from spikedet.evaluation.bootstrap import APResampler
from spikedet.evaluation.headline import headline, sentences
from spikedet.evaluation.origins import find_checkpoint, places
from spikedet.evaluation.results import find_results
from spikedet.visualization.curves import plot_ap_by_class, plot_ap_by_t
from spikedet.visualization.draw import draw_detections
from spikedet.visualization.page import Section, file_figure, image_figure, markdown_html, page_html, preformatted

logger = logging.getLogger("spikedet")

SHOWN_CONFIDENCE = 0.25
"""Lowest score of the boxes that are drawn."""
SHOWN_PX = 640
"""Longer side of an image in the report."""
WITHOUT = "put what was moved back, or make the report without images: --examples 0"


def report(config: ReportConfig) -> Path:
    """Write ``report.html``; it opens offline, on a telephone too.

    Checkpoints and images are found relative to the results, or by their contents, from whatever folder the report is
    made. Detections that the evaluation has kept are used again; missing ones are computed. Without ``examples`` the
    results are all that is needed.

    Raises:
        ConfigError, DataError, CheckpointError: the run is no evaluation's folder, or its checkpoints or images are
            gone.
    """
    results = find_results(Path(config.run))
    meta, rows = read_results(results)
    main = headline(rows)
    energy = priced(results.parent / "energy.json", main) if main else None
    summary = sentences(main, energy, rows) if main else ["Nothing was evaluated."]
    shown = main is not None and main.spiking and config.examples > 0
    sections = _images(evaluated_again(results, meta), main, config.examples) if main and shown else []
    sections += _plots(rows)
    sections.append(Section("All results", markdown_html(markdown_table(rows)), folded=True))
    sections += _written_beside(results.parent)
    facts = {key: meta[key] for key in ("command", "config", "checkpoints", "data", "versions") if key in meta}
    sections.append(Section("Command, settings, versions", preformatted(json.dumps(facts, indent=1)), folded=True))
    title = f"spikedet: {main.model} on {main.data} {main.split}" if main else "spikedet"
    page = Path(config.out) if config.out else results.parent / "report.html"
    write_text(page, page_html(title, summary, sections))
    logger.info(f"{page}: written")
    return page


def evaluated_again(results: Path, meta: dict[str, Any]) -> Evaluation:
    """The evaluation that results are of, with its detections. Raises CheckpointError, DataError."""
    config = stored_config(results, meta)
    dataset, data = find_images(results, meta, config)
    return evaluate_on(dataset, data, config)


def stored_config(results: Path, meta: dict[str, Any]) -> EvaluateConfig:
    """The evaluation's settings, so that its detections are found again.

    Raises:
        CheckpointError: a checkpoint is gone.
        DataError: the settings are not whole.
    """
    folder = results.parent
    try:
        known = {field.name for field in dataclasses.fields(EvaluateConfig)}
        settings = {key: value for key, value in dict(meta["config"]).items() if key in known}
        named, kept = [str(name) for name in settings["checkpoints"]], str(settings.get("detections") or "detections")
        digests = {str(name): str(digest) for name, digest in meta.get("checkpoints", {}).items()}
        found = {name: find_checkpoint([name, *named], digest, folder) for name, digest in digests.items()}
        found |= {name: next(places(name, folder), None) for name in named} if not digests else {}
        if gone := [name for name, path in found.items() if path is None]:
            raise CheckpointError(f"{results}: its checkpoint {gone[0]} is not found; {WITHOUT}")
        settings["checkpoints"] = tuple(map(str, found.values()))
        settings["detections"] = str(next(places(kept, folder), folder / "detections"))
        return EvaluateConfig(**{**settings, "resume": True})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{results}: its settings are damaged ({error}); evaluate again") from error


def find_images(results: Path, meta: dict[str, Any], config: EvaluateConfig) -> tuple[DetectionDataset, str]:
    """The images that were evaluated, and where they are: the first place with the very same ones.

    Raises:
        DataError: there is none.
    """
    checkpoint = read_meta(Path(config.checkpoints[0]))
    named = (meta.get("data"), checkpoint.evaluation_data(config.data, config.split))
    names = [str(name) for name in named if name]
    problem = "there is no such dataset"
    there = ([name] if is_synthetic(name) else map(str, places(name, results.parent)) for name in names)
    for data in itertools.chain(*there):
        try:
            dataset = load_for(checkpoint, data, config.split, config)
        except DataError as error:
            problem = str(error)
            continue
        if meta.get("data_key", key := archive_key(dataset)) == key:
            return dataset, data
        problem = f"{data} has other images"
    raise DataError(f"{results}: its images {names[0]} ({config.split}) are not found: {problem}; {WITHOUT}")


def _plots(rows: Sequence[ResultRow]) -> list[Section]:
    sections = []
    with tempfile.TemporaryDirectory(prefix="spikedet-report-") as folder:
        plots = [("AP by time step", plot_ap_by_t)]
        plots += [("AP by class", plot_ap_by_class)] if any(row.per_class for row in rows) else []
        for title, plot in plots:
            figure = file_figure(plot(rows, Path(folder) / "plot.png"))
            sections.append(Section(title, figure, folded=plot is plot_ap_by_class))
    return sections


def _images(evaluation: Evaluation, main: ResultRow, count: int) -> list[Section]:
    """Images on which the network does best and worst beside its ANN, by AP50:95 of each image alone."""
    evaluated = evaluation.evaluated
    same = [one for one in evaluated if (one.row.stage, one.row.T, one.row.t) == (main.stage, main.T, main.t)]
    if not same:
        return []
    snn = same[-1]
    ann = max((one for one in evaluated if one.row.stage == "ann"), key=lambda one: one.ap, default=None)
    scores = image_scores(evaluation.dataset, snn)
    known = [int(i) for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    count = min(count, len(known) // 2)
    shown = [*([("ANN", ann)] if ann else []), (f"SNN at t = {snn.row.t}", snn)]
    sections = []
    for title, chosen in (("Best images", known[:count]), ("Worst images", known[len(known) - count :][::-1])):
        figures = "".join(_image(evaluation.dataset, i, shown, float(scores[i])) for i in chosen)
        sections.append(Section(title, f'<div class="gallery">{figures}</div>'))
    return sections


def image_scores(dataset: DetectionDataset, evaluated: Evaluated) -> npt.NDArray[np.float64]:
    """AP50:95 of each image alone, percent, ``[images]``; NaN where there is no object to find."""
    return APResampler(dataset, evaluated.detections).ap(np.eye(len(dataset), dtype=np.int64))


def _image(dataset: DetectionDataset, index: int, shown: Sequence[tuple[str, Evaluated]], score: float) -> str:
    name = dataset.samples[index].image_id
    try:
        image = dataset.read_image(index)
    except DataError as error:
        return preformatted(f"{name}: {error}")
    ratio = SHOWN_PX / max(image.shape[:2])
    size_wh = [max(1, round(side * ratio)) for side in image.shape[1::-1]]
    resized = np.asarray(Image.fromarray(image).resize(size_wh))
    drawn = []
    for title, one in shown:
        found = one.detections[index].above(SHOWN_CONFIDENCE).scaled(ratio)
        drawn.append((title, draw_detections(resized, found, dataset.class_names)))
    return image_figure(drawn, f"{name}: AP50:95 {score:.1f}")


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
            "-5-cosine": "Similarity to the QC-ANN by time step",
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
            sections.append(Section(title, "".join(figures) + text, folded=True))
    return sections


def _within_section(markdown: str) -> str:
    """Without its title, which the section has, and with its headings one level down."""
    lines = [line for line in markdown.splitlines() if not line.startswith("# ")]
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines)
