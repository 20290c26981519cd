"""Boxes growing with time on one image, for every network that a checkpoint came from."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikedet.common.errors import ConfigError
from spikedet.common.resources import find_weights
from spikedet.config import GrowConfig, parse_time_steps
from spikedet.conversion import load_spiking
from spikedet.data.images import read_image
from spikedet.data.transforms import to_input
from spikedet.inference.comparison import load_family, look, stops
from spikedet.snn.recording import record_layer
from spikedet.visualization.draw import save_image
from spikedet.visualization.letters import names_beside
from spikedet.visualization.raster import plot_raster
from spikedet.visualization.strip import animation, save_animation, strip

logger = logging.getLogger("spikedet")

COLUMNS = 8


def grow(config: GrowConfig) -> Path:
    """Write ``strip.png`` (a row per spiking network, a column per t), ``growing.gif`` and, asked for, ``raster.png``.

    Returns:
        The path of the strip.

    Raises:
        DataError: the image cannot be read.
        CheckpointError: a checkpoint cannot be used.
        ConfigError: networks of different tasks, a time step beyond every T, or no such layer.
    """
    image = read_image(Path(config.source))
    names = config.weights.split(",")
    members = load_family(names, config)
    classes = {member.detector.class_names for member in members}
    if len(classes) > 1:
        raise ConfigError(f"--weights {config.weights}: these networks have different classes; show those of one task")
    T = max((member.detector.T or 0 for member in members if member.detector.meta.spiking), default=0)
    steps = parse_time_steps(config.t)
    if steps and max(steps) > T:
        raise ConfigError(f"--t {config.t}: the networks were converted for at most T = {T}")
    out = Path(config.out)
    if config.layer:
        _raster(image, find_weights(names[-1]), config.layer, out)
    printed = set(steps or stops(T, COLUMNS))
    views = look(
        image, members, confidence=config.confidence, iou=config.iou, steps=sorted(printed | set(steps or stops(T)))
    )
    (class_names,) = classes
    if beside := names_beside(class_names):
        logger.info(beside)
    rows = [(view.title, view.found) for view in views]
    some = [(title, {t: found[t] for t in found if t in printed or t == max(found)}) for title, found in rows]
    result = save_image(out / "strip.png", strip(image, some, class_names))
    save_animation(out / "growing.gif", animation(image, rows, class_names))
    logger.info(f"{len(rows)} networks, t = 1 to {T}: {result} and {out / 'growing.gif'}")
    return result


def _raster(image: npt.NDArray[np.uint8], weights: Path, layer: str, out: Path) -> None:
    network, meta = load_spiking(weights)
    known = [node.name for node, _ in network.spiking()]
    if layer not in known:
        raise ConfigError(f"--layer {layer}: no such spiking layer in {weights}; expected one of {', '.join(known)}")
    record = record_layer(network, to_input([image], meta.image_size), layer, network.T)
    path = plot_raster(record, f"{layer} of {weights.name}, T = {network.T}", out / "raster.png")
    logger.info(f"spikes and potentials of {layer}: {path}")
