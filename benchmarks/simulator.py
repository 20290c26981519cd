#!/usr/bin/env python3
"""Simulation time of a converted network beside its ANN, a naive loop and SpikingJelly, in one run.

    python benchmarks/simulator.py [--checkpoint FILE] [--data DIR] [--quick] [--json FILE]

QC-ANN, closed form and one more row of native are of the network with a firing delay of T, whose layers wait for all
their input: the closed form has to give the simulation's spike counts at about the time of the QC-ANN's forward pass.

Medians of rounds in which every contender runs once. The ANN that ratios are to is the faster of eager and compiled.
The bound is what event-driven work would cost at the ANN's speed: rate x T x ANN operations, the input layer once.
Memory is the peak of a child process over its idle state.
"""

from __future__ import annotations

import argparse
import functools
import operator
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import torch
from contenders import CONTENDERS, WAITING, delayed
from differences import NEAR, Difference, differences
from memory import peak_over_idle
from subjects import child_environment, network, sample_images
from tables import SPEED_HEAD, speed_line
from torch import Tensor

from spikedet.common.environment import versions
from spikedet.common.files import write_json
from spikedet.config import Mode
from spikedet.kernels.library import available
from spikedet.snn import IMAGE, Node, Readout, Simulation, SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.closed_form import ClosedForm, has_closed_form

ANNS = ("ANN fp32, eager", "ANN fp32, compiled")
PEAK_AT = 20
"""T of the rows whose memory is measured."""


def main() -> None:
    """One table, then how many spikes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="", help="a converted network; random weights without")
    parser.add_argument("--model", default="tiny-yolo", help="without a checkpoint")
    parser.add_argument("--data", default="synthetic", help="where the images come from")
    parser.add_argument("--quick", action="store_true", help="T = 20, batch 1, 320 px only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", help="also write the rows here")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        name, px, batch, T = arguments.child[0], *map(int, arguments.child[1:])
        images = sample_images(arguments.data, batch, px)
        net, _ = network(arguments.checkpoint, arguments.model, images)
        run = CONTENDERS[name](net, T)
        print(peak_over_idle(lambda: run(images[:1, :, :64, :64]), lambda: run(images)))
        return
    shapes = [(320, 1)] if arguments.quick else [(px, batch) for px in (320, 416) for batch in (1, 8)]
    rows: list[dict[str, Any]] = []
    for px, batch in shapes:
        images = sample_images(arguments.data, batch, px)
        net, what = network(arguments.checkpoint, arguments.model, images)
        if not rows:
            print(f"{what}; images of {arguments.data}; {arguments.threads} threads\n\n| {' | '.join(SPEED_HEAD)} |")
            print("| --- |" + " ---: |" * (len(SPEED_HEAD) - 1), flush=True)
        steps = (20,) if arguments.quick else (4, 8, 20, 60) if batch == 1 else (4, 8, 20)
        for made in measure(net, images, steps, arguments):
            rows.append(made)
            print(speed_line(made), flush=True)
    images = sample_images(arguments.data, 1 if arguments.quick else 8, 320)
    net, what = network(arguments.checkpoint, arguments.model, images)
    rates, bound = firing(net, images, 20)
    print(f"\nfiring rate {rates:.1%} per step at T = 20, bound {bound:.2f} ANNs; backend: {make_backend(net)}")
    spikes = compare(net, images) if available() else {}
    if has_closed_form(delayed(net, 8)):
        spikes["closed form"] = compare_counts(delayed(net, 8), images)
    if arguments.json:
        meta = {"network": what, "rate": rates, "bound": bound, "spikes": spikes, "threads": arguments.threads}
        write_json(Path(arguments.json), {"meta": {**meta, "versions": versions()}, "rows": rows})


def measure(
    net: SpikingNetwork, images: Tensor, steps: tuple[int, ...], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one batch of images: the ANNs once, every simulator at every T."""
    runs = {(name, 0): CONTENDERS[name](net, 0) for name in CONTENDERS if name.startswith("ANN")}
    for T in steps:
        runs |= {(name, T): CONTENDERS[name](net, T) for name in CONTENDERS if usable(name, net)}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run(images)
    for _ in range(arguments.rounds):
        for key, run in runs.items():
            started = time.perf_counter()
            run(images)
            times[key].append((time.perf_counter() - started) * 1e3)
    ms = {key: statistics.median(taken) for key, taken in times.items()}
    peaks = [name for name in CONTENDERS if name.startswith("native") or not arguments.quick]
    reference = min(ms[name, 0] for name in ANNS)
    bounds = {T: firing(net, images, T)[1] for T in steps}
    rows = []
    for (name, T), taken in ms.items():
        bound = bounds.get(T)
        rows.append(
            {
                "simulator": name,
                "px": images.shape[-1],
                "batch": len(images),
                "T": T,
                "ms": taken,
                "ratio": taken / reference,
                "bound": bound,
                "over_bound": taken / reference / bound if bound else None,
                "peak_mib": child_peak(name, images, T, arguments) if T == PEAK_AT and name in peaks else None,
            }
        )
    return rows


def usable(name: str, net: SpikingNetwork) -> bool:
    """Whether a simulator can run here."""
    if name in WAITING and not has_closed_form(delayed(net, 1)):
        return False
    if name.startswith("native"):
        return available()
    if name.startswith("SpikingJelly"):
        try:
            import spikingjelly  # noqa: F401
        except ImportError:
            return False
        return all(layer.neuron == "if" and not layer.delay for _, layer in net.spiking())
    return not name.startswith("ANN")


def firing(net: SpikingNetwork, images: Tensor, T: int) -> tuple[float, float]:
    """Mean firing rate over all neurons and steps, and the event-driven bound in ANN forward passes."""
    run = Simulation(net, images, T, [T], make_backend(net))
    spikes: dict[str, float] = {}
    shapes = net.shapes((images.shape[-2], images.shape[-1]))
    neurons = {
        node.name: shapes[node.name][0] * shapes[node.name][1] * shapes[node.name][2] for node, _ in net.spiking()
    }
    fire = run.backend.fire

    def counted(node: Any, *rest: Any) -> Any:
        train, counts = fire(node, *rest)
        spikes[node.name] = spikes.get(node.name, 0.0) + float(counts.sum())
        return train, counts

    run.backend.fire = counted  # type: ignore[method-assign, assignment]
    while run.clock < run.end:
        run.advance(run.backend.chunk(len(images)))
    rates = {name: count / (neurons[name] * T * len(images)) for name, count in spikes.items()}
    work = total = 0.0
    for node in net.nodes:
        if isinstance(node.module, (SpikingConv, Readout)):
            macs = node.module.weight.numel() * shapes[node.name][1] * shapes[node.name][2]
            total += macs
            once = node.inputs[0] == IMAGE or isinstance(node.module, Readout)
            work += macs if once else macs * T * source_rate(net, node.inputs[0], rates, shapes)
    mean = sum(rates[n] * neurons[n] for n in neurons) / sum(neurons.values())
    return mean, work / total


def source_rate(
    net: SpikingNetwork, name: str, rates: dict[str, float], shapes: dict[str, tuple[int, int, int]]
) -> float:
    """Rate of the train that a layer reads: its channels' mean, through linear operations."""
    if name in rates:
        return rates[name]
    inputs = next(node.inputs for node in net.nodes if node.name == name)
    channels = [shapes[i][0] for i in inputs]
    return sum(c * source_rate(net, i, rates, shapes) for c, i in zip(channels, inputs, strict=True)) / sum(channels)


def child_peak(name: str, images: Tensor, T: int, arguments: argparse.Namespace) -> float | None:
    """Peak over idle in MiB of one run in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(images.shape[-1]), str(len(images)), str(T)]
    command += ["--checkpoint", arguments.checkpoint, "--model", arguments.model, "--data", arguments.data]
    environment = child_environment(arguments.threads)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1]) / 2**20 if done.returncode == 0 else None


def compare(net: SpikingNetwork, images: Tensor) -> dict[str, Any]:
    """Print and return how many spikes differ from the dense loop's, layer by layer on its spikes."""
    found: dict[str, Any] = {}
    for mode in get_args(Mode):
        layers: dict[str, Difference] = {}
        for image in images.split(1):  # the dense loop's potentials of all steps are held
            for one in differences(net, image, 20, mode):
                layers[one.layer] = one + layers[one.layer] if one.layer in layers else one
        whole = functools.reduce(operator.add, layers.values())
        worst = max(layers.values(), key=lambda layer: layer.share)
        found[mode] = {"decisions": whole.decisions, "differing": whole.differing, "far": whole.far}
        found[mode] |= {"worst_layer": worst.layer, "worst_share": worst.share}
        line = f"native {mode}: {whole.differing} of {whole.decisions} spikes differ ({whole.share:.1e})"
        line += f", worst {worst.layer} with {worst.share:.1e}"
        if mode == "exact":
            line += f"; neurons whose first difference lies further than 1e-5 theta from the threshold: {whole.far}"
        print(line, flush=True)
    return found


class _OnSimulated(ClosedForm):
    """Layer by layer on the spikes of a simulation: one that differs does not spread."""

    def __init__(self, net: SpikingNetwork, simulated: dict[SpikingConv, Tensor]) -> None:
        super().__init__(net)
        self.simulated, self.differing, self.far = simulated, 0, 0

    def _fire(
        self, layer: SpikingConv, u: Tensor, left: Tensor | None, divisor: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        near = (u - u.round()).abs() <= NEAR
        sent, rest = super()._fire(layer, u, left, divisor)
        wrong = sent != self.simulated[layer]
        self.differing, self.far = self.differing + int(wrong.sum()), self.far + int((wrong & ~near).sum())
        return self.simulated[layer], rest


def compare_counts(net: SpikingNetwork, images: Tensor) -> dict[str, Any]:
    """Print and return how many neurons of a network that waits send another number of spikes without simulation."""
    simulated: dict[SpikingConv, Tensor] = {}

    def watch(node: Node, piece: Tensor) -> None:
        if isinstance(node.module, SpikingConv):
            simulated[node.module] = simulated.get(node.module, 0) + piece.sign().sum(0)

    (slow,) = simulate(net, images, [net.T], watch=watch)
    (fast,) = ClosedForm(net)(images, [net.T])
    on_simulated = _OnSimulated(net, simulated)
    next(iter(on_simulated(images, [net.T])))
    neurons = sum(counts.numel() for counts in simulated.values())
    spikes = [int(reading.spikes.sum()) for reading in (slow, fast)]
    print(
        f"closed form, T = {net.T}: {on_simulated.differing} of {neurons} neurons differ on simulated spikes, "
        f"{on_simulated.far} further than 1e-5 theta from a step; whole run {spikes[1]} spikes, simulated {spikes[0]}"
    )
    found = {"neurons": neurons, "differing": on_simulated.differing, "far": on_simulated.far}
    return {**found, "spikes": spikes[1], "simulated": spikes[0]}


if __name__ == "__main__":
    main()
