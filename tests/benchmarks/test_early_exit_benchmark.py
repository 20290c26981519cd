"""AP against the mean number of steps: rules, and images left at the same t."""

from __future__ import annotations

from pathlib import Path

import pytest
from early_exit import Rule, images, measured
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.common.errors import ConfigError
from spikedet.config import EvaluateConfig
from spikedet.data import load_dataset
from spikedet.inference.network import load_network


@pytest.mark.slow
def test_images_left_at_the_same_t_have_the_ap_of_an_evaluation(tmp_path: Path) -> None:
    copied = chain()["copied"]
    network = load_network(copied)
    T = network.meta.T
    assert T is not None
    dataset = images(network.meta, str(sample_images()), "test")
    never, at_once = Rule(T, T, 0.0), Rule(T, 1, 1.0)
    *fixed, last, first = measured(network, dataset, [*map(Rule, range(1, T + 1)), never, at_once])
    config = EvaluateConfig(
        checkpoints=(str(copied),),
        data=str(sample_images()),
        split="test",
        t=",".join(map(str, range(1, T + 1))),
        out=str(tmp_path),
    )
    aps = {row.t: row.AP for row in evaluate(config) if row.spiking}
    assert {row["mean_t"]: pytest.approx(row["AP"], abs=1e-6) for row in fixed} == aps
    assert (last["mean_t"], last["AP"]) == (T, fixed[-1]["AP"])
    assert 2 <= first["mean_t"] <= T


def test_images_that_are_not_known_to_be_held_out_are_not_taken() -> None:
    meta = load_network(chain()["copied"]).meta
    assert len(images(meta, str(sample_images()), "test")) == len(load_dataset(sample_images(), "test"))
    with pytest.raises(ConfigError, match="held out are not known; give --split"):
        images(meta, str(sample_images()), "")
