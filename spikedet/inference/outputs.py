"""What ``spikedet detect`` found, and the files about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json
from spikedet.data.detection_files import Detected, write_coco_results, write_yolo_labels
from spikedet.inference.detector import StepOutput
from spikedet.inference.video import AnnotatedFrame


def refuse_foreign_labels(out: Path) -> None:
    """Raise ConfigError if ``out/labels`` is there and no earlier detections are: they would be somebody's own."""
    if (out / "labels").exists() and not (out / "detections.json").exists():
        raise ConfigError(f"--out {out} has labels/ already, which --save-txt would overwrite; choose another folder")


class DetectionOutputs:
    """Collects the outputs on images and frames, in the order they come."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._records: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._detected: list[Detected] = []
        self._images = 0
        self._frames: dict[str, int] = {}

    def add_image(self, key: str, name: str, image_hw: tuple[int, int], outputs: Sequence[StepOutput]) -> None:
        """Outputs by time step, earliest first; ``key`` in detections.json, ``name`` in the other formats."""
        self._images += 1
        self._add(key, name, image_hw, outputs, ())

    def add_frame(self, key: str, name: str, seen: AnnotatedFrame) -> None:
        """The same of one frame of a video."""
        self._frames[key] = self._frames.get(key, 0) + 1
        height, width = seen.frame.image_rgb.shape[:2]
        number = seen.frame.number
        self._add(f"{key}#{number}", f"{name}-frame{number:06d}", (height, width), seen.outputs, seen.track_ids)

    def _add(
        self,
        key: str,
        name: str,
        image_hw: tuple[int, int],
        outputs: Sequence[StepOutput],
        track_ids: Sequence[int | None],
    ) -> None:
        by_step = {str(output.t): output.detections.to_records(self._class_names) for output in outputs}
        last = outputs[-1]
        for record, track_id in zip(by_step[str(last.t)], track_ids, strict=False):
            record["track_id"] = track_id
        self._records[key] = by_step
        self._detected.append(Detected(name, image_hw, last.detections))

    def write(self, out: Path, *, coco: bool, yolo: bool) -> Path:
        """Write ``detections.json`` and, of the last time step, ``results.json`` (COCO) and ``labels/`` (YOLO)."""
        if coco:
            write_coco_results(out, self._detected, self._class_names)
        if yolo:
            write_yolo_labels(out / "labels", self._detected)
        return write_json(out / "detections.json", self._records)

    def __str__(self) -> str:
        videos = f"{len(self._frames)} videos ({sum(self._frames.values())} frames)"
        if not self._frames:
            return f"{self._images} images"
        return f"{self._images} images and {videos}" if self._images else videos
