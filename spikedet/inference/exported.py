"""Exported files as networks like any other: what is shipped can be evaluated and shown, not only what it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_convert

from spikedet.common.counts import counted
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import SimulationConfig
from spikedet.exports import Outputs, format_to_read
from spikedet.inference.network import ANN_STEP, Network, Prediction


class ExportedNetwork(Network):
    """An ONNX or OpenVINO file of ``spikedet export``, run by its engine on the CPU.

    Args:
        path: the file.
        how: its device alone matters; precision and time steps are the file's own.

    Attributes:
        meta: of the checkpoint that the file was made from; its model is named with the format.
        path: the file.

    Raises:
        CheckpointError: a file that spikedet has not exported, a damaged one, or one that asks for more than a network.
        ConfigError: another device than the CPU, or a package is missing.
    """

    def __init__(self, path: Path, how: SimulationConfig | None = None) -> None:
        kind = format_to_read(path)
        if kind is None:
            raise CheckpointError(f"{path}: no exported file; expected one that ends in .onnx or .xml")
        if how is not None and how.device not in ("auto", "cpu"):
            raise ConfigError(f"--device {how.device}: {path} runs on the CPU; leave --device out")
        self.path = path
        self._file, self._run = kind.read(path)
        network, precision = self._file.network, "" if self._file.precision == "fp32" else " int8"
        name = self._file.to if precision.strip() in self._file.to else f"{self._file.to}{precision}"
        self.meta = dataclasses.replace(network, model=f"{network.model} ({name})")

    def describe(self, batch: int) -> str:
        engine = "OpenVINO" if self.path.suffix == ".xml" else "onnxruntime"
        return f"{engine} on the CPU, {counted(torch.get_num_threads(), 'thread')}"

    def steps(self, requested: Sequence[int]) -> list[int]:
        """Those of the file's time steps that are requested, all of them if none are. Raises ConfigError for none."""
        if not self._file.steps:
            return [ANN_STEP]
        found = [t for t in self._file.steps if t in requested] if requested else list(self._file.steps)
        if not found:
            given = ", ".join(map(str, self._file.steps))
            raise ConfigError(f"{self.path}: gives outputs at t = {given}; export it again with --t for others")
        return found

    def stream(
        self, images: Tensor, steps: Sequence[int], *, chunk: int | None = None, count_sops: bool = False
    ) -> Iterator[tuple[int, Prediction]]:
        """All time steps are there at once; synaptic operations are not counted."""
        expected = (len(images), 4 + len(self.meta.class_names))
        try:
            found: Mapping[int, Outputs] = self._run(images)
            predictions = {t: Prediction(self._decoded(found[t]), found[t].spikes) for t in steps}
        except (LookupError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.path}: its outputs do not fit each other ({reason}); export it again"
            ) from error
        for t, prediction in predictions.items():
            if prediction.decoded.shape[:2] != expected or not bool(prediction.decoded.isfinite().all()):
                raise CheckpointError(f"{self.path}: its outputs are no boxes and scores; export it again")
            yield t, prediction

    def latency(self, t: int) -> int | None:
        return self._file.wait + t if self._file.steps else None

    def _decoded(self, outputs: Outputs) -> Tensor:
        """``[N, 4 + classes, A]``; boxes after non-maximum suppression have the score of one class alone."""
        if outputs.decoded is not None:
            return outputs.decoded
        kept = outputs.detections or []
        most = max((len(rows) for rows in kept), default=0)
        decoded = torch.zeros(len(kept), 4 + len(self.meta.class_names), most)
        for image, rows in zip(decoded, kept, strict=True):
            places = torch.arange(len(rows))
            image[:4, places] = box_convert(rows[:, :4], "xyxy", "cxcywh").T
            image[4 + rows[:, 5].long(), places] = rows[:, 4]
        return decoded


def exported_networks(paths: Sequence[str | Path], how: SimulationConfig) -> dict[str, ExportedNetwork]:
    """The exported files among these, read, by path."""
    return {str(path): ExportedNetwork(Path(path), how) for path in paths if format_to_read(Path(path)) is not None}
