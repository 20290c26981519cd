#!/usr/bin/env python3
"""Training of C-LIF networks: seconds and AP with backward phase skipping and FreezeOut, peak memory against T.

    python benchmarks/clif.py SOURCE --data PATH/TO/BCCD --out runs/clif [--epochs 60] [--publish]

Trains the source's weights at T with neither, each and both, then measures the peak memory of one training step at T
from 4 to 32 (BPTT: 16), each in a process of its own. Run it again after an interruption: trainings go on after their
last epoch, their seconds are those of their epochs in the log. ``--publish`` writes docs/results/clif.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from experiment import training_seconds
from memory import peak_over_idle
from readme_tables import ROOT
from subjects import child_environment
from tables import learning_table

from spikedet.cli.messages import print_messages
from spikedet.commands.convert import convert
from spikedet.commands.evaluate import evaluate
from spikedet.commands.finetune import finetune
from spikedet.common.environment import versions
from spikedet.common.files import write_json
from spikedet.config import ConvertConfig, EvaluateConfig, FinetuneConfig
from spikedet.evaluation import read_results
from spikedet.models import load_ann, over_time
from spikedet.snn import CurrentLIF
from spikedet.training.current_step import set_learning_

WAYS: dict[str, dict[str, Any]] = {
    "neither": {},
    "skipping": {"skip_backward": 2},
    "FreezeOut": {"freeze_out": "cubic", "freeze_start": 0.5},
    "both": {"skip_backward": 2, "freeze_out": "cubic", "freeze_start": 0.5},
}
STEPS = {"current-step": (4, 8, 16, 32), "bptt": (4, 8, 16)}
"""T of the measured training steps; BPTT at T = 32 takes more memory than small machines have."""
REPEATS = 3
RETURNED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""glibc gives freed blocks back to the system with these, so that the peak is what is in use and not its fragments."""


def trained(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row: a training, resumed if it is not finished, and what its network detects."""
    out = arguments.out / way
    path = finetune(
        FinetuneConfig(
            checkpoint=str(arguments.source),
            data=arguments.data,
            method="clif",
            T=arguments.T,
            epochs=arguments.epochs,
            batch=arguments.batch,
            seed=arguments.seed,
            resume=True,
            out=str(out),
            **WAYS[way],
        )
    )
    (copied,) = convert(ConvertConfig(checkpoint=str(path), resume=True))
    asked: dict[str, Any] = {"data": arguments.data, "split": arguments.split, "resume": True}
    found = evaluate(EvaluateConfig(checkpoints=(str(copied),), out=str(out / "results"), **asked))
    row = next(row for row in found if row.neuron == "clif" and row.t == row.T)
    source = next(row for row in read_results(out / "results" / "results.json")[1] if row.stage == "ann")
    taken = training_seconds(out / "clif-log.csv")
    aps = {"AP": row.AP, "AP50": row.AP50, "source_AP": source.AP}
    return {"way": way, "seconds": taken, **aps, "spikes_per_image": row.spikes_per_image, "T": row.T}


def peak_bytes(arguments: argparse.Namespace, T: int, learning: str) -> int:
    """Median peak above idle of one training step, each in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", f"{T} {learning}"]
    environment = child_environment(torch.get_num_threads()) | RETURNED
    how: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "env": environment}
    made = [int(subprocess.run(command, **how).stdout.split()[-1]) for _ in range(REPEATS)]
    return sorted(made)[REPEATS // 2]


def child(arguments: argparse.Namespace) -> int:
    """Peak bytes of one training step."""
    steps, learning = arguments.child.split()
    ann, meta = load_ann(arguments.source)
    size = meta.image_size
    config = FinetuneConfig(checkpoint="", method="clif", T=int(steps), learning=learning)

    def step(images: torch.Tensor, T: int) -> None:
        model = over_time(ann, T, CurrentLIF.from_clip).train()
        set_learning_(model, config)
        model.args = _Gains()
        here = torch.arange(len(images)).repeat_interleave(4)
        boxes = torch.full((len(here), 4), 0.25) + here.view(-1, 1) / 100
        batch = {"img": images, "batch_idx": here, "cls": torch.zeros(len(here), 1), "bboxes": boxes}
        model(batch)[0].sum().backward()

    torch.manual_seed(0)
    images = torch.rand(arguments.batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    return peak_over_idle(lambda: step(images[:1, :, :64, :64], 1), lambda: step(images, int(steps)))


class _Gains:
    """What ultralytics' loss asks its settings for."""

    box, cls, dfl = 7.5, 0.5, 1.5
    cls_pw = 0.0


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a trained source ANN")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--T", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/clif.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(child(arguments))
        return
    print_messages()
    rows = [trained(way, arguments) for way in WAYS]
    print(learning_table(rows))
    memory: list[dict[str, Any]] = []
    for learning, steps in STEPS.items():
        for T in steps:
            memory.append({"T": T, "learning": learning, "bytes": peak_bytes(arguments, T, learning)})
            print(f"{learning}, T = {T}: {memory[-1]['bytes'] / 2**20:.0f} MiB", flush=True)
    _, meta = load_ann(arguments.source)
    settings = {name: getattr(arguments, name) for name in ("T", "epochs", "batch", "seed", "split")}
    facts = {"settings": settings, "model": meta.model, "image_size": meta.image_size, "versions": versions()}
    made = {"meta": {**facts, "data": Path(arguments.data).name}, "rows": rows, "memory": memory}
    write_json(arguments.out / "clif.json", made)
    if arguments.publish:
        print("published", write_json(ROOT / "docs/results/clif.json", made))


if __name__ == "__main__":
    main()
