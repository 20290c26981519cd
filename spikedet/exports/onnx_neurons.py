"""The neurons of spikedet.snn.functional as ONNX: one step, and a window of them by Scan or one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.snn import SpikingConv
from spikedet.snn.layers import broadcast

_Step = tuple[str, str, list[str]]
"""Values after one step: spikes times theta, spikes of either sign of each image ``[N]``, new states."""


def fire(
    graph: OnnxGraph,
    layer: SpikingConv,
    v: str,
    steps: int,
    chw: Sequence[int],
    *,
    constant: bool,
    unroll: bool,
    name: str,
) -> tuple[str, str]:
    """All steps of a layer with neurons.

    Args:
        graph: where they are appended.
        layer: the layer.
        v: its input potential, ``[K, N, C, H, W]`` of K steps, or ``[N, C, H, W]`` if it is constant.
        steps: K, of the window.
        chw: channels, height and width of its output.
        constant: whether the potential stays the same.
        unroll: whether steps are written one after the other, else as Scan.
        name: of the layer.

    Returns:
        Its train ``[K N, C, H, W]``, spikes times theta, step after step; and its spikes ``[K, N]``, int64.
    """
    like = v if constant else _at(graph, v, 0)
    states = [graph.op("Expand", graph.constant(broadcast(layer.u0), f"{name}.u0"), graph.op("Shape", like))]
    if layer.neuron in ("signed", "clif"):  # spike counts, currents
        zero = graph.constant(np.zeros(1, np.float32))
        states.append(graph.op("Expand", zero, graph.op("Shape", like)))
    if unroll:
        return _unrolled(graph, layer, v, steps, constant, states)
    sent, fired = _scanned(graph, layer, v, steps, constant, states, chw)
    return graph.reshape(sent, [-1, *chw]), fired


def _unrolled(
    graph: OnnxGraph, layer: SpikingConv, v: str, steps: int, constant: bool, states: list[str]
) -> tuple[str, str]:
    sent, fired = [], []
    for index in range(steps + layer.delay):
        current = None
        if index < steps:
            current = v if constant else _at(graph, v, index)
        if index < layer.delay:
            states = [graph.op("Add", states[0], current) if current else states[0], *states[1:]]
            continue
        spikes, count, states = _step(graph, layer, current, states, None)
        sent.append(spikes)
        fired.append(graph.op("Unsqueeze", count, graph.constant(np.array([0], np.int64), "axes")))
    return graph.op("Concat", *sent, axis=0), graph.op("Concat", *fired, axis=0)


def _scanned(
    graph: OnnxGraph, layer: SpikingConv, v: str, steps: int, constant: bool, states: list[str], chw: Sequence[int]
) -> tuple[str, str]:
    total, body = steps + layer.delay, OnnxGraph(graph)
    names = [body.unique(label) for label in ("u", "state")[: len(states)]]
    read = body.unique("v")
    if constant:
        active = (np.arange(total) < steps).astype(np.float32)  # a Scan needs a sequence, also without delay
        sequences = [graph.constant(active, "active")]
        current = body.op("Mul", v, read)
    else:
        sequences, current = [v], read
        if layer.delay:
            padding = graph.constant(np.array([0] * 5 + [layer.delay] + [0] * 4, np.int64), "pads")
            sequences = [graph.op("Pad", v, padding)]
    may_fire = None
    if layer.delay:
        sequences.append(graph.constant((np.arange(total) >= layer.delay).astype(np.float32), "fires"))
        may_fire = body.unique("fires")
    spikes, count, after = _step(body, layer, current, names, may_fire)
    maps = [*names, *after, spikes, *([] if constant else [read])]
    shapes: dict[str, list[int | None]] = {read: [], count: [None], **{key: [None, *chw] for key in maps}}
    if may_fire:
        shapes[may_fire] = []
    made = graph.scan(
        body,
        [*states, *sequences],
        len(states),
        [*after, spikes, count],
        [*names, read, *([may_fire] if may_fire else [])],
        shapes=shapes,
        integers=[count],
    )
    sent, fired = made[len(states) :]
    if layer.delay:
        sent, fired = (graph.slice(value, layer.delay, total, 0) for value in (sent, fired))
    return sent, fired


def _step(graph: OnnxGraph, layer: SpikingConv, v: str | None, states: Sequence[str], may_fire: str | None) -> _Step:
    """One step; ``may_fire`` is 1 or 0 where it is not known when the graph is written."""
    if layer.neuron == "clif":
        return _clif_step(graph, layer, v, states)
    theta = graph.constant(broadcast(layer.theta), "theta")
    u = states[0] if v is None else graph.op("Add", states[0], v)
    up = _number(graph, graph.op("GreaterOrEqual", u, theta), may_fire)
    down = None
    if layer.neuron == "asymmetric":
        lower = graph.constant(broadcast(layer.lower), "lower")  # type: ignore[arg-type]
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
    return sent, _count(graph, spikes if down is None else graph.op("Add", up, down)), after


def _clif_step(graph: OnnxGraph, layer: SpikingConv, v: str | None, states: Sequence[str]) -> _Step:
    """One step of C-LIF, whose states are potential and current; it has no firing delay, so there is always input."""
    assert v is not None
    theta, (of_current, of_potential) = graph.constant(broadcast(layer.theta), "theta"), layer.decays
    current = graph.op("Add", graph.op("Mul", states[1], graph.constant(of_current)), v)
    u = graph.op("Add", graph.op("Mul", states[0], graph.constant(of_potential)), current)
    spikes = _number(graph, graph.op("GreaterOrEqual", u, theta), None)
    sent = graph.op("Mul", spikes, theta)
    if layer.reset == "hard":
        after = graph.op("Mul", u, graph.op("Sub", graph.constant(1.0), spikes))
    else:
        after = graph.op("Sub", u, sent)
    return sent, _count(graph, spikes), [after, current]


def _count(graph: OnnxGraph, spikes: str) -> str:
    """Spikes of each image as int64; sums over a map stay below 2^24, where float32 counts exactly."""
    by_channel = graph.op("Cast", graph.sum(spikes, [2, 3]), to=TensorProto.INT64)
    return graph.sum(by_channel, [1])


def _number(graph: OnnxGraph, condition: str, may_fire: str | None) -> str:
    made = graph.op("Cast", condition, to=TensorProto.FLOAT)
    return made if may_fire is None else graph.op("Mul", made, may_fire)


def _at(graph: OnnxGraph, sequence: str, step: int) -> str:
    return graph.op("Gather", sequence, graph.constant(np.array(step, np.int64), "index"), axis=0)
