"""What each of two processes does, started by torchrun from test_distributed.py; the first one writes what was seen."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from unrendered import save_unrendered

from spikedet.cli.main import main
from spikedet.common import distributed
from spikedet.training.loop import TrainingLoop

loops: list[TrainingLoop] = []


def numbers_of_all(values: list[Any]) -> Any:
    """Every process's numbers, ``[processes, len(values)]``."""
    return np.stack([part["numbers"] for part in distributed.gather_arrays({"numbers": np.array(values)})])


def primitives() -> dict[str, Any]:
    """One output of every function, with something different in each process."""
    rank = distributed.rank()
    parameters = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    if rank == 0:  # the other one saw no image
        (parameters[0] * torch.tensor([1.0, 2.0])).sum().backward()
    distributed.sum_gradients_(parameters)
    copied = torch.tensor([rank + 5])
    distributed.copy_from_first_([copied])
    gathered = distributed.gather_arrays({"own": np.arange(rank + 1, dtype=np.int64)})
    return {
        "own": [int(n) for n in numbers_of_all(distributed.own(range(4)))[:, 1]],
        "held_here": [int(n) for n in numbers_of_all(distributed.held_here([0, 3, 5, 2]))[:, 0]],
        "sum": int(distributed.sum_(torch.tensor([rank + 1]))),
        "first_says": [distributed.first_says(rank == 0), distributed.first_says(rank == 1)],
        "any_says": [distributed.any_says(rank == 1), distributed.any_says(False)],
        "gradients": [p.grad.tolist() for p in parameters if p.grad is not None],
        "copied": int(copied),
        "gathered": [part["own"].tolist() for part in gathered],
        "gathered_nothing": len(distributed.gather_arrays({})),
    }


def digest(loop: TrainingLoop) -> float:
    """Of the weights that a process ended with."""
    whole = hashlib.sha256()
    for parameter in loop.model.parameters():
        whole.update(parameter.detach().numpy().tobytes())
    return float(int.from_bytes(whole.digest()[:6], "big"))


def remember(loop: TrainingLoop) -> None:
    """In place of the end of a training."""
    loops.append(loop)


def run(out: Path) -> None:
    """Primitives, then every command that may be shared out."""
    gc.freeze()  # trainings ask for collections, which need not look at what imports have made
    seen: dict[str, Any] = {"primitives": primitives()}
    TrainingLoop.final_eval = remember  # type: ignore[method-assign]
    Figure.savefig = save_unrendered  # type: ignore[method-assign, assignment]
    for command in (out / "commands.txt").read_text("utf-8").splitlines():
        assert main(command.split()) == 0, command
    seen["weights"] = [numbers_of_all([digest(loop)])[:, 0].tolist() for loop in loops]
    loops.clear()  # they hold the process group
    if distributed.is_first():
        (out / "seen.json").write_text(json.dumps(seen), "utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.joined():
        run(Path(sys.argv[1]))
