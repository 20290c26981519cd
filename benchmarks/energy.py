#!/usr/bin/env python3
"""What the spikes of an experiment's networks cost: `spikedet energy`.

    python benchmarks/energy.py configs/experiments/voc_energy.yaml --data PATH/TO/VOCdevkit --out runs/voc

The experiment's networks are made and evaluated first, unless they are already; ``--source``, ``--stage1`` and
``--only`` are as in accuracy.py. All are read at their own T, on the first ``--limit`` images of the split. Prints the
first table; ``--publish`` writes energy_NAME into docs/results (JSON and Markdown) and docs/images: AP against energy,
or against operations where networks differ in their penalty on firing.
"""

from __future__ import annotations

from pathlib import Path

from accuracy import experiment_parser, run, spiking, stage1_files, with_only
from experiment import Experiment, load_experiment
from reports import publish_reports
from tables import first_table

from spikedet.cli.messages import print_messages
from spikedet.commands.energy import energy
from spikedet.config import SPIKING_STAGES, EnergyConfig


def checkpoint(folder: Path) -> Path:
    """The last stage in a network's folder."""
    stages = [folder / f"{stage}.safetensors" for stage in SPIKING_STAGES]
    return [path for path in stages if path.exists()][-1]


def measured(experiment: Experiment, folders: list[Path], results: Path, data: str, limit: int, out: Path) -> Path:
    """Folder with the energy of every network."""
    into = out / "energy" / experiment.name
    checkpoints = tuple(str(checkpoint(folder)) for folder in folders)
    config = EnergyConfig(
        checkpoints=checkpoints,
        data=data,
        split=experiment.split,
        limit=limit,
        results=str(results),
        out=str(into),
    )
    energy(config)
    return into


def main() -> None:
    """Parse the flags and run."""
    parser = experiment_parser(__doc__)
    parser.add_argument("--limit", type=int, default=200, help="images")
    arguments = parser.parse_args()
    print_messages()
    given = stage1_files(arguments.stage1)
    experiment = with_only(load_experiment(arguments.experiment), arguments.only, given)
    results = run(experiment, arguments.data, arguments.out, arguments.source, arguments.workers, given)
    folders = [spiking(arguments.out, network, experiment, arguments.data) for network in experiment.networks]
    costs = measured(experiment, folders, results, arguments.data, arguments.limit, arguments.out)
    print(first_table((costs / "energy.md").read_text(encoding="utf-8")))
    if arguments.publish:
        command = f"python benchmarks/energy.py {arguments.experiment} --data DATA --out OUT"
        plot = "energy_sparsity.png" if (costs / "energy_sparsity.png").exists() else "energy.png"
        publish_reports(experiment.name.removesuffix("_energy"), "energy", {costs: {}}, plot, command)


if __name__ == "__main__":
    main()
