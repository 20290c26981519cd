"""From an ANN with clip (or QC) activations to a spiking network; the ANN is left as it was."""

from __future__ import annotations

from spikedet.common.errors import ConversionError
from spikedet.config import Linear, MaxPoolRule, Neuron
from spikedet.conversion.graph import GraphBuilder, Problem
from spikedet.conversion.rules import INSTEAD, RULES, check_head, readout
from spikedet.models import ClipDetector, activations
from spikedet.snn import IMAGE, CurrentLIF, SpikingNetwork


def to_spiking(
    model: ClipDetector,
    T: int,
    *,
    neuron: Neuron = "if",
    delay: int = 0,
    max_pool: MaxPoolRule = "count",
    linear: Linear = "spiking",
    group: int = 0,
    leak: float = 0.0,
) -> SpikingNetwork:
    """Fold BN, turn activations into IF neurons with soft reset and u[0] = theta / 2, read out mean potentials.

    The graph is walked through the model's own module list and its ``f`` indices.

    Args:
        model: a detector whose activations are ``ClippedReLU``, ``QCActivation`` or ``CurrentLIF``. C-LIF neurons stay
            what they are, convolutions without activation become analog currents, and maxima are those of every step.
        T: time steps it is converted for.
        neuron: ``if`` or ``signed``; with ``if``, a LeakyReLU becomes an asymmetric neuron (with ``signed`` it cannot
            spike). Layers without activation do not ask it.
        delay: firing delay of every layer, in steps.
        max_pool: what a maximum over spikes is, see ``spikedet.snn.operations``.
        group, leak: see ``SpikingNetwork``; the firing delay is that of a group.
        linear: what a convolution without activation (a ``ClippedReLU`` of slope 1) becomes: ``spiking``, asymmetric IF
            of slope 1, or ``analog``, without neurons and without the clip.

    Raises:
        ConversionError: a layer cannot spike; the message names it.
    """
    if any(isinstance(activation, CurrentLIF) for _, activation in activations(model)):
        if neuron not in ("if", "clif") or delay:
            raise ConversionError("the network was trained with C-LIF neurons: drop --neuron and --delay")
        max_pool = "or"  # the maximum of every step, as in training
    graph = GraphBuilder(RULES, INSTEAD, neuron, delay, max_pool, linear)
    boxes, classes = walk(model, graph)
    strides = model.model[-1].stride.detach().clone()
    return SpikingNetwork(graph.nodes, boxes, classes, strides, T, group=group, leak=leak).eval()


def problems(model: ClipDetector, graph: GraphBuilder) -> list[Problem]:
    """Every layer that cannot spike; the graph keeps the nodes of those that can."""
    graph.problems = []
    try:
        walk(model, graph)
    except ConversionError as error:  # the head: nothing can be read out without one
        name, kind = f"model.{len(model.model) - 1}", type(model.model[-1]).__name__
        graph.problems.append(Problem(name, kind, str(error), len(graph.nodes)))
    return graph.problems


def walk(model: ClipDetector, graph: GraphBuilder) -> tuple[list[str], list[str]]:
    """Add every layer to the graph; returns the names of the box and of the class output layers, one per scale."""
    outputs: list[str] = []
    *body, head = model.model
    for index, module in enumerate(body):
        sources = module.f if isinstance(module.f, list) else [module.f]
        inputs = [_output(outputs, index, int(source)) for source in sources]
        outputs.append(graph.convert(module, f"model.{index}", inputs))
    name = f"model.{len(body)}"
    detect = check_head(head, name)
    sources = [_output(outputs, len(body), int(source)) for source in head.f]
    boxes = [readout(graph, b, f"{name}.cv2.{i}", sources[i]) for i, b in enumerate(detect.cv2)]
    classes = [readout(graph, b, f"{name}.cv3.{i}", sources[i]) for i, b in enumerate(detect.cv3)]
    return boxes, classes


def _output(outputs: list[str], index: int, source: int) -> str:
    """Node that layer ``index`` reads: the image, or the output of an earlier layer (negative counts back)."""
    position = index + source if source < 0 else source
    return outputs[position] if position >= 0 else IMAGE
