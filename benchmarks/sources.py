"""Source ANNs compared on the images that their training held out: as they are, and quantized without Stage I.

    python benchmarks/sources.py runs/csp/*/ann.safetensors [--size 320 416] [--T 8 4] [--average FILE]

A network that is to be converted should be good and easy to quantize. The QC-ANN has the weights of the source and,
for its T, the thresholds that Stage I begins with, one for each channel, from 64 training images. ``--average`` adds
the mean of the weights of all of them, often better than each where one was trained on from another (Wortsman et al.,
"Model soups", 2022), and keeps it as FILE.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.data import DetectionDataset, load_dataset
from spikedet.evaluation.measures import measure
from spikedet.evaluation.predict import predict_dataset
from spikedet.models import ClipDetector, as_qc, fitted_levels, load_ann, set_mean_square_best_thetas_

FITTING_IMAGES = 64


def row(model: ClipDetector, dataset: DetectionDataset, image_size: int) -> str:
    """AP50:95 and AP50 in one cell."""
    network = model.eval().to(memory_format=torch.channels_last)
    measures = measure(dataset, predict_dataset(lambda x: {0: network(x)[0]}, dataset, image_size)[0])
    return f"{measures.AP:.1f} / {measures.AP50:.1f}"


def averaged(paths: list[Path], out: Path) -> Path:
    """The mean of the weights of checkpoints of one architecture, with the metadata of the last."""
    tensors, meta = load_checkpoint(paths[-1])
    others = [load_checkpoint(path)[0] for path in paths[:-1]]
    for name, value in tensors.items():
        if value.is_floating_point():
            tensors[name] = torch.stack([value, *(other[name] for other in others)]).double().mean(0).to(value.dtype)
    notes = {"weights": f"the mean of {len(paths)} trainings: {', '.join(path.stem for path in paths)}"}
    return save_checkpoint(out, tensors, dataclasses.replace(meta, notes=notes))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--size", nargs="*", type=int, help="input sizes; default: the checkpoint's")
    parser.add_argument("--T", nargs="*", type=int, default=[8], help="levels of the QC-ANN")
    parser.add_argument("--data", default="", help="default: the checkpoint's")
    parser.add_argument("--average", type=Path, metavar="FILE", help="also the mean of their weights, kept as FILE")
    args = parser.parse_args()
    if args.average:
        args.checkpoints.append(averaged(args.checkpoints, args.average))
    print("| source | px | ANN | " + " | ".join(f"QC-ANN, T = {T}" for T in args.T) + " |")
    print("| --- | ---: |" + " ---: |" * (len(args.T) + 1))
    for path in args.checkpoints:
        _, meta = load_ann(path)
        data, split = meta.training_data(args.data, "")
        fraction, seed = meta.held_out(data, split) or (0.1, meta.seed)
        rest, held_out = load_dataset(data, split, class_names=meta.class_names).hold_out(fraction, seed)
        for size in args.size or [meta.image_size]:
            model, _ = load_ann(path)
            cells = [row(model, held_out, size)]
            for T in args.T:
                model, _ = load_ann(path)
                set_mean_square_best_thetas_(model, rest.draw(FITTING_IMAGES, 0), size, fitted_levels(T))
                cells.append(row(as_qc(model, T), held_out, size))
            print(f"| {path.parent.name}/{path.stem} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
