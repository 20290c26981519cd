"""From an ANN with clip (or QC) activations to a spiking network; the ANN is left as it was."""

from __future__ import annotations

from spikedet.config import Neuron
from spikedet.conversion.rules import GraphBuilder, check_head, readout
from spikedet.models import ClipDetector
from spikedet.snn import IMAGE, SpikingNetwork


def to_spiking(model: ClipDetector, T: int, *, neuron: Neuron = "if", delay: int = 0) -> SpikingNetwork:
    """Fold BN, turn activations into IF neurons with soft reset and u[0] = theta / 2, read out mean potentials.

    The graph is walked through the model's own module list and its ``f`` indices.

    Args:
        model: a detector whose activations are ``ClippedReLU`` or ``QCActivation``.
        T: time steps it is converted for.
        neuron: ``if`` or ``signed``; a LeakyReLU always becomes an asymmetric neuron.
        delay: firing delay of every layer, in steps.

    Raises:
        ConversionError: a layer cannot spike; the message names it.
    """
    graph = GraphBuilder(neuron, delay)
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
    return SpikingNetwork(graph.nodes, boxes, classes, detect.stride.detach().clone(), T).eval()


def _output(outputs: list[str], index: int, source: int) -> str:
    """Node that layer ``index`` reads: the image, or the output of an earlier layer (negative counts back)."""
    position = index + source if source < 0 else source
    return outputs[position] if position >= 0 else IMAGE
