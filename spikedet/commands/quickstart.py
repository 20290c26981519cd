"""Every stage on the built-in synthetic set: train, Stage I, convert, Stage II, joint calibration, evaluate, draw."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from spikedet.commands.convert import convert
from spikedet.commands.detect import detect
from spikedet.commands.evaluate import evaluate
from spikedet.commands.train import train
from spikedet.config import ConvertConfig, DetectConfig, EvaluateConfig, QuickstartConfig, TrainConfig
from spikedet.data import load_dataset
from spikedet.evaluation import ResultRow

logger = logging.getLogger("spikedet")

IMAGE_SIZE = 160
DATA = "synthetic"


def quickstart(config: QuickstartConfig) -> list[ResultRow]:
    """Run the whole pipeline with the nano network; returns the rows of the table it prints."""
    started = time.perf_counter()
    out = Path(config.out)
    source = train(
        TrainConfig(
            model="tiny-yolo-nano",
            weights="none",
            data=DATA,
            image_size=IMAGE_SIZE,
            epochs=config.epochs,
            batch=16,
            lr=2e-3,
            validate_every=5,
            seed=config.seed,
            out=str(out),
        )
    )
    written = convert(
        ConvertConfig(
            checkpoint=str(source),
            T=config.T,
            finetune=True,
            finetune_epochs=config.finetune_epochs,
            calibrate=True,
            images=config.images,
            joint=True,
            joint_epochs=config.joint_epochs,
            seed=config.seed,
        )
    )
    steps = ",".join(str(t) for t in sorted({max(1, config.T // 4), max(1, config.T // 2), config.T}))
    rows = evaluate(EvaluateConfig(checkpoints=(str(out),), split="test", t=steps, batch=16, out=str(out / "results")))
    sample = load_dataset(DATA, "test").samples[0]
    images = (str(sample.image_path),)
    detect(DetectConfig(source=images, weights=str(written[-1]), t=steps, out=str(out / "detections")))
    logger.info(f"quickstart: {time.perf_counter() - started:.0f} s, everything is in {out}")
    return rows
