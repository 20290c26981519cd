"""SpikingJelly exports have the torch backend's spikes, one by one; weights are dyadic, so float32 is exact."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ExportError
from spikedet.config.export import ExportConfig
from spikedet.conversion import load_spiking
from spikedet.exports import FORMATS
from spikedet.exports.spikingjelly_file import imported, run, source, write
from spikedet.exports.subject import Subject
from spikedet.models.postprocess import decode_maps
from spikedet.snn import Node, SpikingNetwork, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.operations import MaxPool, Upsample

sys.path.append(str(Path(__file__).parent.parent / "snn"))
from snn_reference import branching_network, dyadic, random_network, readout

pytest.importorskip("spikingjelly")

ALL_KINDS = ("max", "slice", "pad", "analog")
SHIPPED = Path(__file__).resolve().parents[2] / "weights/tiny-yolo-csp-nano-voc-t8.safetensors"


Run = tuple[dict[int, dict[str, Tensor]], list[Tensor]]


def subject_of(network: SpikingNetwork, t: str = "", **meta: Any) -> Subject:
    about: dict[str, Any] = {"stage": "copied", "model": "m", "architecture": {}, "class_names": ("a", "b")}
    made = CheckpointMeta(**{**about, "image_size": 32, "T": network.T, "neuron": "if", **meta})
    return Subject(network, made, ExportConfig(checkpoint="x", out="y.py", to="spikingjelly", t=t))


def exported(subject: Subject, folder: Path) -> nn.Module:
    write(subject, folder / "network.py")
    network: nn.Module = imported(folder / "network.py").load()
    return network


@torch.no_grad()
def jelly(network: nn.Module, images: Tensor, steps: list[int]) -> Run:
    """Maps by time step and the spikes ``[T, N, C, H, W]`` of every layer with neurons, from one run."""
    seen: list[Tensor] = []
    hooks = [
        module.neurons.register_forward_hook(lambda _, __, spikes: seen.append(spikes))
        for module in network.layers
        if hasattr(module, "neurons")
    ]
    maps = network(images, steps)
    for hook in hooks:
        hook.remove()
    return maps, seen


def ours(
    network: SpikingNetwork, images: Tensor, steps: list[int]
) -> tuple[dict[int, dict[str, Tensor]], list[Tensor]]:
    """The same by the torch backend in one piece; spikes in {-1, 0, 1}."""
    trains: dict[str, list[Tensor]] = {node.name: [] for node, _ in network.spiking()}

    def watch(node: Node, piece: Tensor) -> None:
        if node.name in trains:
            trains[node.name].append(piece.clone())

    chunk = network.latency(network.T)
    found = simulate(network, images, steps, T=network.T, chunk=chunk, backend=TorchBackend(network), watch=watch)
    maps = {reading.t: reading.maps for reading in found}
    theta = {node.name: layer.theta.view(1, 1, -1, 1, 1) for node, layer in network.spiking()}
    return maps, [torch.cat(pieces) / theta[name] for name, pieces in trains.items()]


def require_equal(network: SpikingNetwork, images: Tensor, folder: Path) -> float:
    """Every spike of every layer and every map; returns the mean rate of all layers."""
    steps = [1, max(1, network.T // 2), network.T]
    maps, spikes = ours(network, images, steps)
    their_maps, theirs = jelly(exported(subject_of(network), folder), images, steps)
    for (node, _), mine, other in zip(network.spiking(), spikes, theirs, strict=True):
        assert torch.equal(mine, other[: len(mine)]), node.name
    for t in steps:
        for name, value in maps[t].items():
            assert torch.equal(value, their_maps[t][name]), (t, name)
    return float(torch.stack([s.abs().mean() for s in spikes]).mean()) if spikes else 0.0


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_have_identical_spikes(seed: int, tmp_path: Path) -> None:
    network, images = random_network(seed, delays=seed % 2 > 0, signed=seed % 3 > 0, more=ALL_KINDS)
    require_equal(network, images, tmp_path)


def test_the_compared_networks_fire(tmp_path: Path) -> None:
    rates = [require_equal(*random_network(seed, delays=True, signed=True), tmp_path) for seed in range(8)]
    assert sum(0.02 < rate < 0.98 for rate in rates) >= 6


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_branches_of_different_delay_meet(neuron: str, tmp_path: Path) -> None:
    images = torch.arange(2 * 3 * 6 * 8).view(2, 3, 6, 8) % 9 / 8
    torch.manual_seed(1)
    require_equal(branching_network((1, 2, 0, 3), neuron), images, tmp_path)


@pytest.mark.parametrize("rule", ["count", "or"])
def test_rules_for_maxima(rule: str, tmp_path: Path) -> None:
    changed = 0
    for seed in range(12):
        network, images = random_network(seed, delays=False, signed=seed > 5, more=("max", "max"))
        for node in network.nodes:
            if isinstance(node.module, MaxPool):
                node.module.rule, changed = rule, changed + 1  # type: ignore[assignment]
        require_equal(network, images, tmp_path)
    assert changed > 3


@pytest.mark.parametrize("factor", [2, 3, 41, 61])
def test_upsampling_repeats_every_place(factor: int, tmp_path: Path) -> None:
    nodes = [Node("up", ("image",), Upsample(factor)), Node("out", ("up",), readout(3))]
    network = SpikingNetwork(nodes, ["out"], ["out"], torch.tensor([1.0]), 2)
    require_equal(network, dyadic(1, 3, 5, 4), tmp_path)


def test_the_file_reads_again_and_starts_anew(tmp_path: Path) -> None:
    network, images = random_network(3, delays=True, signed=True)
    made = exported(subject_of(network), tmp_path)
    (first, spikes), (again, repeated) = jelly(made, images, [8]), jelly(made, images, [8])
    assert all(torch.equal(first[8][name], again[8][name]) for name in first[8])
    assert all(torch.equal(a, b) for a, b in zip(spikes, repeated, strict=True))
    smaller, _ = jelly(made, images[:1], [8])
    assert all(torch.equal(value[0], first[8][name][0]) for name, value in smaller[8].items())


HOSTILE = (
    '"); import os; os.abort() #',
    '"""\nraise SystemExit(1)\n"""',
    "'\\",
    "\n# End\nimport os\n",
    "{__import__('os').abort()}",
    "\udc80\u2028\x00",
    "# From here on every export is the same.\n",
)


def test_names_never_become_code(tmp_path: Path) -> None:
    network, _ = random_network(5, delays=False, signed=True)
    names = {node.name: HOSTILE[i % len(HOSTILE)] + str(i) for i, node in enumerate(network.nodes)}
    renamed = [Node(names[n.name], tuple(names.get(i, i) for i in n.inputs), n.module) for n in network.nodes]
    boxes, classes = ([names[name] for name in found] for found in (network.box_readouts, network.class_readouts))
    hostile = SpikingNetwork([], boxes, classes, network.strides, network.T)
    hostile.nodes = renamed
    plain, meant = (write_source(n, c) for n, c in ((network, ("a", "b")), (hostile, HOSTILE)))
    assert shape_of(plain) == shape_of(meant)
    values: dict[str, Any] = {}
    exec(compile(meant.split("class IF")[0].replace("from spikingjelly", "#"), "x", "exec"), values)
    assert values["CLASS_NAMES"] == HOSTILE
    assert [layer["name"] for layer in values["LAYERS"]] == list(names.values())


def write_source(network: SpikingNetwork, class_names: tuple[str, ...]) -> str:
    return source(subject_of(network, class_names=class_names, model=HOSTILE[1]), HOSTILE[0] + ".safetensors")


def shape_of(text: str) -> list[str]:
    """The kinds of all parts of a program but literals."""
    return [type(n).__name__ for n in ast.walk(ast.parse(text)) if not isinstance(n, (ast.Constant, ast.Load))]


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_current_lif_neurons(reset: str, tmp_path: Path) -> None:
    for seed in range(6):
        network, images = random_network(seed, delays=False, signed=False, more=ALL_KINDS)
        for number, (_, layer) in enumerate(network.spiking()):
            layer.neuron, layer.reset = "clif", reset  # type: ignore[assignment]
            layer.decays = ((0.5, 0.75), (0.25, 0.5))[number % 2]
        network.T = 6  # sums of quarters stay exact
        require_equal(network, images, tmp_path)


def test_layers_without_a_form_are_refused_by_name(tmp_path: Path) -> None:
    class Other(Upsample):
        pass

    network = branching_network()
    network.nodes[4] = Node("up", ("deep",), Other(2))
    with pytest.raises(TypeError, match=r"^up: a Other has no stored form"):
        write(subject_of(network), tmp_path / "network.py")
    assert list(tmp_path.iterdir()) == []


def test_groups_of_steps_are_refused(tmp_path: Path) -> None:
    network = branching_network()
    network.group = 2
    with pytest.raises(ExportError, match="several real time steps"):
        FORMATS["spikingjelly"].write(subject_of(network), tmp_path / "network.py")


@pytest.mark.slow
def test_a_shipped_network_without_spikedet(tmp_path: Path) -> None:
    network, meta = load_spiking(SHIPPED)
    subject = Subject(network, meta, ExportConfig(checkpoint=str(SHIPPED), out="n.py", to="spikingjelly", t="2,8"))
    write(subject, tmp_path / "n.py")
    images = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    found = run(tmp_path / "n.py")(images)
    for reading in simulate(network, images, [2, 8], T=network.T, backend=TorchBackend(network)):
        assert reading.t in found
        decoded, spikes = found[reading.t].decoded, found[reading.t].spikes
        assert decoded is not None
        assert spikes is not None
        assert (spikes - reading.spikes).abs().max() <= 20  # of 40,000: sums in another order move single spikes
        assert (decoded - decode_maps(network, reading.maps)).abs().mean() < 0.05
    alone = "import sys; sys.modules['spikedet'] = None; import torch, n; print([*n.load()(torch.ones(1, 3, 64, 64))])"
    done = subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[2, 8]", done.stderr
