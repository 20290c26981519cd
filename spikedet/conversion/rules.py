"""One rule per module type: how it becomes spiking nodes. The converter itself knows no algorithm and no model.

A rule receives the module, its qualified name and the names of the nodes it reads, adds nodes to the ``GraphBuilder``
and returns the name of its output. To support a module, write a rule, register it and add a parity test.
"""

from __future__ import annotations

from torch import nn
from ultralytics.nn.modules import Concat, Conv, Detect, DWConv, RepConv

from spikedet.common.errors import ConversionError
from spikedet.conversion.block_rules import BLOCK_RULES
from spikedet.conversion.fold import fold_batch_norm, fold_branches
from spikedet.conversion.graph import GraphBuilder, Rule, check_convolution
from spikedet.models.blocks import Add, DirectDetect
from spikedet.snn import Readout
from spikedet.snn.layers import pair
from spikedet.snn.operations import Add as AddTrains
from spikedet.snn.operations import AvgPool, MaxPool, Upsample, ZeroPad
from spikedet.snn.operations import Concat as ConcatTrains


def _conv(graph: GraphBuilder, module: Conv, name: str, inputs: list[str]) -> str:
    folded = fold_batch_norm(module.conv, getattr(module, "bn", None))
    return graph.spiking_layer(module.conv, folded, module.act, name, inputs)


def _rep_conv(graph: GraphBuilder, module: RepConv, name: str, inputs: list[str]) -> str:
    if hasattr(module, "conv"):  # ultralytics has merged its branches
        return graph.spiking_layer(module.conv, fold_batch_norm(module.conv, None), module.act, name, inputs)
    square, point = module.conv1, module.conv2
    folded = fold_branches((square.conv, square.bn), (point.conv, point.bn), module.bn)
    return graph.spiking_layer(square.conv, folded, module.act, name, inputs)


def _sequential(graph: GraphBuilder, module: nn.Sequential, name: str, inputs: list[str]) -> str:
    return graph.chain(module.named_children(), name, inputs[0])[-1]


def _upsample(graph: GraphBuilder, module: nn.Upsample, name: str, inputs: list[str]) -> str:
    factor = module.scale_factor
    if module.mode != "nearest" or not isinstance(factor, (int, float)) or factor != int(factor):
        raise ConversionError(f"{name}: upsampling must be nearest by a whole factor, got {module.mode} by {factor}")
    return graph.add(name, inputs, Upsample(int(factor)))


def _concat(graph: GraphBuilder, module: Concat, name: str, inputs: list[str]) -> str:
    if module.d != 1:
        raise ConversionError(f"{name}: concatenation must be over channels (dimension 1), got {module.d}")
    return graph.add(name, inputs, ConcatTrains())


def _zero_pad(graph: GraphBuilder, module: nn.ZeroPad2d, name: str, inputs: list[str]) -> str:
    left, right, top, bottom = (int(side) for side in module.padding)
    return graph.add(name, inputs, ZeroPad((left, right, top, bottom)))


def readout(graph: GraphBuilder, branch: nn.Sequential, name: str, source: str) -> str:
    """A head's branch: spiking layers, or none, then a plain convolution that reads out the mean input potential."""
    *layers, last = branch
    source = graph.chain(((str(index), layer) for index, layer in enumerate(layers)), name, source)[-1]
    if not isinstance(last, nn.Conv2d):
        raise ConversionError(f"{name}: a branch must end in a plain convolution, got {type(last).__name__}")
    check_convolution(last, name)
    if last.groups != 1 or last.dilation != (1, 1):
        raise ConversionError(f"{name}: the last convolution must have one group and no dilation")
    weight, bias = fold_batch_norm(last, None)
    made = Readout(weight, bias, stride=last.stride, padding=pair(last.padding))
    return graph.add(f"{name}.{len(layers)}", [source], made)


def check_head(head: nn.Module, name: str) -> Detect:
    """The head as an anchor-free ultralytics Detect or our DirectDetect, or a ConversionError."""
    if type(head) not in (Detect, DirectDetect) or getattr(head, "one2one_cv2", None) is not None:
        raise ConversionError(
            f"{name} ({type(head).__name__}) cannot be read out: the last layer must be a plain Detect or DirectDetect"
        )
    assert isinstance(head, Detect)
    return head


RULES: dict[type[nn.Module], Rule] = {
    Conv: _conv,
    DWConv: _conv,
    RepConv: _rep_conv,
    **BLOCK_RULES,
    Concat: _concat,
    Add: lambda graph, module, name, inputs: graph.add(name, inputs, AddTrains()),
    nn.Sequential: _sequential,
    nn.Identity: lambda graph, module, name, inputs: inputs[0],
    nn.Upsample: _upsample,
    nn.AvgPool2d: lambda graph, module, name, inputs: graph.add(name, inputs, AvgPool(module)),
    nn.MaxPool2d: lambda graph, module, name, inputs: graph.add(name, inputs, MaxPool(module, graph.max_pool)),
    nn.ZeroPad2d: _zero_pad,
}

INSTEAD = {
    "SiLU": "train with clip activations instead (spikedet train --activation clip)",
    "LeakyReLU": "train with clip activations instead (spikedet train --activation leaky)",
    "ConvTranspose2d": "use nn.Upsample (nearest) and a convolution",
    "C2PSA": "attention has no spiking form here; leave it out, as yolov8 does",
    "PSABlock": "attention has no spiking form here; use C3k2 without it",
    "": "use Conv, Bottleneck, C2f, C3, C3k2, RepNCSPELAN4, SPPF, nn.Upsample (nearest), nn.AvgPool2d or nn.MaxPool2d, "
    "Concat, Add, and Detect or DirectDetect",
}
