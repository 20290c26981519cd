#!/usr/bin/env python3
"""Own data from scratch and from shipped weights: AP against epochs, and at the end on the test split.

    python benchmarks/starts.py --data BCCD [--weights tiny-yolo-csp-voc-source] [--seeds 3] [--publish]

Every training resumes where it was interrupted. Epochs and rates are the same for all seeds; the best epoch is chosen
on the held-out tenth of the training images.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readme_tables import ROOT

from spikedet.cli.messages import print_messages
from spikedet.commands.evaluate import evaluate
from spikedet.commands.train import train
from spikedet.common.environment import versions
from spikedet.common.files import write_json
from spikedet.common.resources import find_weights
from spikedet.config import EvaluateConfig, TrainConfig
from spikedet.visualization.figure import OKABE_ITO, new_figure
from spikedet.visualization.training import read_log

MODEL = "tiny-yolo-csp"


@dataclass(frozen=True)
class Start:
    """How a training begins.

    Attributes:
        name: for tables and folders.
        weights: as in ``TrainConfig``.
        epochs: passes over the training images.
        lr: learning rate.
    """

    name: str
    weights: str
    epochs: int
    lr: float


def trained(start: Start, data: str, seed: int, out: Path) -> tuple[list[float], float, float]:
    """Held-out AP50:95 by epoch, and AP50:95 and AP50 on the test split of the best epoch."""
    folder = out / f"{start.name.replace(' ', '-')}-seed{seed}"
    path = train(
        TrainConfig(
            data=data,
            model=MODEL,
            weights=start.weights,
            epochs=start.epochs,
            lr=start.lr,
            seed=seed,
            resume=True,
            out=str(folder),
        )
    )
    rows = evaluate(EvaluateConfig(checkpoints=(str(path),), data=data, split="test", resume=True, out=str(folder)))
    return read_log(folder / "ann-log.csv")["held_out/AP"], rows[0].AP or 0.0, rows[0].AP50 or 0.0


def plot(curves: dict[str, list[list[float]]], path: Path) -> None:
    """Mean over seeds with the range between them, one line for each start."""
    with new_figure(path, width=7, height=4.5, legend="medium") as axes:
        for (name, runs), colour in zip(curves.items(), OKABE_ITO, strict=False):
            epochs = range(1, min(map(len, runs)) + 1)
            columns = [[run[epoch - 1] for run in runs] for epoch in epochs]
            axes.plot(epochs, [statistics.mean(column) for column in columns], color=colour, label=name)
            axes.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.2)
        axes.set(xlabel="epoch", ylabel="AP50:95 on held-out training images, %", ylim=(0, None))


def main() -> None:
    """One line for each start: mean and range over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", default="tiny-yolo-csp-voc-source")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "starts")
    parser.add_argument("--publish", action="store_true", help="write docs/results/starts.json and the plot beside it")
    arguments = parser.parse_args()
    print_messages()
    weights = str(find_weights(arguments.weights))
    starts = (Start("from shipped weights", weights, 30, 1e-3), Start("from scratch", "none", 150, 1e-3))
    curves: dict[str, list[list[float]]] = {}
    rows: list[dict[str, Any]] = []
    for start in starts:
        runs = [trained(start, arguments.data, seed, arguments.out) for seed in range(arguments.seeds)]
        curves[start.name] = [run[0] for run in runs]
        rows.append(
            {"start": start.name, "epochs": start.epochs, "AP": [r[1] for r in runs], "AP50": [r[2] for r in runs]}
        )
    print("| start | epochs | AP50:95 [range] | AP50 [range] |\n| --- | ---: | ---: | ---: |")
    for row in rows:
        cells = [f"{statistics.mean(row[k]):.1f} [{min(row[k]):.1f}, {max(row[k]):.1f}]" for k in ("AP", "AP50")]
        print(f"| {row['start']} | {row['epochs']} | {' | '.join(cells)} |")
    if arguments.publish:
        base = ROOT / "docs"
        meta = {"versions": versions(), "data": Path(arguments.data).name, "model": MODEL, "seeds": arguments.seeds}
        write_json(base / "results" / "starts.json", {"meta": meta, "rows": rows, "held_out_AP": curves})
        plot(curves, base / "images" / "starts.png")


if __name__ == "__main__":
    main()
