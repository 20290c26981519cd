"""Energy of spiking networks for an image, from the operations that evaluation counts, beside that of their ANNs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from spikedet.checkpoint import read_meta, require_same_classes
from spikedet.checkpoint.ancestry import with_parents
from spikedet.commands.evaluate import evaluate, expand, made_by, parent_of, predict
from spikedet.common.environment import run_facts
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json, write_text
from spikedet.config import EnergyConfig, EvaluateConfig, parse_time_steps
from spikedet.costs.constants import load_constants
from spikedet.costs.operations import layer_synapses
from spikedet.costs.pricing import Pricing
from spikedet.costs.report import EnergyReport, NetworkCost
from spikedet.costs.results import LEFT_OUT, EvaluatedRows, find_rows
from spikedet.costs.rows import Measured, energy_rows, told_apart
from spikedet.costs.tables import WITH_MEMORY, WITHOUT_MEMORY, energy_markdown, energy_table
from spikedet.data import DetectionDataset, load_for
from spikedet.inference.network import checkpoint_sha256, load_network, spiking_graph
from spikedet.visualization.energy_plots import plot_energy

logger = logging.getLogger("spikedet")


def energy(config: EnergyConfig) -> EnergyReport:
    """Price the operations of checkpoints; writes ``energy.json``, ``energy.md`` and two plots into ``config.out``.

    Operations are those that an evaluation of the same images has counted. Where there is no evaluation, the networks
    are evaluated first, into ``config.out``; where there is one of other images, operations alone are counted.

    Raises:
        CheckpointError, ConfigError, ConversionError, DataError: see their messages.
    """
    float_pricing, quantized_pricing = both_pricings(config)
    paths = expand(config.checkpoints)
    require_same_classes(paths, paths[0], "measure")
    steps = time_steps(paths, config)
    found, dataset = find_rows(config, paths), images(config, list(steps))
    if dataset is not None and not found.rows:
        shared = {field.name for field in dataclasses.fields(EvaluateConfig)} - {"checkpoints"}
        settings = {name: value for name, value in vars(config).items() if name in shared}
        evaluate(EvaluateConfig(checkpoints=tuple(map(str, steps)), **settings), chain=False)
        found = find_rows(config, paths)
    parents = {checkpoint_sha256(path): parent_of(read_meta(path)) for path in with_parents(paths)}
    evaluated = found.on(dataset, parents)
    digests = {path: checkpoint_sha256(path) for path in paths}
    for path in filter(steps.get, steps):
        if evaluated.rows and digests[path] not in {row.checkpoint for row in evaluated.rows}:
            logger.info(f"{path}: not the file that was evaluated in {evaluated.source}; {LEFT_OUT}")
    measured = {path: measure(path, digests[path], steps.get(path, ()), config, dataset, evaluated) for path in steps}
    networks = told_apart(measured)
    report = EnergyReport(
        data=Path(dataset.name).name if dataset else "",
        split=dataset.split if dataset else "",
        images=len(dataset) if dataset else 0,
        ap_source=evaluated.source,
        constants=(float_pricing.constants, quantized_pricing.constants),
        memory_traffic=config.memory_traffic,
        rows=tuple(energy_rows(networks, float_pricing, quantized_pricing, evaluated)),
        networks=tuple(
            NetworkCost(network=f"{one.name}, T = {one.facts['T']}", layers=one.layer_costs())
            for one in networks
            if one.counts
        ),
        meta={**run_facts(config), "checkpoints": {str(path): digest for path, digest in digests.items()}},
    )
    out = Path(config.out)
    write_json(out / "energy.json", dataclasses.asdict(report))
    write_text(out / "energy.md", energy_markdown(report))
    plot_energy(report, out)
    logger.info(energy_table(report))
    logger.info(f"\n{WITH_MEMORY if config.memory_traffic else WITHOUT_MEMORY}\nMore in {out / 'energy.md'}.")
    return report


def both_pricings(config: EnergyConfig) -> list[Pricing]:
    """Of the float and of the quantized ANN. Raises ConfigError if there is no such table, or of two of one name."""
    tables = [
        load_constants(name, memory_traffic=config.memory_traffic) for name in (config.constants, config.quantized)
    ]
    if tables[0].name == tables[1].name and tables[0] != tables[1]:
        raise ConfigError(
            f"{config.quantized}: its name, {tables[0].name!r}, is that of {config.constants}; name it anew"
        )
    return [Pricing(table, config.memory_traffic) for table in tables]


def time_steps(paths: Sequence[Path], config: EnergyConfig) -> dict[Path, list[int]]:
    """The time steps read out of every checkpoint: none of an ANN; networks whose T is below all of them are left out.

    Raises:
        ConfigError: nothing is left.
    """
    asked, found = parse_time_steps(config.t), dict[Path, list[int]]()
    for path in paths:
        T = read_meta(path).T if read_meta(path).spiking else None
        steps = [] if T is None else [t for t in asked or (T,) if t <= T]
        if T is None or steps:
            found[path] = steps
        else:
            logger.info(f"{path}: left out, its T = {T} is below every time step of --t {config.t}")
    if not found:
        raise ConfigError(f"--t {config.t} lies beyond the T of every network; choose smaller time steps")
    return found


def images(config: EnergyConfig, paths: Sequence[Path]) -> DetectionDataset | None:
    """What spikes are counted on; None if nothing spikes."""
    metas = [read_meta(path) for path in paths]
    if not any(meta.spiking for meta in metas):
        return None
    return load_for(metas[0], metas[0].evaluation_data(config.data, config.split), config.split, config)


def measure(
    path: Path,
    digest: str,
    steps: Sequence[int],
    config: EnergyConfig,
    dataset: DetectionDataset | None,
    evaluated: EvaluatedRows,
) -> Measured:
    """One checkpoint: what it is made of and, if it spikes, what its spikes do.

    That is what an evaluation has counted on these images, or else one run over them.
    """
    graph, meta = spiking_graph(path)
    layers = layer_synapses(graph, (meta.image_size, meta.image_size))
    images = 0 if dataset is None else len(dataset)
    rows = {t: evaluated.row(digest, t) for t in steps}
    counts = {t: row.operations for t, row in rows.items() if row and row.operations and row.images == images}
    if steps and dataset is not None and not (len(counts) == len(steps) and counts[max(steps)].layers):
        network = load_network(path, config)
        logger.info(f"{path}: {network.describe(config.batch)}")
        counts = predict("operations", network, dataset, steps, config.batch).operations
    latencies = {t: graph.latency(t) for t in steps}
    return Measured(made_by(meta, meta.stage, digest), meta.image_size, layers, counts, latencies)
