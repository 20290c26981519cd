"""Explanations made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

from spikedet.diagnosis.records import (
    ApPoint,
    Explanation,
    LayerErrors,
    LayerRank,
    Ranking,
    ResidualErrors,
    StepErrors,
    ThetaUse,
)
from spikedet.diagnosis.split import TERMS
from spikedet.diagnosis.sums import CLASSES

RESIDUAL = ResidualErrors(
    negative=0.5, overflow=0.1, fewer=0.0, more=0.0, by_image=(0.0, 0.0), deviation_mean=0.0, deviation_max=0.0,
    spikes_mean=0.0, spikes_max=0.0,
)  # fmt: skip
THETA = ThetaUse(
    theta=(0.5, 1.0, 2.0), quantiles={"50": 0.25, "90": 0.5, "99": 1.0, "99.9": 4.0}, positive=0.5, clipped=0.01,
    histogram=[3] * CLASSES, saturated=0.01, saturated_qc=0.01, silent=0.5, silent_qc=0.5, dead_channels=0.0,
)  # fmt: skip


def step(t: int, cosine: float = 1.0, **mean_squares: float) -> StepErrors:
    """Uncorrelated terms of a signal with mean square 1."""
    squares = {term: mean_squares.get(term, 0.0) for term in TERMS}
    whole = sum(squares.values())
    products = [[squares[a] if a == b else 0.0 for b in TERMS] for a in TERMS]
    shares = {term: value / whole if whole else 0.0 for term, value in squares.items()}
    return StepErrors(
        t=t, signal=1.0, whole=whole, mean_squares=squares, cross=0.0, products=products, shares=shares,
        biases=dict.fromkeys(TERMS, 0.0), from_qc=0.0, cosine=cosine,
    )  # fmt: skip


def layer(name: str, *steps: StepErrors, theta: dict[str, Any] | None = None, **residual: Any) -> LayerErrors:
    return LayerErrors(
        layer=name,
        steps=steps or (step(4),),
        residual=dataclasses.replace(RESIDUAL, **residual),
        theta=dataclasses.replace(THETA, **(theta or {})),
    )


def chain(ann: float | None = 50.0, qc: float | None = 50.0, snn: float | None = 50.0) -> tuple[ApPoint, ...]:
    early = None if snn is None else snn / 2
    points = [("ANN", None, ann), ("QC-ANN", None, qc), ("SNN", 1, early), ("SNN", 4, snn)]
    return tuple(ApPoint(network=name, t=t, AP=ap, AP50=ap) for name, t, ap in points)


def ranking(*layers: LayerRank, none: float = 50.0, everything: float = 45.0) -> Ranking:
    return Ranking(images=4, none=none, all=everything, layers=layers)


def explanation(*layers: LayerErrors, **changes: Any) -> Explanation:
    return Explanation(
        **{
            "model": "tiny", "stage": "copied", "neuron": "if", "T": 4, "delay": 0, "finetuned": False, "data": "made",
            "split": "train", "images": 8, "layers": layers or (layer("a"),), "chain": chain(), **changes,
        }
    )  # fmt: skip
