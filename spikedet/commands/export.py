"""Networks in the files of other engines."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ConfigError, ExportError
from spikedet.config import ExportConfig, SimulationConfig
from spikedet.data import load_for
from spikedet.data.synthetic.scenes import render_scene
from spikedet.data.transforms import to_input
from spikedet.exports import Format, Outputs, Subject, format_of
from spikedet.exports.check import MOST_MEAN_SCORE, difference
from spikedet.inference.network import load_network, spiking_graph
from spikedet.models.postprocess import suppressed

logger = logging.getLogger("spikedet")


def export(config: ExportConfig) -> Path:
    """Write a network in another engine's format, run the file on sample images, and print the largest difference.

    Nothing is left where the network cannot be exported or the file computes something else.

    Returns:
        The file.

    Raises:
        ExportError: the format cannot hold the network, with the layer and the reason, or the check failed.
        ConfigError: a package is missing, or settings do not fit the network.
    """
    out = Path(config.out)
    kind = format_of(config.to, out)
    network, meta = spiking_graph(Path(config.checkpoint), clipped=config.eight_bits)
    _require_fit(config, meta, kind)
    subject = Subject(network, meta, config)
    with _placed(out) as path:
        start = time.perf_counter()
        facts = kind.write(subject, path)
        facts["seconds"] = f"{time.perf_counter() - start:.1f}"
        images = sample_images(config, meta)
        found = difference(kind.run(path)(images), expected_outputs(config, images, subject.steps))
        if not subject.rounds_weights and not found.mean_score <= MOST_MEAN_SCORE:
            raise ExportError(f"{out}: the exported file differs from the network: {found}; nothing was written")
    logger.info(f"{out}: {', '.join(f'{name} {value}' for name, value in facts.items())}")
    logger.info(f"{found}, on {len(images)} images")
    return out


def _require_fit(config: ExportConfig, meta: CheckpointMeta, kind: Format) -> None:
    """Raise ConfigError for a network that the format does not take, or a setting that does nothing."""
    eight_bits = config.precision == "int8"
    if eight_bits and config.to != "openvino":
        raise ConfigError(f"--precision has no effect with --to {config.to}; for ONNX in 8 bits use --to onnx-int8")
    if idle := [name for name in kind.idle if getattr(config, name)]:
        raise ConfigError(f"--{idle[0]} has no effect with --to {config.to}; leave it out")
    stages = ("qc",) if eight_bits else kind.stages
    if ("spiking" if meta.spiking else meta.stage) not in stages:
        taken = {"ann": "a source ANN", "qc": "a QC-ANN (spikedet finetune)", "spiking": "a spiking network"}
        expected, what = " or ".join(taken[name] for name in stages), f"{config.to}{' int8' if eight_bits else ''}"
        raise ConfigError(f"{config.checkpoint}: {what} takes {expected}, got stage {meta.stage}")


def sample_images(config: ExportConfig, meta: CheckpointMeta) -> Tensor:
    """Images of the check ``[N, 3, S, S]``: the first of the data, or synthetic scenes."""
    if config.data:
        dataset = load_for(meta, config.data, config.split, config)
        pixels = [dataset.read_image(index) for index in range(min(config.images, len(dataset)))]
    else:
        rng = np.random.default_rng(0)
        pixels = [render_scene(rng, (meta.image_size,) * 2).image_bgr[..., ::-1] for _ in range(config.images)]
    return to_input(pixels, meta.image_size)


def expected_outputs(config: ExportConfig, images: Tensor, steps: tuple[int, ...]) -> dict[int, Outputs]:
    """Outputs of the network itself, as ``spikedet evaluate`` computes them in exact mode on the CPU."""
    network = load_network(config.checkpoint, SimulationConfig(device="cpu"))
    made = {}
    for t, prediction in network(images, steps).items():
        kept = suppressed(prediction.decoded, config.confidence, config.iou) if config.boxes == "nms" else None
        made[t] = Outputs(prediction.decoded, prediction.spikes, kept)
    return made


@contextmanager
def _placed(out: Path) -> Iterator[Path]:
    """Yield a path of the same name in a new folder beside; on success its files take their places, the named last."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / out.name
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.name == out.name):
            os.replace(path, out.with_name(path.name))
