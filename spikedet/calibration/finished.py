"""The layers of a calibration that are done, on disk, so that an interrupted one goes on at the layer it was in.

Every layer is calibrated from seeds of its own, so what is left comes out bit by bit as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from torch import Tensor, nn

from spikedet.calibration.report import LayerReport
from spikedet.checkpoint import load_checkpoint
from spikedet.checkpoint.state import alike, finite, load_state, save_state
from spikedet.common.digests import json_sha256
from spikedet.common.distributed import is_first
from spikedet.common.errors import CheckpointError
from spikedet.common.typed import typed
from spikedet.config import CalibrateConfig, JointConfig
from spikedet.data import DetectionDataset

logger = logging.getLogger("spikedet")

OTHER_STATE = (
    "{}: the state of a calibration of another network, with other settings or on other images; go without "
    "--resume, or with another --out"
)
_NOT_MATTERING = frozenset(
    {"checkpoint", "teacher", "data", "split", "skip_bad", "out", "resume", "memory_budget_gb", "device"}
)


def calibration_key(network_sha256: str, config: CalibrateConfig | JointConfig, images: DetectionDataset) -> str:
    """Changes with the network, the images and every setting that changes the result."""
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_MATTERING}
    return json_sha256([network_sha256, settings, images.image_facts()])


def is_result(path: Path, key: str) -> bool:
    """Whether a whole checkpoint is there that this very calibration has made; says so where another one has."""
    try:
        made_by = load_checkpoint(path)[1].notes.get("calibration")
    except CheckpointError:
        return False
    if made_by != key:
        logger.info(f"{path}: made from another network, with other settings or on other images; it is made again")
    return bool(made_by == key)


class FinishedLayers:
    """Tensors and reports of the layers that are done, by name.

    Args:
        path: the file; None keeps nothing.
        key: what the calibration is of.
        resume: begin with what is in the file.

    Raises:
        CheckpointError: the file is there, of a calibration with another key.
    """

    def __init__(self, path: Path | None = None, key: str = "", *, resume: bool = False) -> None:
        self.path, self.key = path, key
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._reports: dict[str, LayerReport] = {}
        if path is not None and resume:
            self._read(path)

    def __len__(self) -> int:
        return len(self._reports)

    def take(self, module: nn.Module, name: str) -> LayerReport | None:
        """Load a finished layer's tensors into it, in place; None if it is not finished, or was not kept whole."""
        found = self._tensors.get(name, {})
        if name not in self._reports or not alike(found, module.state_dict()) or not finite(found):
            return None
        module.load_state_dict(found)
        return self._reports[name]

    def add(self, module: nn.Module, name: str, report: LayerReport) -> None:
        """Write a layer that has just been finished beside the others, in one step."""
        if self.path is None or not is_first():
            return
        self._reports[name] = report
        self._tensors[name] = {key: value.detach().clone() for key, value in module.state_dict().items()}
        reports = {name: dataclasses.asdict(report) for name, report in self._reports.items()}
        facts = {"key": self.key, "reports": reports}
        save_state(self.path, self._tensors, {"state": {}, "param_groups": []}, facts)

    def remove(self) -> None:
        """The calibration is through."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        try:
            tensors, _, facts = load_state(path)
            key, reports = facts["key"], typed(dict[str, LayerReport], facts["reports"], str(path), CheckpointError)
        except (CheckpointError, KeyError, TypeError):
            return  # no file, or none of ours: from the beginning
        if key != self.key:
            raise CheckpointError(OTHER_STATE.format(path))
        self._tensors, self._reports = tensors, reports
