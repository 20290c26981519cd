"""Paired bootstrap over images of a difference in AP50:95.

A draw takes as many images as there are, with replacement: a count per image. Matching looks at one image at a
time, so it is done once; a draw only weighs the matched detections. For class c and IoU threshold q, with w the
counts, hits h and detections seen d after each true positive, by falling score:

    h_i = sum_{j <= i, hit} w_j,   d_i = sum_{j <= i, not ignored} w_j,   p_i = h_i / d_i,   r_i = h_i / objects
    AP = 1/101 sum_i (max_{j >= i} p_j) * #{recall thresholds in (r_{i-1}, r_i]}

False positives lower the precision only at the next hit, so only the hits are kept. This is COCOeval.accumulate on the
set with its images repeated, exactly, when no two detections of a class share a score.
(Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile interval.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import DetectionDataset
from spikedet.detections import Detections
from spikedet.evaluation.coco_ap import IOU_THRESHOLDS, RECALL_STEPS, match_coco

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CHUNK_ELEMENTS = 2_000_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class _ClassMatches:
    """The matched detections of one class, by falling score.

    Attributes:
        objects: int64 ``[N]``, objects to find in each image.
        images: int64 ``[D]``, the image of each detection.
        hits: for each IoU threshold, the positions in ``images`` of the true positives.
        ignored: for each IoU threshold, the positions of the detections that count as nothing.
    """

    objects: Ints
    images: Ints
    hits: tuple[Ints, ...]
    ignored: tuple[Ints, ...]


class APResampler:
    """AP50:95 of one detector under any weighting of the images.

    Args:
        dataset: the split, ``N`` images.
        detections: one ``Detections`` per sample.

    Raises:
        ValueError: if the detections do not belong to the dataset.
    """

    def __init__(self, dataset: DetectionDataset, detections: Sequence[Detections]) -> None:
        self.images = len(dataset)
        evaluator = match_coco(dataset, detections, areas=("all",))
        starts = range(0, len(evaluator.evalImgs), self.images or 1)  # the images of one class after the other
        self._classes = tuple(_gather(evaluator.evalImgs[i : i + self.images], self.images) for i in starts)

    def ap(self, weights: npt.ArrayLike) -> Floats:
        """AP50:95 in percent for each draw.

        Args:
            weights: whole numbers ``[D, N]``, how often each draw took each image.

        Returns:
            float64 ``[D]``; NaN for a draw that has no object to find.

        Raises:
            ValueError: if the weights do not have one column per image.
        """
        counts = np.asarray(weights, np.int64)
        if counts.ndim != 2 or counts.shape[1] != self.images:
            raise ValueError(f"weights must have shape [draws, {self.images}], got {list(counts.shape)}")
        largest = max([len(matches.images) for matches in self._classes] + [self.images, 1])
        size = max(CHUNK_ELEMENTS // largest, 1)
        parts = [self._ap_chunk(counts[i : i + size].T.copy()) for i in range(0, len(counts), size)]
        return np.concatenate([np.zeros(0), *parts])

    def _ap_chunk(self, weights: Ints) -> Floats:
        """``[N, D]`` weights, image first so that rows are gathered whole, to ``[D]`` percent."""
        total, present = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for matches in self._classes:
            objects = matches.objects @ weights
            total += np.where(objects > 0, _class_ap(matches, weights, objects), 0)
            present += objects > 0
        return 100 * np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)


@dataclass(frozen=True)
class Resampled:
    """AP50:95 of one detector in percent.

    Attributes:
        ap: on the whole split.
        drawn: float64 ``[D]``, on each seeded draw; NaN for a draw that has no object to find.
    """

    ap: float
    drawn: Floats


def resample(
    dataset: DetectionDataset, detections: Sequence[Detections], draws: int = 1000, seed: int = 0
) -> Resampled:
    """One detector on seeded draws of the images, the same for every detector.

    Raises:
        ValueError: if the detections do not belong to the dataset, or the split has no object to find.
    """
    detector = APResampler(dataset, detections)
    whole = float(detector.ap(np.ones((1, len(dataset)), np.int64))[0])
    if np.isnan(whole):
        raise ValueError(f"{dataset.name} {dataset.split}: no object to find, so there is no AP to compare")
    generator, images = np.random.default_rng(seed), len(dataset)
    size = max(CHUNK_ELEMENTS // images, 1)  # counts [D, N] in parts of bounded memory
    sizes = (min(size, draws - start) for start in range(0, draws, size))
    parts = [detector.ap(generator.multinomial(images, np.full(images, 1 / images), size=part)) for part in sizes]
    return Resampled(whole, np.concatenate(parts))


def paired_loss(a: Resampled, b: Resampled) -> tuple[float, tuple[float, float]]:
    """The AP50:95 that b loses against a, with a 95 % percentile interval; both must have seen the same draws.

    Returns:
        ``(loss, (low, high))`` in points (percent): ``loss`` is AP of a minus AP of b on the whole split. Draws without
        any object to find are left out.
    """
    loss, differences, tail = a.ap - b.ap, a.drawn - b.drawn, (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail]) if not np.isnan(differences).all() else (loss, loss)
    return loss, (float(low), float(high))


def _gather(entries: Sequence[dict[str, npt.ArrayLike] | None], images: int) -> _ClassMatches:
    """Join pycocotools' ``evalImgs`` of one class, sorted as COCOeval.accumulate sorts them."""
    thresholds = len(IOU_THRESHOLDS)
    objects = np.zeros(images, np.int64)
    scores: list[Floats] = [np.zeros(0)]
    where: list[Ints] = [np.zeros(0, np.int64)]
    matched = [np.zeros((thresholds, 0), np.bool_)]
    ignored = [np.zeros((thresholds, 0), np.bool_)]
    for image, entry in enumerate(entries):
        if entry is None:
            continue
        objects[image] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        scores.append(np.asarray(entry["dtScores"], np.float64))
        where.append(np.full(len(scores[-1]), image))
        matched.append(np.asarray(entry["dtMatches"]) != 0)
        ignored.append(np.asarray(entry["dtIgnore"]) != 0)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    left_out = np.concatenate(ignored, axis=1)[:, order]
    hit = np.concatenate(matched, axis=1)[:, order] & ~left_out
    return _ClassMatches(
        objects,
        np.concatenate(where)[order],
        tuple(np.flatnonzero(row) for row in hit),
        tuple(np.flatnonzero(row) for row in left_out),
    )


def _class_ap(matches: _ClassMatches, weights: Ints, objects: Ints) -> Floats:
    """AP over the IoU thresholds in [0, 1], ``[D]``, from weights ``[N, D]`` and objects ``[D]`` (0 gives rubbish)."""
    recall_thresholds = np.linspace(0, 1, RECALL_STEPS)
    seen = np.cumsum(weights[matches.images], axis=0)
    total = np.zeros(weights.shape[1])
    for hits, ignored in zip(matches.hits, matches.ignored, strict=True):
        if hits.size == 0:
            continue
        skipped = np.cumsum(weights[matches.images[ignored]], axis=0)
        skipped = np.concatenate([np.zeros_like(seen[:1]), skipped])[np.searchsorted(ignored, hits)]
        found = np.cumsum(weights[matches.images[hits]], axis=0)
        precision = found / (seen[hits] - skipped + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.searchsorted(recall_thresholds, found / np.maximum(objects, 1), side="right")
        total += (envelope * np.diff(reached, axis=0, prepend=0)).sum(0)
    return total / (RECALL_STEPS * len(matches.hits))
