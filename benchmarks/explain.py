#!/usr/bin/env python3
"""Why a VOC network loses AP: `spikedet explain` at T = 8 and 20 of a QC-ANN after Stage II on 64 training images.

    python benchmarks/explain.py --data PATH/TO/VOCdevkit [--qc tiny-yolo-csp-voc-qc] [--publish]

Prints the advice and the seconds that each explanation took; ``--publish`` writes explain_voc into
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
from spikedet.common.resources import find_weights
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
    parser.add_argument("--qc", default="tiny-yolo-csp-voc-qc", help="a QC-ANN, a file or the name of shipped weights")
    parser.add_argument("--source", default="tiny-yolo-csp-voc-source", help="the source that it came from")
    parser.add_argument("--out", type=Path, default=Path("runs/explain"))
    parser.add_argument("--publish", action="store_true", help="write docs/results/explain_voc")
    arguments = parser.parse_args()
    print_messages()
    common = {"data": arguments.data, "split": TRAIN}
    qc, source = str(find_weights(arguments.qc)), str(find_weights(arguments.source))
    parents = {"qc": qc, "ann": source, **common}
    networks = {
        T: str(convert(ConvertConfig(checkpoint=qc, T=T, calibrate=True, resume=True, out=out, **common))[-1])
        for T, out in ((T, str(arguments.out / f"T{T}")) for T in (8, 20))
    }
    made = explained(
        [ExplainConfig(checkpoint=path, out=str(arguments.out / f"at-T{T}"), **parents) for T, path in networks.items()]
    )
    if arguments.publish:
        publish_reports("voc", "explain", made, SPLIT_PLOT, "python benchmarks/explain.py --data DATA --qc QC")


if __name__ == "__main__":
    main()
