#!/usr/bin/env python3
"""What conversion would do with ultralytics' models, layer by layer: ``spikedet convert MODEL --dry-run`` of each.

    python benchmarks/dry_runs.py [--publish]

Prints the tables; ``--publish`` writes docs/results/dry_run.md. Nothing is trained.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import get_args

from readme_tables import ROOT

from spikedet.common.files import write_text
from spikedet.config import Activation
from spikedet.conversion.report import as_text, report

MODELS = ("yolov3-tiny", "yolov5n", "yolov8n")
PAGE = ROOT / "docs" / "results" / "dry_run.md"


def section(model: str, activation: Activation) -> str:
    """One model's command and table."""
    name = f"{model}.yaml"
    lines = report(Path(name), activation=activation)
    counts = f"{len(lines)} layers, {sum(not line.supported for line in lines)} unsupported"
    command = f"spikedet convert {name} --activation {activation} --dry-run"
    return f"## {model}, {activation}\n\n`{command}`: {counts}\n\n```text\n{as_text(lines)}\n```\n"


def page() -> str:
    """The whole page."""
    activations = [activation for activation in get_args(Activation) if activation]
    sections = [section(model, activation) for model, activation in product(MODELS, activations)]
    return "\n".join(["# Dry runs\n\nMade by `python benchmarks/dry_runs.py --publish`.\n", *sections])


def main() -> None:
    """Parse the flags, print and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/dry_run.md")
    arguments = parser.parse_args()
    made = page()
    print(made)
    if arguments.publish:
        print("published", write_text(PAGE, made))


if __name__ == "__main__":
    main()
