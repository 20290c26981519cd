"""Our dataset behind ultralytics' augmentations: labels from memory, no cache files in the user's folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from ultralytics.data.dataset import YOLODataset

from spikedet.data import DetectionDataset
from spikedet.data.transforms import KEPT_BYTES


class AugmentedDataset(YOLODataset):
    """Ultralytics' YOLODataset fed from a ``DetectionDataset``; ``difficult`` objects are left out.

    Resized images stay in memory while they fit, otherwise a small buffer serves the mosaic.
    """

    def __init__(self, source: DetectionDataset, *, image_size: int, hyp: Any, augment: bool, batch: int) -> None:
        self.source = source
        names = dict(enumerate(source.class_names))
        super().__init__(
            img_path="",
            imgsz=image_size,
            augment=augment,
            hyp=hyp,
            batch_size=batch,
            data={"names": names, "nc": len(names), "channels": 3},
        )

    def build_transforms(self, hyp: Any) -> Any:
        """Ultralytics' transforms; the mosaic draws from all images if they fit in memory, else from the buffer."""
        if self.augment and len(self.source) * self.imgsz * self.imgsz * 3 <= KEPT_BYTES:
            self.cache = "ram"
            if hyp.workers:  # read before the loading processes begin, or each of them reads every image itself
                with ThreadPoolExecutor(hyp.workers) as pool:
                    list(pool.map(self.load_image, range(len(self.source))))
        return super().build_transforms(hyp)

    def get_img_files(self, img_path: Any) -> list[str]:
        """The images' paths, in dataset order."""
        return [str(sample.image_path) for sample in self.source.samples]

    def get_labels(self) -> list[dict[str, Any]]:
        """Normalized xywh labels without difficult objects."""
        labels: list[dict[str, Any]] = []
        for sample in self.source.samples:
            height, width = sample.image_hw
            keep = ~sample.difficult
            x0, y0, x1, y1 = sample.boxes_xyxy[keep].T
            xywh = np.stack([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], 1)
            labels.append(
                {
                    "im_file": str(sample.image_path),
                    "shape": sample.image_hw,
                    "cls": sample.labels[keep].astype(np.float32).reshape(-1, 1),
                    "bboxes": xywh.astype(np.float32).reshape(-1, 4),
                    "segments": [],
                    "keypoints": None,
                    "normalized": True,
                    "bbox_format": "xywh",
                }
            )
        return labels

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> Any:
        """BGR image with its longer side resized to the input size, its original and resized (h, w)."""
        if self.ims[i] is not None:
            return self.ims[i], self.im_hw0[i], self.im_hw[i]
        image = np.ascontiguousarray(self.source.read_image(i)[..., ::-1])
        height, width = image.shape[:2]
        ratio = self.imgsz / max(height, width)
        if ratio != 1:
            size_wh = (min(-int(-width * ratio // 1), self.imgsz), min(-int(-height * ratio // 1), self.imgsz))
            image = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
        if self.augment:
            self._remember(i, image, (height, width))
        return image, (height, width), image.shape[:2]

    def forget(self) -> None:
        """Empty the mosaic's buffer, so that every epoch begins alike; images that are all kept stay."""
        if self.cache != "ram":
            for i in self.buffer:
                self.ims[i] = self.im_hw0[i] = self.im_hw[i] = None
            self.buffer.clear()

    def _remember(self, i: int, image: Any, image_hw: tuple[int, int]) -> None:
        self.ims[i], self.im_hw0[i], self.im_hw[i] = image, image_hw, image.shape[:2]
        if self.cache == "ram":
            return
        self.buffer.append(i)
        if 1 < len(self.buffer) >= self.max_buffer_length:
            oldest = self.buffer.pop(0)
            self.ims[oldest] = self.im_hw0[oldest] = self.im_hw[oldest] = None
