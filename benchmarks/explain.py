#!/usr/bin/env python3
"""Why the VOC network that ships loses AP: `spikedet explain` at T = 8, and at T = 20 of its QC-ANN converted anew.

    python benchmarks/explain.py --data PATH/TO/VOCdevkit --qc runs/voc/T4-distill/qc.safetensors [--publish]

Needs the QC-ANN of configs/experiments/voc_table_x.yaml; the network for T = 20 has been through Stage II, on 64
training images. Prints the advice and the seconds that each explanation took; ``--publish`` writes explain_voc into
docs/results and docs/images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from reports import publish_reports

from spikedet.cli.messages import print_messages
from spikedet.commands.convert import convert
from spikedet.commands.explain import explain
from spikedet.common.resources import shipped_weights
from spikedet.config import ConvertConfig, ExplainConfig

SPLIT_PLOT = "explain-3-split.png"
TRAIN = "VOC2007/train"


def explained(configs: Sequence[ExplainConfig]) -> dict[Path, dict[str, Any]]:
    """Folders with an explanation of each network, and how long that took."""
    made: dict[Path, dict[str, Any]] = {}
    for config in configs:
        started = time.perf_counter()
        folder = explain(config).parent
        made[folder] = {"seconds": round(time.perf_counter() - started), "threads": torch.get_num_threads()}
        print(f"{config.checkpoint}: explained in {made[folder]['seconds']} s", flush=True)
    return made


def main() -> None:
    """Parse the flags and explain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with the images")
    parser.add_argument("--qc", required=True, help="the QC-ANN that Stage I made for the network that ships")
    parser.add_argument("--out", type=Path, default=Path("runs/explain"))
    parser.add_argument("--publish", action="store_true", help="write docs/results/explain_voc")
    arguments = parser.parse_args()
    print_messages()
    weights = {name: str(path) for name, path in shipped_weights().items()}
    common = {"data": arguments.data, "split": TRAIN}
    qc, later = arguments.qc, str(arguments.out / "T20")
    converted = convert(ConvertConfig(checkpoint=qc, T=20, calibrate=True, resume=True, out=later, **common))[-1]
    parents = {"qc": qc, "ann": weights["tiny-yolo-voc-source"], **common}
    networks = {8: weights["tiny-yolo-voc-t8"], 20: str(converted)}
    made = explained(
        [ExplainConfig(checkpoint=path, out=str(arguments.out / f"at-T{T}"), **parents) for T, path in networks.items()]
    )
    if arguments.publish:
        publish_reports("voc", "explain", made, SPLIT_PLOT, "python benchmarks/explain.py --data DATA --qc QC")


if __name__ == "__main__":
    main()
