"""The built-in synthetic set as a folder that a person can look at."""

from __future__ import annotations

import logging
from pathlib import Path

from spikedet.config import SynthesizeConfig
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic

logger = logging.getLogger("spikedet")


def synthesize(config: SynthesizeConfig) -> Path:
    """Write the set in VOC layout and return its folder."""
    side = config.side
    asked = SyntheticConfig(config.train, config.val, config.test, (side, side), config.seed)
    folder = write_synthetic(Path(config.out), asked)
    logger.info(f"{folder}: {config.train} train, {config.val} val, {config.test} test images")
    return folder
