"""What ``spikedet detect`` found, and the files about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikedet.common.counts import counted
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json
from spikedet.data.detection_files import write_coco_results, write_yolo_labels
from spikedet.detections import Detections
from spikedet.inference.inputs import Input
from spikedet.inference.video import AnnotatedFrame


def refuse_foreign_labels(out: Path) -> None:
    """Raise ConfigError if ``out/labels`` is there and no earlier detections are: they would be somebody's own."""
    if (out / "labels").exists() and not (out / "detections.json").exists():
        raise ConfigError(f"--out {out} has labels/ already, which --save-txt would overwrite; choose another folder")


class DetectionOutputs:
    """Collects the outputs on images and frames, in the order they come."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._records: dict[str, dict[str, Any]] = {}
        self._last: dict[str, tuple[tuple[int, int], Detections]] = {}
        self._counts: Counter[Input] = Counter()

    def add(self, item: Input, seen: AnnotatedFrame) -> None:
        """Take the outputs on an image, or on the next frame of a video."""
        self._counts[item] += 1
        frame, key, name = seen.frame, item.key, item.name
        record: dict[str, Any] = {}
        if item.video:
            key, name = f"{key}#{frame.number}", f"{name}-frame{frame.number:06d}"
            record["time_s"] = round(frame.source_time_s, 3)
        record |= {str(output.t): output.detections.to_records(self._class_names) for output in seen.outputs}
        while name in self._last:  # a.mp4 beside a-frame000001.jpg
            name += "_"
        self._records[key] = record
        height, width = frame.image_rgb.shape[:2]
        self._last[name] = ((height, width), seen.outputs[-1].detections)

    def write(self, out: Path, *, coco: bool, yolo: bool) -> Path:
        """Write ``detections.json`` and, of the last time step, ``results.json`` (COCO) and ``labels/`` (YOLO)."""
        if coco:
            write_coco_results(out, self._last, self._class_names)
        if yolo:
            write_yolo_labels(out / "labels", self._last)
        return write_json(out / "detections.json", self._records)

    def __str__(self) -> str:
        images = sum(not item.video for item in self._counts)
        frames = [count for item, count in self._counts.items() if item.video]
        parts = [counted(images, "image")] if images or not frames else []
        parts += [f"{counted(len(frames), 'video')} ({counted(sum(frames), 'frame')})"] if frames else []
        return " and ".join(parts)
