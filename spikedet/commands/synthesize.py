"""The built-in synthetic set as a folder that a person can look at."""

from __future__ import annotations

import logging
from pathlib import Path

from spikedet.config import SynthesizeConfig
from spikedet.data.synthetic.dataset import write_synthetic

logger = logging.getLogger("spikedet")


def synthesize(config: SynthesizeConfig) -> Path:
    """Write the set in VOC layout and return its folder."""
    side = config.side
    folder = write_synthetic(
        Path(config.out), train=config.train, val=config.val, test=config.test, image_hw=(side, side), seed=config.seed
    )
    logger.info(f"{folder}: {config.train} train, {config.val} val, {config.test} test images")
    return folder
