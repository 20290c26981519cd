"""Rules of blocks: modules made of other modules, each written as what its ``forward`` does with their outputs."""

from __future__ import annotations

from torch import nn
from ultralytics.nn.modules import C2, C3, ELAN1, SPP, SPPELAN, SPPF, AConv, ADown, Bottleneck, C2f, C3k2, RepNCSPELAN4
from ultralytics.nn.modules.block import C3k, RepBottleneck, RepCSP

from spikedet.conversion.graph import GraphBuilder, Rule
from spikedet.snn.operations import Add, AvgPool, Concat, Slice


def _bottleneck(graph: GraphBuilder, module: Bottleneck, name: str, inputs: list[str]) -> str:
    inner = graph.convert(module.cv2, f"{name}.cv2", [graph.convert(module.cv1, f"{name}.cv1", inputs)])
    return graph.add(f"{name}.add", [*inputs, inner], Add()) if module.add else inner


def _c2f(graph: GraphBuilder, module: C2f, name: str, inputs: list[str]) -> str:
    first, second = _halves(graph, graph.convert(module.cv1, f"{name}.cv1", inputs), module.c, name)
    parts = [first, *graph.chain(module.m.named_children(), f"{name}.m", second)]
    return graph.convert(module.cv2, f"{name}.cv2", [_joined(graph, parts, name)])


def _c2(graph: GraphBuilder, module: C2, name: str, inputs: list[str]) -> str:
    deep, flat = _halves(graph, graph.convert(module.cv1, f"{name}.cv1", inputs), module.c, name)
    parts = [graph.convert(module.m, f"{name}.m", [deep]), flat]
    return graph.convert(module.cv2, f"{name}.cv2", [_joined(graph, parts, name)])


def _c3(graph: GraphBuilder, module: C3, name: str, inputs: list[str]) -> str:
    deep = graph.convert(module.m, f"{name}.m", [graph.convert(module.cv1, f"{name}.cv1", inputs)])
    parts = [deep, graph.convert(module.cv2, f"{name}.cv2", inputs)]
    return graph.convert(module.cv3, f"{name}.cv3", [_joined(graph, parts, name)])


def _elan(graph: GraphBuilder, module: RepNCSPELAN4, name: str, inputs: list[str]) -> str:
    first, second = _halves(graph, graph.convert(module.cv1, f"{name}.cv1", inputs), module.c, name)
    parts = [first, *graph.chain([("cv2", module.cv2), ("cv3", module.cv3)], name, second)]
    return graph.convert(module.cv4, f"{name}.cv4", [_joined(graph, parts, name)])


def _spp(graph: GraphBuilder, module: SPP, name: str, inputs: list[str]) -> str:
    first = graph.convert(module.cv1, f"{name}.cv1", inputs)
    pools = [graph.convert(pool, f"{name}.m.{key}", [first]) for key, pool in module.m.named_children()]
    return graph.convert(module.cv2, f"{name}.cv2", [_joined(graph, [first, *pools], name)])


def _sppf(graph: GraphBuilder, module: SPPF, name: str, inputs: list[str]) -> str:
    first = graph.convert(module.cv1, f"{name}.cv1", inputs)
    parts = graph.chain([(str(i), module.m) for i in range(module.n)], f"{name}.m", first)
    made = graph.convert(module.cv2, f"{name}.cv2", [_joined(graph, parts, name)])
    return graph.add(f"{name}.add", [made, *inputs], Add()) if module.add else made


def _sppelan(graph: GraphBuilder, module: SPPELAN, name: str, inputs: list[str]) -> str:
    first = graph.convert(module.cv1, f"{name}.cv1", inputs)
    parts = graph.chain([("cv2", module.cv2), ("cv3", module.cv3), ("cv4", module.cv4)], name, first)
    return graph.convert(module.cv5, f"{name}.cv5", [_joined(graph, parts, name)])


def _aconv(graph: GraphBuilder, module: AConv, name: str, inputs: list[str]) -> str:
    return graph.convert(module.cv1, f"{name}.cv1", [_smoothed(graph, inputs, name)])


def _adown(graph: GraphBuilder, module: ADown, name: str, inputs: list[str]) -> str:
    channels = module.cv1.conv.in_channels
    averaged, pooled = _halves(graph, _smoothed(graph, inputs, name), channels, name)
    pooled = graph.convert(nn.MaxPool2d(3, 2, 1), f"{name}.pool", [pooled])
    parts = [graph.convert(module.cv1, f"{name}.cv1", [averaged]), graph.convert(module.cv2, f"{name}.cv2", [pooled])]
    return _joined(graph, parts, name)


def _halves(graph: GraphBuilder, source: str, channels: int, name: str) -> list[str]:
    """The first ``channels`` of a train, and as many after them."""
    halves = (Slice(0, channels), Slice(channels, 2 * channels))
    return [graph.add(f"{name}.split.{i}", [source], half) for i, half in enumerate(halves)]


def _joined(graph: GraphBuilder, parts: list[str], name: str) -> str:
    return graph.add(f"{name}.concat", parts, Concat())


def _smoothed(graph: GraphBuilder, inputs: list[str], name: str) -> str:
    """What YOLOv9 does before it halves a map: means of 2 x 2 places, one apart."""
    return graph.add(f"{name}.average", inputs, AvgPool(nn.AvgPool2d(2, 1)))


BLOCK_RULES: dict[type[nn.Module], Rule] = {
    Bottleneck: _bottleneck,
    RepBottleneck: _bottleneck,
    C2: _c2,
    C2f: _c2f,
    C3k2: _c2f,
    C3: _c3,
    C3k: _c3,
    RepCSP: _c3,
    RepNCSPELAN4: _elan,
    ELAN1: _elan,
    SPP: _spp,
    SPPF: _sppf,
    SPPELAN: _sppelan,
    AConv: _aconv,
    ADown: _adown,
}
