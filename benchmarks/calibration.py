#!/usr/bin/env python3
"""Time of Stage II and the errors it reaches, compiled kernels beside the dense path.

    python benchmarks/calibration.py --checkpoint copied.safetensors [--images 128] [--slow]

Errors are held-out mean squared errors in squared activation units (output layers: logits), summed over layers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from subjects import child_environment

from spikedet.calibration import calibrate_network
from spikedet.common.environment import seed_everything
from spikedet.config import CalibrateConfig
from spikedet.conversion import load_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input


def child(arguments: argparse.Namespace) -> None:
    """Calibrate, and print what it took and what came out, as JSON."""
    network, meta = load_spiking(Path(arguments.checkpoint))
    dataset = load_dataset(*meta.training_data(arguments.data, ""), class_names=meta.class_names)
    drawn = dataset.draw(arguments.images, 0)
    images = to_input([drawn.read_image(i) for i in range(len(drawn))], meta.image_size)
    config = CalibrateConfig(checkpoint=arguments.checkpoint, epochs=arguments.epochs, patience=arguments.patience)
    seed_everything(config.seed)
    started = time.perf_counter()
    _, reports = calibrate_network(network, images, config, fine=True)
    seconds = time.perf_counter() - started
    errors = [[report.layer, report.fine_before, report.fine_after] for report in reports]
    print(json.dumps({"seconds": seconds, "epochs": sum(r.epochs for r in reports), "errors": errors}))


def main() -> None:
    """One row per path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a converted network with copied weights")
    parser.add_argument("--data", default="", help="where its training images are now")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--patience", type=int, default=0, help="0: every layer runs all its epochs")
    parser.add_argument("--slow", action="store_true", help="also the dense path")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    print(f"{arguments.images} images, {arguments.epochs} epochs a layer, {torch.get_num_threads()} threads")
    print("| path | minutes | epochs | sum of held-out MSE before | after |\n| --- | ---: | ---: | ---: | ---: |")
    for path, native in (("compiled", "1"), ("dense", "0"))[: 2 if arguments.slow else 1]:
        command = [sys.executable, __file__, *sys.argv[1:], "--child"]
        environment = {**child_environment(torch.get_num_threads()), "SPIKEDET_NATIVE": native}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        made = json.loads(done.stdout.splitlines()[-1])
        before, after = (sum(error[i] for error in made["errors"]) for i in (1, 2))
        minutes = made["seconds"] / 60
        print(f"| {path} | {minutes:.2f} | {made['epochs']} | {before:.4f} | {after:.4f} |", flush=True)


if __name__ == "__main__":
    main()
