"""``--skip-bad`` reaches the loading of images in every stage that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_detector import chain

from spikedet.commands import calibrate, convert, evaluate, finetune, train
from spikedet.config import CalibrateConfig, ConvertConfig, EvaluateConfig, FinetuneConfig, TrainConfig
from spikedet.data import sources


class Loaded(Exception):
    """Raised in place of loading, so that no stage runs."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """``skip_bad`` of every attempt to load."""
    chain()  # made by the stages as they are
    found: list[bool] = []

    def load(*_: Any, skip_bad: bool = False, **__: Any) -> None:
        found.append(skip_bad)
        raise Loaded

    for module in (train, sources):
        monkeypatch.setattr(module, "load_dataset", load)
    return found


@pytest.mark.parametrize("skip_bad", [False, True])
def test_every_stage_passes_it_on(tmp_path: Path, seen: list[bool], skip_bad: bool) -> None:
    common: dict[str, Any] = {"skip_bad": skip_bad, "out": str(tmp_path)}
    ann, copied = str(chain()["ann"]), str(chain()["copied"])
    runs = [
        lambda: train.train(TrainConfig(**common)),
        lambda: finetune.finetune(FinetuneConfig(checkpoint=ann, **common)),
        lambda: calibrate.calibrate(CalibrateConfig(checkpoint=copied, **common)),
        lambda: evaluate.evaluate(EvaluateConfig(checkpoints=(ann,), **common)),
        lambda: convert.convert(ConvertConfig(checkpoint=ann, T=4, **common)),
        lambda: convert.convert(ConvertConfig(checkpoint=ann, T=4, finetune=True, **common)),
        lambda: convert.convert(ConvertConfig(checkpoint=ann, T=4, theta_images=0, calibrate=True, **common)),
    ]
    for run in runs:
        with pytest.raises(Loaded):
            run()
    assert seen == [skip_bad] * len(runs)
