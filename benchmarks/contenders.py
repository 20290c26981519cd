"""Everything that is timed against each other: ANNs, the naive loop, SpikingJelly, and our backends."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikedet.config import BackendName, Mode
from spikedet.snn import IMAGE, Readout, SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.closed_form import ClosedForm
from spikedet.snn.functional import if_step, signed_if_step
from spikedet.snn.layers import broadcast
from spikedet.snn.network import Node, mean_forward, qc_forward
from spikedet.snn.operations import SpikeOp

Run = Callable[[Tensor], object]
Maker = Callable[[SpikingNetwork, int], Run]


class Ann(nn.Module):
    """The clip ANN with the network's weights: BN folded, channels last."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(memory_format=torch.channels_last)
        self.readouts = network.box_readouts + network.class_readouts

    def forward(self, images: Tensor) -> list[Tensor]:
        values = mean_forward(self.network, images, plain_clip).outputs
        return [values[name] for name in self.readouts]


def plain_clip(node: Node, value: Tensor) -> Tensor:
    """The clip as plain operators, which a compiler sees through, as it does not through kernels."""
    layer = node.module
    if not isinstance(layer, SpikingConv):
        return value
    theta = broadcast(layer.theta)
    if layer.slope:
        return torch.where(value < 0, layer.slope * value, value).minimum(theta).maximum(-theta)
    return value.clamp_min(0).minimum(theta)


def ann(dtype: torch.dtype, *, compiled: bool) -> Maker:
    """The ANN's forward pass, eager or through inductor with frozen weights."""

    def make(network: SpikingNetwork, T: int) -> Run:
        model: Callable[[Tensor], object] = Ann(network).eval().to(dtype)
        if compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True
            model = torch.compile(model)

        @torch.no_grad()
        def run(images: Tensor) -> object:
            return model(images.to(dtype, memory_format=torch.channels_last))

        return run

    return make


def naive(network: SpikingNetwork, T: int) -> Run:
    """What a user would write: every step through the whole network."""
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def run(images: Tensor) -> object:
        images = images.contiguous(memory_format=torch.channels_last)
        states: dict[str, tuple[Tensor, Tensor]] = {}
        totals: dict[str, Tensor] = {}
        for _ in range(T):
            values = {IMAGE: images}
            for node in network.nodes:
                module, first = node.module, values[node.inputs[0]]
                if isinstance(module, SpikingConv):
                    v, theta = module.potential(first.unsqueeze(0))[0], broadcast(module.theta)
                    u, count = states.get(node.name, (broadcast(module.u0).expand(v.shape), torch.zeros_like(v)))
                    if module.neuron == "signed":
                        spikes, u, count = signed_if_step(v, u, count, theta)
                    else:
                        spikes, u = if_step(v, u, theta)
                    states[node.name], values[node.name] = (u, count), spikes * theta
                elif isinstance(module, SpikeOp):
                    values[node.name] = module([values[name].unsqueeze(0) for name in node.inputs])[0]
                else:
                    assert isinstance(module, Readout)
                    totals[node.name] = totals.get(node.name, 0) + module(first)
        return {name: total / T for name, total in totals.items()}

    return run


def spikingjelly(network: SpikingNetwork, T: int) -> Run:
    """The same weights in SpikingJelly, multi-step mode (torch backend): its IFNode has one threshold, so weights carry
    theta; the image is convolved once, as ours is."""
    from spikingjelly.activation_based import functional, neuron

    nodes = {}
    for node, layer in network.spiking():
        assert layer.neuron == "if" and layer.delay == 0
        cell = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
        nodes[node.name] = (copy.deepcopy(layer).to(memory_format=torch.channels_last), cell)
        layer, _ = nodes[node.name]
        layer.weight.data /= layer.theta.view(-1, 1, 1, 1)
        layer.bias.data /= layer.theta
        layer.u0.data /= layer.theta

    @torch.no_grad()
    def run(images: Tensor) -> object:
        values: dict[str, Tensor] = {}
        found = []
        for node in network.nodes:
            if isinstance(node.module, SpikingConv):
                layer, cell = nodes[node.name]
                if node.inputs[0] == IMAGE:
                    v = layer.potential(images.contiguous(memory_format=torch.channels_last).unsqueeze(0))
                    v = v.expand(T, *v.shape[1:])
                else:
                    v = layer.potential(values[node.inputs[0]])
                functional.reset_net(cell)
                cell.v = broadcast(layer.u0).expand(v.shape[1:]).clone()
                values[node.name] = cell(v) * broadcast(layer.theta)
            elif isinstance(node.module, SpikeOp):
                values[node.name] = node.module([values[name] for name in node.inputs])
            else:
                found.append(node.module(values[node.inputs[0]].mean(0)))
        return found

    return run


def ours(name: BackendName, mode: Mode) -> Maker:
    """One of our backends."""

    def make(network: SpikingNetwork, T: int) -> Run:
        backend = make_backend(network, name, mode)
        return lambda images: list(simulate(network, images, [T], backend=backend))

    return make


def delayed(network: SpikingNetwork, T: int) -> SpikingNetwork:
    """The same network with a firing delay of T in every layer, so that each waits for all its input."""
    made = copy.deepcopy(network)
    for _, layer in made.spiking():
        layer.delay = T
    return SpikingNetwork(made.nodes, made.box_readouts, made.class_readouts, made.strides, T)


def qc_ann(network: SpikingNetwork, T: int) -> Run:
    """The QC-ANN's forward pass, T levels, eager; what the closed form is held against."""
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return lambda images: qc_forward(network, images.contiguous(memory_format=torch.channels_last), T)


def closed_form(mode: Mode) -> Maker:
    """The delayed network without simulation."""

    def make(network: SpikingNetwork, T: int) -> Run:
        form = ClosedForm(delayed(network, T), mode)
        return lambda images: list(form(images, [T]))

    return make


def waiting(name: BackendName, mode: Mode) -> Maker:
    """The delayed network, simulated."""

    def make(network: SpikingNetwork, T: int) -> Run:
        return ours(name, mode)(delayed(network, T), T)

    return make


WAITING = ("QC-ANN fp32, eager", "closed form, delay T", "closed form fast, delay T", "native exact, delay T")
CONTENDERS: dict[str, Maker] = {
    "ANN fp32, eager": ann(torch.float32, compiled=False),
    "ANN fp32, compiled": ann(torch.float32, compiled=True),
    "ANN bf16, compiled": ann(torch.bfloat16, compiled=True),
    "naive loop": naive,
    "SpikingJelly multi-step": spikingjelly,
    "torch exact": ours("torch", "exact"),
    "torch fast": ours("torch", "fast"),
    "native exact": ours("native", "exact"),
    "native fast": ours("native", "fast"),
    WAITING[0]: qc_ann,
    WAITING[1]: closed_form("exact"),
    WAITING[2]: closed_form("fast"),
    WAITING[3]: waiting("native", "exact"),
}
