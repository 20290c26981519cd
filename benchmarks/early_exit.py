#!/usr/bin/env python3
"""Early exit: AP and mean number of steps when an image is left once its boxes have stayed the same for k steps.

    python benchmarks/early_exit.py --checkpoint fine.safetensors --data PATH/TO/BCCD [--split val] [--mode exact]

Boxes are watched at the confidence a user sees (0.25); AP is that of everything the network says at the step it stops.
"""

from __future__ import annotations

import argparse

import torch

from spikedet.common.progress import track
from spikedet.config import SimulationConfig
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.evaluation import measure
from spikedet.inference.early_exit import Stability
from spikedet.inference.network import load_network
from spikedet.models.postprocess import to_detections

SEEN = 0.25


def main() -> None:
    """One row per k; 0 never stops early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", default="")
    parser.add_argument("--split", default="val")
    parser.add_argument("--mode", default="exact")
    parser.add_argument("--k", default="0,1,2,3,4")
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint, SimulationConfig(mode=arguments.mode))
    meta = network.meta
    dataset = load_dataset(arguments.data or meta.data["data"], arguments.split, class_names=meta.class_names)
    assert meta.T is not None, "a converted network is needed"
    wanted = [int(k) for k in arguments.k.split(",")]
    found: dict[int, list[Detections]] = {k: [] for k in wanted}
    steps = dict.fromkeys(wanted, 0)
    for index in track(range(len(dataset)), "simulating"):
        pixels = dataset.read_image(index)
        watching = {k: Stability(k) for k in wanted}
        for t, prediction in network.stream(to_input([pixels], meta.image_size), range(1, meta.T + 1)):
            shape = [(pixels.shape[0], pixels.shape[1])]
            (seen,) = to_detections(prediction.decoded, meta.image_size, shape, SEEN)
            for k, stability in list(watching.items()):
                if stability.reached(seen) or t == meta.T:
                    found[k] += to_detections(prediction.decoded, meta.image_size, shape)
                    steps[k] += t
                    del watching[k]
    print(f"{arguments.checkpoint} on {len(dataset)} images of {arguments.split}, {torch.get_num_threads()} threads")
    print("| stable for k steps | mean t | AP50:95 | AP50 |\n| ---: | ---: | ---: | ---: |")
    for k in wanted:
        made = measure(dataset, found[k])
        print(f"| {k or 'never'} | {steps[k] / len(dataset):.1f} | {made.AP:.1f} | {made.AP50:.1f} |")


if __name__ == "__main__":
    main()
