"""The neurons of spikedet.snn.functional as ONNX: one step, and a window of them by Scan or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from spikedet.exports.onnx_graph import OnnxGraph, channels_first
from spikedet.snn import SpikingConv


@dataclass(frozen=True)
class Drive:
    """Input potential of a layer over its window.

    Attributes:
        value: ``[K, N, C, H, W]`` of K steps, or ``[N, C, H, W]`` that stays the same.
        constant: whether it stays the same.
        steps: of the window.
    """

    value: str
    constant: bool
    steps: int


@dataclass(frozen=True)
class _Step:
    """Values after one step: spikes times theta, spikes of either sign of each image ``[N]``, new states."""

    sent: str
    fired: str
    states: list[str]


def fire(
    graph: OnnxGraph, layer: SpikingConv, drive: Drive, chw: Sequence[int], *, unroll: bool, name: str
) -> tuple[str, str]:
    """All steps of a layer with neurons.

    Args:
        graph: where they are appended.
        layer: the layer.
        drive: its input potential.
        chw: channels, height and width of its output.
        unroll: whether steps are written one after the other, else as Scan.
        name: of the layer.

    Returns:
        Its train ``[K N, C, H, W]``, spikes times theta, step after step; and its spikes ``[K, N]``, int64.
    """
    like = drive.value if drive.constant else _at(graph, drive.value, 0)
    states = [graph.op("Expand", graph.constant(channels_first(layer.u0), f"{name}.u0"), graph.op("Shape", like))]
    if layer.neuron in ("signed", "clif"):  # spike counts, currents
        zero = graph.constant(np.zeros(1, np.float32))
        states.append(graph.op("Expand", zero, graph.op("Shape", like)))
    if unroll:
        return _unrolled(graph, layer, drive, states)
    sent, fired = _scanned(graph, layer, drive, states, chw)
    return graph.reshape(sent, [-1, *chw]), fired


def _unrolled(graph: OnnxGraph, layer: SpikingConv, drive: Drive, states: list[str]) -> tuple[str, str]:
    sent, fired = [], []
    for index in range(drive.steps + layer.delay):
        current = None
        if index < drive.steps:
            current = drive.value if drive.constant else _at(graph, drive.value, index)
        if index < layer.delay:
            states = [graph.op("Add", states[0], current) if current else states[0], *states[1:]]
            continue
        step = _step(graph, layer, current, states, None)
        states = step.states
        sent.append(step.sent)
        fired.append(graph.op("Unsqueeze", step.fired, graph.constant(np.array([0], np.int64), "axes")))
    return graph.op("Concat", *sent, axis=0), graph.op("Concat", *fired, axis=0)


def _scanned(
    graph: OnnxGraph, layer: SpikingConv, drive: Drive, states: list[str], chw: Sequence[int]
) -> tuple[str, str]:
    total, body = drive.steps + layer.delay, OnnxGraph(graph)
    names = [body.unique(label) for label in ("u", "state")[: len(states)]]
    read = body.unique("v")
    if drive.constant:
        active = (np.arange(total) < drive.steps).astype(np.float32)  # a Scan needs a sequence, also without delay
        sequences = [graph.constant(active, "active")]
        current = body.op("Mul", drive.value, read)
    else:
        sequences, current = [drive.value], read
        if layer.delay:
            padding = graph.constant(np.array([0] * 5 + [layer.delay] + [0] * 4, np.int64), "pads")
            sequences = [graph.op("Pad", drive.value, padding)]
    may_fire = None
    if layer.delay:
        sequences.append(graph.constant((np.arange(total) >= layer.delay).astype(np.float32), "fires"))
        may_fire = body.unique("fires")
    step = _step(body, layer, current, names, may_fire)
    maps = [*names, *step.states, step.sent, *([] if drive.constant else [read])]
    shapes: dict[str, list[int | None]] = {read: [], step.fired: [None], **{key: [None, *chw] for key in maps}}
    if may_fire:
        shapes[may_fire] = []
    made = graph.scan(
        body,
        [*states, *sequences],
        len(states),
        [*step.states, step.sent, step.fired],
        [*names, read, *([may_fire] if may_fire else [])],
        shapes=shapes,
        integers=[step.fired],
    )
    sent, fired = made[len(states) :]
    if layer.delay:
        sent, fired = (graph.slice(value, layer.delay, total, 0) for value in (sent, fired))
    return sent, fired


def _step(graph: OnnxGraph, layer: SpikingConv, v: str | None, states: Sequence[str], may_fire: str | None) -> _Step:
    """One step; ``may_fire`` is 1 or 0 where it is not known when the graph is written."""
    if layer.neuron == "clif":
        return _clif_step(graph, layer, v, states)
    theta = graph.constant(channels_first(layer.theta), "theta")
    u = states[0] if v is None else graph.op("Add", states[0], v)
    up = _number(graph, graph.op("GreaterOrEqual", u, theta), may_fire)
    down = None
    if layer.neuron == "asymmetric":
        lower = graph.constant(channels_first(layer.lower), "lower")  # type: ignore[arg-type]
        down = _number(graph, graph.op("LessOrEqual", u, lower), may_fire)
    elif layer.neuron == "signed":
        zero = graph.constant(0.0)
        both = graph.op("And", graph.op("Less", u, zero), graph.op("Greater", states[1], zero))
        down = _number(graph, both, may_fire)
    spikes = up if down is None else graph.op("Sub", up, down)
    sent = graph.op("Mul", spikes, theta)
    if layer.neuron == "asymmetric":
        assert down is not None
        left = graph.op("Sub", u, graph.op("Mul", up, theta))
        after = [graph.op("Sub", left, graph.op("Mul", down, lower))]
    else:
        after = [graph.op("Sub", u, sent)]
        if layer.neuron == "signed":
            after.append(graph.op("Add", states[1], spikes))
    return _Step(sent, _count(graph, spikes if down is None else graph.op("Add", up, down)), after)


def _clif_step(graph: OnnxGraph, layer: SpikingConv, v: str | None, states: Sequence[str]) -> _Step:
    """One step of C-LIF, whose states are potential and current; it has no firing delay, so there is always input."""
    assert v is not None
    theta, (of_current, of_potential) = graph.constant(channels_first(layer.theta), "theta"), layer.decays
    current = graph.op("Add", graph.op("Mul", states[1], graph.constant(of_current)), v)
    u = graph.op("Add", graph.op("Mul", states[0], graph.constant(of_potential)), current)
    spikes = _number(graph, graph.op("GreaterOrEqual", u, theta), None)
    sent = graph.op("Mul", spikes, theta)
    if layer.reset == "hard":
        after = graph.op("Mul", u, graph.op("Sub", graph.constant(1.0), spikes))
    else:
        after = graph.op("Sub", u, sent)
    return _Step(sent, _count(graph, spikes), [after, current])


def _count(graph: OnnxGraph, spikes: str) -> str:
    """Spikes of each image as int64; sums over a map stay below 2^24, where float32 counts exactly."""
    by_channel = graph.op("Cast", graph.sum(spikes, [2, 3]), to=TensorProto.INT64)
    return graph.sum(by_channel, [1])


def _number(graph: OnnxGraph, condition: str, may_fire: str | None) -> str:
    made = graph.op("Cast", condition, to=TensorProto.FLOAT)
    return made if may_fire is None else graph.op("Mul", made, may_fire)


def _at(graph: OnnxGraph, sequence: str, step: int) -> str:
    return graph.op("Gather", sequence, graph.constant(np.array(step, np.int64), "index"), axis=0)
