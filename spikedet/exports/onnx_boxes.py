"""The head's raw maps as boxes, in ONNX: the equations of ``spikedet.models.postprocess``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import TensorProto

from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.models.postprocess import MAX_DETECTIONS, make_anchors
from spikedet.snn import SpikingNetwork

Shape = tuple[int, int, int]


def decoded(
    graph: OnnxGraph, network: SpikingNetwork, boxes: Sequence[str], classes: Sequence[str], shapes: Sequence[Shape]
) -> str:
    """``[N, 4 + classes, A]`` as from ``decode_head``.

    Args:
        graph: where operators are appended.
        network: for its strides.
        boxes: raw maps of boxes, one for each scale.
        classes: of classes.
        shapes: ``[C, H, W]`` of the maps of boxes.
    """
    bins, cells = shapes[0][0] // 4, sum(height * width for _, height, width in shapes)
    distances = graph.op("Concat", *(graph.reshape(x, [0, 0, -1]) for x in boxes), axis=2)
    scores = graph.op("Concat", *(graph.reshape(x, [0, 0, -1]) for x in classes), axis=2)
    spread = graph.op("Softmax", graph.reshape(distances, [-1, 4, bins, cells]), axis=2)
    weights = graph.constant(np.arange(bins, dtype=np.float32).reshape(1, 1, bins, 1), "bins")
    expected = graph.sum(graph.op("Mul", spread, weights), [2])
    maps = [torch.empty(1, 0, height, width) for _, height, width in shapes]
    found = zip(make_anchors(maps, network.strides, 0.5), ("anchors", "strides"), strict=True)
    points, scale = (graph.constant(values.T[None], name) for values, name in found)  # in cells; pixels of a cell
    least = graph.op("Sub", points, graph.slice(expected, 0, 2, 1))
    most = graph.op("Add", points, graph.slice(expected, 2, 4, 1))
    center = graph.op("Div", graph.op("Add", least, most), graph.constant(2.0))
    xywh = graph.op("Mul", graph.op("Concat", center, graph.op("Sub", most, least), axis=1), scale)
    return graph.op("Concat", xywh, graph.op("Sigmoid", scores), axis=1)


def suppressed(graph: OnnxGraph, predictions: str, classes: int, confidence: float, iou: float) -> str:
    """Non-maximum suppression per class: ``[M, 7]`` of image, x1, y1, x2, y2, score, label, the best of each class.

    Args:
        graph: where operators are appended.
        predictions: from ``decoded``.
        classes: number of classes.
        confidence: lowest score kept.
        iou: overlap above which the weaker box of a class is dropped.
    """
    centers, sides = (graph.slice(predictions, start, start + 2, 1) for start in (0, 2))
    half = graph.op("Mul", sides, graph.constant(0.5))
    corners = graph.op("Concat", graph.op("Sub", centers, half), graph.op("Add", centers, half), axis=1)
    boxes = graph.op("Transpose", corners, perm=[0, 2, 1])
    scores = graph.slice(predictions, 4, 4 + classes, 1)
    limits = (np.array([MAX_DETECTIONS], np.int64), np.array([iou], np.float32), np.array([confidence], np.float32))
    kept = graph.op("NonMaxSuppression", boxes, scores, *(graph.constant(limit, "limit") for limit in limits))
    image, label, cell = (graph.slice(kept, index, index + 1, 1) for index in range(3))
    box = graph.op("GatherND", boxes, graph.op("Concat", image, cell, axis=1))
    score = graph.op("Unsqueeze", graph.op("GatherND", scores, kept), graph.constant(np.array([1], np.int64), "axes"))
    image, label = (graph.op("Cast", value, to=TensorProto.FLOAT) for value in (image, label))
    return graph.op("Concat", image, box, score, label, axis=1)
