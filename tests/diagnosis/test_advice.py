"""Advice follows from the numbers."""

from __future__ import annotations

import pytest
from made_explanations import chain, explanation, layer, ranking, step

from spikedet.diagnosis.advice import advise, chain_losses
from spikedet.diagnosis.records import ApPoint, LayerRank


def test_nothing_to_do() -> None:
    assert advise(explanation()) == ("no layer has a residual error above 2 % of its signal at t = 4: nothing to do",)


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        ("copied", "run Stage II (spikedet calibrate)"),
        ("coarse", "run the fine calibration too (spikedet calibrate --fine)"),
        ("fine", "calibrate all layers together (spikedet joint), or with more --images"),
    ],
)
def test_under_firing(stage: str, remedy: str) -> None:
    worst = layer(
        "b", step(4, under_firing=0.3, over_firing=0.1), fewer=0.25, more=0.5, spikes_mean=1.5, spikes_max=3.0
    )
    (said,) = advise(explanation(layer("a"), worst, stage=stage))
    assert said == (
        "layer b: residual error is 40.0 % of its signal, 75 % of that by under-firing (25.0 % of its neurons fire too "
        "few spikes; those with residual error are 1.5 spikes off on average and up to 3): "
        f"{remedy}, which raises u[0] here, or give it time to catch up (a larger T or --delay)"
    )


@pytest.mark.parametrize("neuron", ["if", "signed", "asymmetric"])
def test_over_firing(neuron: str) -> None:
    worst = layer("b", step(4, over_firing=0.1), more=0.5)
    (said,) = advise(explanation(worst, neuron=neuron))
    assert "100 % of that by over-firing (50.0 % of its neurons fire too many spikes" in said
    assert ("--neuron signed" in said) == (neuron == "if")
    assert ("a longer --delay" in advise(explanation(worst, neuron=neuron, delay=2))[0]) and "longer" not in said


def test_the_worst_layers_come_first_and_a_remedy_is_said_once() -> None:
    layers = [
        layer(name, step(4, over_firing=size)) for name, size in zip("abcde", (0.1, 0.4, 0.01, 0.2, 0.3), strict=True)
    ]
    said = advise(explanation(*layers))
    assert [sentence.split(":")[0] for sentence in said] == ["layer b", "layer e", "layer d"]
    assert [("Stage II" in sentence) for sentence in said] == [True, False, False]


def test_steps_that_are_worse_are_named() -> None:
    sizes = {1: 0.9, 2: 0.5, 4: 0.2, 8: 0.1}
    slow = layer("b", *(step(t, under_firing=size) for t, size in sizes.items()))
    assert "), and at t < 4 more than twice that: run Stage II" in advise(explanation(slow, T=8))[0]


def test_what_a_layer_inherits() -> None:
    first, last = layer("a", step(4, over_firing=0.1)), layer("z", step(4, over_firing=0.03, propagated_rpe=0.5))
    said = advise(explanation(first, last))
    assert said[-1] == (
        "layer z inherits more than it adds: the residual errors of earlier layers reach it as 50.0 % of its signal, "
        "its own are 3.0 %; begin with a"
    )


@pytest.mark.parametrize(
    ("aps", "first", "second"),
    [
        ((50, 49.9, 49.8), None, None),
        ((50, 47, 46), "ANN to QC-ANN costs 3.0 points and QC-ANN to SNN costs 1.0 points", "Stage I helps"),
        ((50, 51, 46), "ANN to QC-ANN wins 1.0 points and QC-ANN to SNN costs 5.0 points", None),
        ((None, 47, 46), None, None),
    ],
)
def test_what_the_chain_costs(aps: tuple[float, float, float], first: str | None, second: str | None) -> None:
    said = " ".join(advise(explanation(chain=chain(*aps))))
    assert (first or "nothing to do") in said
    assert ("Stage I helps" in said) == (second is not None)


def test_the_better_ann_counts() -> None:
    clip = ApPoint(network="clip ANN, Stage I", t=None, AP=52.0, AP50=None)
    assert chain_losses((clip, *chain(50, 47, 46))) == (5.0, 1.0)
    assert chain_losses(()) == (None, None)


def test_finetuned_networks_need_a_longer_stage_1() -> None:
    assert "a longer one (--epochs)" in " ".join(advise(explanation(chain=chain(50, 40, 40), finetuned=True)))
    assert "spikedet finetune" in " ".join(advise(explanation(chain=chain(50, 40, 40))))


def test_the_layer_that_moves_the_answers_most() -> None:
    ranks = (
        LayerRank(layer="b", moved=0.6, only=48.0, all_but=44.0),
        LayerRank(layer="a", moved=0.1, only=1, all_but=1),
    )
    (said,) = advise(explanation(ranking=ranking(*ranks)))
    assert said == (
        "the residual error of layer b moves the outputs most, 60 % of what all together do; on 4 images "
        "AP50:95 changes by -2.0 points with it alone, by -6.0 with all others and by -5.0 with all"
    )
    still = LayerRank(layer="b", moved=0.0, only=50.0, all_but=50.0)
    assert "nothing to do" in advise(explanation(ranking=ranking(still)))[0]
    assert "nothing to do" in advise(explanation(ranking=ranking()))[0]


def test_early_read_outs() -> None:
    slow = layer("b", step(1, 0.25, under_firing=0.61, quantization=0.39), step(2, 0.875), step(4, 0.96875))
    (said,) = advise(explanation(layer("a", step(1), step(2), step(4)), slow))
    assert said == (
        "read out early, layer b is the furthest from the QC-ANN: cosine 0.250 at t = 1, where 61 % of its error is "
        "under-firing; it reaches 0.969 at t = 4"
    )
    never = layer("b", step(1, 0.25, clipping=1.0), step(4, 0.5))
    assert advise(explanation(never))[0].endswith("is clipping; it is 0.500 at t = 4")


def test_dead_channels_and_saturated_neurons() -> None:
    dead = layer("b", theta={"dead_channels": 0.5})
    full = layer("c", theta={"saturated": 0.2, "saturated_qc": 0.1})
    said = advise(explanation(layer("a"), dead, full))
    assert "channels that never fire on 8 images: b (50 %)" in said[0]
    assert "layer c: 20.0 % of its neurons fire in every step, and 10.0 % of the QC-ANN's are at theta" in said[1]
