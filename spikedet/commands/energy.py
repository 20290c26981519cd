"""Energy of spiking networks for an image, measured operation by operation, beside that of the ANNs they came from."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from spikedet.checkpoint import read_meta, require_same_classes
from spikedet.commands.evaluate import expand, made_by
from spikedet.common.digests import file_sha256
from spikedet.common.environment import versions
from spikedet.common.errors import ConfigError
from spikedet.common.files import write_json, write_text
from spikedet.common.progress import track
from spikedet.config import EnergyConfig, parse_time_steps
from spikedet.conversion import to_spiking
from spikedet.costs.constants import load_constants
from spikedet.costs.meter import EnergyMeter
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.costs.pricing import Pricing, Totals
from spikedet.costs.report import EnergyReport, NetworkCost
from spikedet.costs.results import find_rows
from spikedet.costs.rows import Measured, energy_rows, told_apart
from spikedet.costs.tables import WITH_MEMORY, WITHOUT_MEMORY, energy_markdown, energy_table
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.transforms import to_input
from spikedet.inference.network import SnnNetwork, load_network
from spikedet.models import load_ann
from spikedet.snn import simulate
from spikedet.visualization import plot_energy

logger = logging.getLogger("spikedet")


def energy(config: EnergyConfig) -> EnergyReport:
    """Count the operations of checkpoints; writes ``energy.json``, ``energy.md`` and two plots into ``config.out``.

    Images are simulated batch by batch and forgotten; what is kept does not grow with their number.

    Raises:
        CheckpointError, ConfigError, ConversionError, DataError: see their messages.
    """
    float_pricing, quantized_pricing = both_pricings(config)
    paths = expand(config.checkpoints)
    require_same_classes(paths, paths[0], "measure")
    found, dataset = find_rows(config, paths), images(config, paths)
    evaluated = found.on(dataset)
    pricings = (float_pricing, quantized_pricing)
    measured = {path: one for path in paths if (one := measure(path, config, pricings, dataset)) is not None}
    if not measured:
        raise ConfigError(f"--t {config.t} lies beyond the T of every network; choose smaller time steps")
    digests = {path: file_sha256(path) for path in paths}
    for path, one in measured.items():
        known = one.meter is None or evaluated.of(path, digests[path])
        measured[path] = dataclasses.replace(one, evaluated=known)
    networks = told_apart(measured)
    report = EnergyReport(
        data=Path(dataset.name).name if dataset else "",
        split=dataset.split if dataset else "",
        images=len(dataset) if dataset else 0,
        ap_source=evaluated.source,
        constants=(float_pricing.constants, quantized_pricing.constants),
        memory_traffic=config.memory_traffic,
        image_every_step=config.image_every_step,
        rows=tuple(energy_rows(networks, float_pricing, quantized_pricing, evaluated.rows)),
        networks=tuple(
            NetworkCost(network=f"{one.name}, T = {one.facts['T']}", layers=one.meter.layer_costs())
            for one in networks
            if one.meter is not None
        ),
        meta={
            "versions": versions(),
            "command": shlex.join(["spikedet", *sys.argv[1:]]),
            "config": dataclasses.asdict(config),
            "checkpoints": {str(path): digest for path, digest in digests.items()},
        },
    )
    out = Path(config.out)
    write_json(out / "energy.json", dataclasses.asdict(report))
    write_text(out / "energy.md", energy_markdown(report))
    plot_energy(report, out)
    logger.info(energy_table(report))
    logger.info(f"\n{WITH_MEMORY if config.memory_traffic else WITHOUT_MEMORY}\nMore in {out / 'energy.md'}.")
    return report


def both_pricings(config: EnergyConfig) -> tuple[Pricing, Pricing]:
    """Of the float and of the quantized ANN. Raises ConfigError if there is no such table, or of two of one name."""
    tables = [
        load_constants(name, memory_traffic=config.memory_traffic) for name in (config.constants, config.quantized)
    ]
    if tables[0].name == tables[1].name and tables[0] != tables[1]:
        raise ConfigError(
            f"{config.quantized}: its name, {tables[0].name!r}, is that of {config.constants}; name it anew"
        )
    first, second = (Pricing(table, config.memory_traffic, config.image_every_step) for table in tables)
    return first, second


def images(config: EnergyConfig, paths: Sequence[Path]) -> DetectionDataset | None:
    """What spikes are counted on; None if nothing spikes."""
    metas = [read_meta(path) for path in paths]
    if not any(meta.spiking for meta in metas):
        return None
    dataset = load_dataset(
        metas[0].evaluation_data(config.data, config.split),
        config.split,
        class_names=metas[0].class_names,
        strict=config.strict,
        skip_bad=config.skip_bad,
        trained=metas[0].data,
    )
    return dataset.subset(range(min(config.limit, len(dataset)))) if config.limit else dataset


def measure(
    path: Path, config: EnergyConfig, pricings: Sequence[Pricing], dataset: DetectionDataset | None
) -> Measured | None:
    """One checkpoint; None if no time step that was asked for lies within its T."""
    meta = read_meta(path)
    image_hw = (meta.image_size, meta.image_size)
    if not meta.spiking or dataset is None:
        model, meta = load_ann(path)
        layers = layer_synapses(to_spiking(model, meta.T or 1, max_pool=meta.max_pool), image_hw)
        return Measured(made_by(meta, meta.stage), meta.image_size, Totals.of(layers))
    network = load_network(path, config)
    assert isinstance(network, SnnNetwork)
    steps = sorted(network.steps(parse_time_steps(config.t)))
    if not steps:
        logger.info(f"{path}: left out, its T = {meta.T} is below every time step of --t {config.t}")
        return None
    logger.info(f"{path}: {network.describe(config.batch)}")
    layers = layer_synapses(network.network, image_hw)
    meter = EnergyMeter(layers, steps, pricings)
    watch(network, meter, dataset, config)
    latencies = {t: network.network.latency(t) for t in steps}
    return Measured(made_by(meta, meta.stage), meta.image_size, meter.totals, meter, latencies)


@torch.no_grad()
def watch(network: SnnNetwork, meter: EnergyMeter, dataset: DetectionDataset, config: EnergyConfig) -> None:
    """Run a network on every image, counting."""
    size, last = network.meta.image_size, meter.steps[-1]
    counter = OperationCounter(network.network, network.backend, (size, size), last)
    label = f"operations on {len(dataset)} images"
    for start in track(range(0, len(dataset), config.batch), label):
        indices = range(start, min(start + config.batch, len(dataset)))
        images = to_input([dataset.read_image(i) for i in indices], size)
        counter.begin(len(images))
        how = {"T": network.network.T, "chunk": config.chunk or None, "backend": network.backend, "watch": counter}
        for _ in simulate(network.network, images, [last], **how):  # type: ignore[arg-type]
            pass
        meter.add(counter)
