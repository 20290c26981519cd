"""What foreign weights detect before any training: the original beside tiny-yolo-csp, and every step between.

    python benchmarks/foreign_weights.py --weights nanodet-g-coco.safetensors --data VOCdevkit --split VOC2007/val

Detections with scores below 0.05 do not count, in any row: before training every cell has a small one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from nanodet_g import bilinear, nanodet_g, nearest, normalized_bgr
from safetensors.torch import load_file
from torch import Tensor

from spikedet.config import Activation
from spikedet.data import DetectionDataset, load_dataset
from spikedet.evaluation.measures import measure
from spikedet.evaluation.predict import predict_dataset
from spikedet.models import build_detector, load_model_yaml, read_start, start_from_
from spikedet.models.builder import UNCLIPPED
from spikedet.models.foreign import coco_class_names
from spikedet.models.postprocess import decode_head
from spikedet.models.start import fit_, matching_rows, normalized

CONFIDENCE = 0.05
STRIDES = torch.tensor([8.0, 16.0, 32.0])

Forward = Callable[[Tensor], Tensor]
"""Images ``[N, 3, S, S]`` in [0, 1] -> decoded predictions ``[N, 4 + classes, A]``."""


def original(path: Path, class_names: tuple[str, ...], up: Callable[[Tensor], Tensor]) -> Forward:
    """The network in plain torch, its class rows in the order of ``class_names``."""
    weights = {name: value.float() for name, value in load_file(path).items()}
    rows = matching_rows(class_names, coco_class_names())
    chosen = [rows[i] for i in range(len(class_names))]

    def forward(images: Tensor) -> Tensor:
        maps = nanodet_g(weights, normalized_bgr(images), up)
        return decode_head([m[:, 80:] for m in maps], [m[:, chosen] for m in maps], STRIDES)

    return forward


def ours(path: Path, images: DetectionDataset, image_size: int, activation: Activation, levels: int = 0) -> Forward:
    """tiny-yolo-csp with the same weights; with ``levels``, fitted to training images as training begins."""
    start = read_start(path)
    if levels:
        start = normalized(start, images, image_size)
    model = build_detector(load_model_yaml("tiny-yolo-csp", activation), images.class_names, theta=UNCLIPPED).eval()
    start_from_(model, start, path)
    if levels:
        fit_(model, images, image_size, levels)
    return lambda x: model(x)[0]


def cells(forward: Forward, dataset: DetectionDataset, image_size: int) -> str:
    """AP50:95 and AP50."""
    found = predict_dataset(lambda x: {0: forward(x)}, dataset, image_size, confidence=CONFIDENCE)
    measures = measure(dataset, found[0])
    return f"{measures.AP:.1f} | {measures.AP50:.1f}"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="VOC2007/val")
    parser.add_argument("--fit-split", default="VOC2007/train", help="training images for normalization and thresholds")
    parser.add_argument("--count", type=int, default=150)
    args = parser.parse_args()
    dataset = load_dataset(args.data, args.split)
    dataset = dataset.subset(range(min(args.count, len(dataset))))
    fitting = load_dataset(args.data, args.fit_split).draw(64, 0)
    rows: dict[str, Callable[[int], Forward]] = {
        "original (bilinear upsampling)": lambda size: original(args.weights, dataset.class_names, bilinear),
        "original, nearest upsampling": lambda size: original(args.weights, dataset.class_names, nearest),
        "tiny-yolo-csp, LeakyReLU": lambda size: ours(args.weights, fitting, size, "leaky"),
        "tiny-yolo-csp, ReLU": lambda size: ours(args.weights, fitting, size, "clip"),
        "tiny-yolo-csp, clipped ReLU, fitted (8 levels)": lambda size: ours(args.weights, fitting, size, "clip", 8),
    }
    print("| network, no training | px | AP50:95 | AP50 |\n| --- | ---: | ---: | ---: |")
    for size in (416, 320):
        for name, make in rows.items():
            forward = make(size)
            print(f"| {name} | {size} | {cells(forward, dataset, size)} |", flush=True)


if __name__ == "__main__":
    main()
