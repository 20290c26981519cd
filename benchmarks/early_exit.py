#!/usr/bin/env python3
"""Early exit: AP against the mean number of steps, where an image is left once its detections have stayed the same.

    python benchmarks/early_exit.py --checkpoint copied.safetensors [--data DIR] [--split SPLIT] [--publish]

Every rule is k outputs in a row with the same boxes and scores that differ by no more than a tolerance. Beside the
rules: every image left at the same t. Detections are watched at the confidence that a user sees (0.25); AP is that of
everything that the network says at the step where it stops. Without ``--split`` the images are those held out of the
training images: rules are chosen there. ``--publish`` writes docs/results/early_exit.json and the plot beside it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import tables
from readme_tables import ROOT

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.environment import versions
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json
from spikedet.common.progress import track
from spikedet.config import SimulationConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.evaluation import measure
from spikedet.inference.early_exit import SAME_SCORE, Stability
from spikedet.inference.network import Network, load_network
from spikedet.models.postprocess import to_detections
from spikedet.visualization.curves import ap_axes
from spikedet.visualization.figure import MARKERS

SEEN = 0.25
STEPS = (1, 2, 3)
TOLERANCES = (0.02, 0.05, 0.1, 0.2, 1.0)
"""Of scores; 1 looks at boxes alone."""


@dataclass(frozen=True)
class Rule:
    """When an image is left: once ``steps`` outputs in a row are the same, at ``t`` at the latest."""

    t: int
    steps: int = 0
    score: float = 1.0


def measured(network: Network, dataset: DetectionDataset, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """One row per rule: mean t and AP in percent."""
    size, last = network.meta.image_size, max(rule.t for rule in rules)
    found: defaultdict[Rule, list[Detections]] = defaultdict(list)
    taken: defaultdict[Rule, int] = defaultdict(int)
    for index in track(range(len(dataset)), "simulating"):
        pixels = dataset.read_image(index)
        shape = [(pixels.shape[0], pixels.shape[1])]
        watching = {rule: Stability(rule.steps, rule.score) for rule in rules}
        for t, prediction in network.stream(to_input([pixels], size), range(1, last + 1)):
            (seen,) = to_detections(prediction.decoded, size, shape, SEEN)
            whole = to_detections(prediction.decoded, size, shape)
            for rule, stability in list(watching.items()):
                if stability.reached(seen) or t == rule.t:
                    found[rule] += whole
                    taken[rule] += t
                    del watching[rule]
    rows = []
    for rule in rules:
        made = measure(dataset, found[rule])
        facts = {"t": rule.t, "steps": rule.steps, "score": rule.score, "mean_t": taken[rule] / len(dataset)}
        rows.append({**facts, "AP": made.AP, "AP50": made.AP50})
    return rows


def images(meta: CheckpointMeta, data: str, split: str) -> DetectionDataset:
    """A split, or the held-out images of the one that was trained on. Raises ConfigError if they are not known."""
    found, chosen = meta.training_data(data, split)
    dataset = load_dataset(found, chosen, class_names=meta.class_names)
    if split:
        return dataset
    fraction, seed = meta.held_out(found, chosen) or (0.0, 0)
    if not fraction:
        raise ConfigError(f"{found}: the images that training held out are not known; give --split")
    return dataset.hold_out(fraction, seed)[1]


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """AP50:95 (percent) against mean t: every image at the same t, and the rules of each tolerance."""
    lines: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        lines[tables.exit_rule(row) if row["steps"] else "every image at the same t"].append(row)
    with ap_axes(path) as axes:
        for (name, points), marker in zip(lines.items(), cycle(MARKERS)):
            ordered = sorted(points, key=lambda row: row["mean_t"])
            places = [row["mean_t"] for row in ordered], [row["AP"] for row in ordered]
            axes.plot(*places, f"{marker}-", label=name)
        axes.set_xlabel("mean time step at which an image is left")
    return path


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", default="")
    parser.add_argument("--split", default="", help="default: the held-out training images")
    parser.add_argument("--mode", default="exact")
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint, SimulationConfig(mode=arguments.mode))
    assert network.meta.T is not None, "a converted network is needed"
    T = network.meta.T
    dataset = images(network.meta, arguments.data, arguments.split)
    rules = [Rule(t) for t in range(1, T + 1)]
    rules += [Rule(T, steps, score) for score in TOLERANCES for steps in STEPS if steps < T]
    rows = measured(network, dataset, rules)
    chosen = arguments.split or "held-out training images"
    told = f"{network.meta.model}, neurons {network.meta.neuron}, T = {T}"
    print(f"{told}, on {len(dataset)} images, {chosen}")
    print(tables.exit_table(rows))
    print(f"the rule of spikedet: scores within {SAME_SCORE}")
    if arguments.publish:
        split = f" --split {arguments.split}" if arguments.split else ""
        command = f"python benchmarks/early_exit.py --checkpoint FILE --data DATA{split} --publish"
        meta = {"command": command, "network": told, "split": chosen, "T": T, "images": len(dataset)}
        write_json(ROOT / "docs/results/early_exit.json", {"meta": {**meta, **versions()}, "rows": rows})
        plot(rows, ROOT / "docs/images/early_exit.png")


if __name__ == "__main__":
    main()
