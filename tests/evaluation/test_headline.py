"""What an evaluation found, in sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spikedet.costs.priced import Priced
from spikedet.evaluation import ResultRow
from spikedet.evaluation.headline import headline, sentences

ANN = ResultRow(model="m", stage="ann", finetuned=False, data="d", split="test", images=1200, seed=0, AP=60.0)
SNN = replace(
    ANN, stage="joint", finetuned=True, neuron="if", delay=0, T=8, t=8, L=8, AP=57.25, loss=2.75, loss_ci95=(1.5, 4.0),
    spikes_per_image=270_000.0,
)  # fmt: skip
EARLY = replace(SNN, t=4, AP=50.0, loss=10.0)
ENERGY = Priced(joules=0.002, ann_joules=0.008, constants="45 nm", memory_traffic=False)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([ANN], ANN),
        ([ANN, SNN, EARLY], SNN),
        ([SNN, replace(SNN, seed=1), ANN], replace(SNN, seed=1)),
        ([ANN, EARLY], EARLY),
        ([replace(SNN, stage="fine", AP=58.0), SNN], replace(SNN, stage="fine", AP=58.0)),
        ([replace(SNN, T=20, t=20, AP=59.0), SNN], SNN),
    ],
)
def test_it_is_about_the_best_spiking_network_of_the_last_T(rows: list[ResultRow], expected: ResultRow | None) -> None:
    assert headline(rows) == expected


def test_one_sentence_says_what_was_asked() -> None:
    assert sentences(SNN, ENERGY) == [
        "SNN + joint loses 2.8 points of AP50:95 at T = 8, with 0.27 million spikes an image and 25 % of the ANN's "
        "energy.",
        "It has 57.2 % on the 1,200 images of d test, the ANN 60.0 %; the 95 % interval of the loss is 1.5 to 4.0.",
        "An image needs 2 mJ, the ANN 8 mJ (45 nm, without memory traffic).",
    ]


@pytest.mark.parametrize(
    ("row", "lead"),
    [
        (EARLY, "SNN + joint loses 10.0 points of AP50:95 at t = 4 of T = 8, with 0.27 million spikes an image."),
        (replace(SNN, loss=-0.5, neuron="signed", spikes_per_image=1234.0),
         "SNN + joint with signed IF neurons gains 0.5 points of AP50:95 at T = 8, with 1,234 spikes an image."),
        (replace(SNN, loss=None, loss_ci95=None, spikes_per_image=None), "SNN + joint has 57.2 % AP50:95 at T = 8."),
        (ANN, "ANN has 60.0 % AP50:95."),
        (replace(SNN, AP=None, loss=None, loss_ci95=None),
         "There is no object to find on the 1,200 images of d test, so SNN + joint has no AP."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_said(row: ResultRow, lead: str) -> None:
    assert sentences(row)[0] == lead


def test_the_ann_that_a_loss_is_against_is_named() -> None:
    better = replace(ANN, finetuned=True, AP=64.0)
    lost = replace(SNN, loss=6.75, loss_ci95=None)
    assert sentences(lost, rows=[ANN, better, lost])[1] == (
        "It has 57.2 % on the 1,200 images of d test, the clip ANN after Stage I 64.0 %."
    )


def test_how_a_network_was_trained_is_not_part_of_the_sentence() -> None:
    scratch = replace(ANN, stage1_options="from scratch")
    copied = replace(SNN, stage="copied", finetuned=False, stage1_options="from scratch", loss=2.8, loss_ci95=None)
    lead, details, *_ = sentences(copied, rows=[scratch, copied])
    assert lead.startswith("SNN, weights copied loses") and details.endswith("the ANN 60.0 %.")
