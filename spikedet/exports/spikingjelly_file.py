"""SpikingJelly: a Python file of its layers and neurons, with the tensors in a safetensors file beside it.

The code is the same for every network, that of ``spikingjelly_network``. What a network's own values (names of classes
and layers among them) add to it is literals alone, so nothing in a checkpoint becomes code.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from spikedet.common.errors import ExportError
from spikedet.common.files import atomic_path
from spikedet.conversion.stored_graph import graph_of
from spikedet.exports.metadata import KEY, to_text
from spikedet.exports.subject import Outputs, Run, Subject
from spikedet.snn.packed_operations import pooled_units

_BEGIN = "# Values of this network alone; nothing of them is code.\n"
_END = "# From here on every export is the same.\n"


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write ``STEM.py`` and ``STEM-weights.safetensors``.

    Raises:
        ExportError: the file of tensors would take the place of the checkpoint.
        TypeError: a layer of an unknown type; the message names it.
    """
    network = subject.network
    weights = path.with_name(f"{path.stem}-weights.safetensors")
    if Path(subject.config.out).with_name(weights.name).resolve() == Path(subject.config.checkpoint).resolve():
        raise ExportError(f"{weights.name}: the checkpoint has the name of the file of tensors; choose another --out")
    text = source(subject, weights.name)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.tensors().items()}
    with atomic_path(weights) as temporary:
        units = {f"{name}.unit": unit.float() for name, unit in pooled_units(network).items()}
        save_file(tensors | units, temporary, metadata={KEY: to_text(subject.file_meta)})
    path.write_text(text, encoding="utf-8")
    return {"tensors": weights.name}


def source(subject: Subject, weights: str) -> str:
    """The Python file; ``weights`` is the name of the file of tensors."""
    graph, meta = graph_of(subject.network), subject.meta
    values = {
        "WEIGHTS": weights,
        "T": subject.network.T,
        "STEPS": subject.steps,
        "IMAGE_SIZE": meta.image_size,
        "CLASS_NAMES": tuple(meta.class_names),
        "STRIDES": tuple(graph["strides"]),
        "BOXES": tuple(graph["boxes"]),
        "CLASSES": tuple(graph["classes"]),
    }
    lines = [f"{name} = {value!a}" for name, value in values.items()]
    lines += ["LAYERS = (", *(f"    {layer!a}," for layer in graph["layers"]), ")"]
    text = Path(__file__).with_name("spikingjelly_network.py").read_text(encoding="utf-8")
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return "\n".join([head + _BEGIN + lines[0], *lines[1:], _END + tail])


def run(path: Path) -> Run:
    """The file as a function of images. It is executed: to be called on what ``write`` has written only."""
    module = imported(path)
    network = module.load()
    return partial(_outputs, module, network)


def imported(path: Path) -> ModuleType:
    """The file as a module."""
    spec = importlib.util.spec_from_file_location("spikingjelly_export", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def _outputs(module: Any, network: Any, images: Tensor) -> dict[int, Outputs]:
    counts: list[Tensor] = []  # [T, N] of every layer
    hooks = [
        layer.neurons.register_forward_hook(lambda _, __, spikes: counts.append(spikes.abs().flatten(2).sum(2)))
        for layer in network.layers
        if hasattr(layer, "neurons")
    ]
    try:
        maps = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    none = torch.zeros(len(images), dtype=torch.float64)
    return {
        t: Outputs(module.decode(found), sum((count[:t].sum(0).double() for count in counts), start=none))
        for t, found in maps.items()
    }
