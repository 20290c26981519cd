"""From the head's output maps to boxes: DFL decoding, non-maximum suppression, back to image pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.tal import dist2bbox
from ultralytics.utils.tal import make_anchors as make_anchors

from spikedet.data.transforms import from_letterbox
from spikedet.detections import Detections
from spikedet.snn import SpikingNetwork

EVALUATION_CONFIDENCE = 0.001
EVALUATION_IOU = 0.7
MAX_DETECTIONS = 100
FIRST, ALL = 2000, 30_000
"""Candidates of an image that are looked at first, and at most."""


def decode_head(box_maps: Sequence[Tensor], class_maps: Sequence[Tensor], strides: Tensor) -> Tensor:
    """Decoded predictions of an anchor-free head with distribution focal loss.

    Args:
        box_maps: per scale ``[N, 4 R, H, W]``, logits over R distances for left, top, right, bottom.
        class_maps: per scale ``[N, classes, H, W]``, logits.
        strides: ``[scales]``, pixels per cell.

    Returns:
        ``[N, 4 + classes, A]``: xywh in input pixels, then class scores in [0, 1], over all A cells.
    """
    n, channels = box_maps[0].shape[:2]
    bins = channels // 4
    distances = torch.cat([m.reshape(n, channels, -1) for m in box_maps], -1)
    scores = torch.cat([m.reshape(n, m.shape[1], -1) for m in class_maps], -1)
    anchors, stride = (a.transpose(0, 1) for a in make_anchors(list(box_maps), strides, 0.5))
    weights = torch.arange(bins, dtype=distances.dtype, device=distances.device).view(1, 1, bins, 1)
    expected = (distances.view(n, 4, bins, -1).softmax(2) * weights).sum(2)
    boxes = dist2bbox(expected, anchors.unsqueeze(0), xywh=True, dim=1) * stride
    return torch.cat([boxes, scores.sigmoid()], 1)


def decode_maps(network: SpikingNetwork, maps: Mapping[str, Tensor]) -> Tensor:
    """Decoded predictions ``[N, 4 + classes, A]`` of a network's output layers, by node name (others may be there)."""
    boxes, classes = ([maps[name] for name in names] for names in (network.box_readouts, network.class_readouts))
    return decode_head(boxes, classes, network.strides.to(boxes[0].device))


def suppressed(predictions: Tensor, confidence: float, iou: float) -> list[Tensor]:
    """Non-maximum suppression per class: the best ``MAX_DETECTIONS`` of each image, ``[K, 6]`` xyxy, score, label.

    A box is suppressed by better ones alone. So the boxes kept among the ``FIRST`` best candidates are the first kept
    of all. If they are enough, the others (tens of thousands where every cell has a small score) need no look.
    """

    def suppress(images: Tensor, candidates: int) -> list[Tensor]:
        settings = {"multi_label": True, "max_det": MAX_DETECTIONS, "max_time_img": 60.0}
        found: list[Tensor] = non_max_suppression(images.clone(), confidence, iou, max_nms=candidates, **settings)
        return found

    kept = suppress(predictions, FIRST)
    scores = predictions[:, 4:].flatten(1)
    for index, rows in enumerate(kept):
        more = int((scores[index] > confidence).sum()) > FIRST
        if more and len(rows) < MAX_DETECTIONS:
            kept[index] = suppress(predictions[index : index + 1], ALL)[0]
    return kept


def to_detections(
    predictions: Tensor,
    image_size: int,
    images_hw: Sequence[tuple[int, int]],
    confidence: float = EVALUATION_CONFIDENCE,
    iou: float = EVALUATION_IOU,
) -> list[Detections]:
    """Non-maximum suppression per class and back to each image's own pixels.

    Args:
        predictions: ``[N, 4 + classes, A]`` as from ``decode_head``.
        image_size: side of the network input.
        images_hw: original height and width of each of the N images.
        confidence: lowest score kept.
        iou: overlap above which the weaker box of a class is dropped.
    """
    made = []
    for rows, image_hw in zip(suppressed(predictions, confidence, iou), images_hw, strict=True):
        boxes = from_letterbox(rows[:, :4], image_size, image_hw)
        made.append(Detections(boxes.cpu().numpy(), rows[:, 4].cpu().numpy(), rows[:, 5].long().cpu().numpy()))
    return made
