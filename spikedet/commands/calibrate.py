"""Stage II: a converted network calibrated on training images."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from spikedet.calibration.estimate import estimate
from spikedet.calibration.finished import FinishedLayers, calibration_key, is_result
from spikedet.calibration.layerwise import MAX_LEVELS, calibrate_network
from spikedet.checkpoint import require_converted
from spikedet.common.counts import counted
from spikedet.common.digests import file_sha256
from spikedet.common.distributed import barrier, first_says, is_first, own, size
from spikedet.common.environment import seed_everything
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.memory import keep_freed_memory
from spikedet.config import CalibrateConfig
from spikedet.conversion import load_spiking, require_one_window, save_spiking
from spikedet.data import load_for
from spikedet.data.transforms import to_input

logger = logging.getLogger("spikedet")


@keep_freed_memory()
def calibrate(config: CalibrateConfig) -> list[Path]:
    """Calibrate one checkpoint's network, converted and not calibrated yet, on images.

    Returns:
        ``OUT/coarse.safetensors`` and, if asked for, ``OUT/fine.safetensors``.

    Raises:
        CheckpointError: no converted network, or one that is calibrated already.
        ConfigError: T is too large, or there are fewer images than processes.
    """
    source = Path(config.checkpoint)
    network, meta = load_spiking(source)
    require_converted(source, meta)
    require_one_window(network, source)
    if meta.stage != "copied":
        raise CheckpointError(f"{source}: already calibrated ({meta.stage}); calibrate the copied network it came from")
    if uneven := [node.name for node, layer in network.spiking() if layer.u0.ndim > 1]:
        raise CheckpointError(f"{source}: {uneven[0]} has an initial potential per neuron; expected one per channel")
    both_signs = any(layer.neuron == "asymmetric" for _, layer in network.spiking())
    largest = MAX_LEVELS // 2 if both_signs else MAX_LEVELS
    if largest < network.T:
        raise ConfigError(f"calibration works for T up to {largest}, this network has T = {network.T}")
    seed_everything(config.seed)
    data, split = meta.training_data(config.data, config.split)
    dataset = load_for(meta, data, split, config).for_training()
    drawn = dataset.draw(config.images, config.seed, meta.held_out(data, split))
    if len(drawn) < size():
        raise ConfigError(f"{counted(len(drawn), 'calibration image')} for {size()} processes; use more --images")
    images = to_input([drawn.read_image(i) for i in own(range(len(drawn)))], meta.image_size)
    here = "" if size() == 1 else f", {len(images)} of them here"
    logger.info(
        f"Stage II on {counted(len(drawn), 'image')} of {drawn.split}{here}: {estimate(network, images, config)}"
    )
    out = Path(config.out) if config.out else source.parent
    key = calibration_key(file_sha256(source), config, drawn)
    stages = ("coarse", "fine") if config.fine else ("coarse",)
    paths = {stage: out / f"{stage}.safetensors" for stage in stages}
    left = [stage for stage in stages if not first_says(config.resume and is_result(paths[stage], key))]
    # All states are looked at before anything is written: one of them may be another calibration's.
    states = [FinishedLayers(out / f"{stage}-state.safetensors", key, resume=config.resume) for stage in left]
    for stage, finished in zip(left, states, strict=True):
        if len(finished):
            logger.info(f"resumed after {counted(len(finished), 'layer')} of the {stage} calibration")
        made, reports = calibrate_network(network, images, config, fine=stage == "fine", finished=finished)
        if is_first():
            child = meta.child(
                source,
                stage=stage,
                config={**meta.config, "calibrate": config.recorded()},
                notes={"layers": [dataclasses.asdict(r) for r in reports], "calibration": key},
                seed=config.seed,
            )
            save_spiking(paths[stage], made, child)
            finished.remove()
            logger.info(f"{paths[stage]}: written")
    barrier()
    return list(paths.values())
