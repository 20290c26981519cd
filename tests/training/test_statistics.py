"""Statistics that are measured again are those of the images, in evaluation."""

from __future__ import annotations

import pytest
import torch
from tiny_detector import IMAGE_SIZE, detector, sample_images
from torch import Tensor, nn

from spikedet.data import load_dataset
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.data.transforms import to_input
from spikedet.models import as_qc
from spikedet.training import statistics


def test_means_and_variances_are_those_of_the_quantized_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BATCH", 3)
    images = load_dataset(sample_images(), "train", class_names=SYNTHETIC_CLASS_NAMES).draw(6, 0)
    network = as_qc(detector(), 4, noise=0.5)
    thetas = {name: value.clone() for name, value in network.state_dict().items() if name.endswith("log_theta")}
    statistics.measure_statistics_(network, images, IMAGE_SIZE)
    assert not any(module.training for module in network.modules())
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(module.momentum is not None for _, module in norms)
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name, module in norms
    ]
    network(to_input([images.read_image(i) for i in range(6)], IMAGE_SIZE))
    for hook in hooks:
        hook.remove()
    first, module = norms[0]
    assert torch.allclose(module.running_mean, seen[first].mean((0, 2, 3)), atol=1e-5)
    halves = torch.stack([part.var((0, 2, 3)) for part in seen[first].split(3)]).mean(0)
    assert torch.allclose(module.running_var, halves, rtol=1e-3)
    assert len(norms) > 5 and all(float(module.running_var.min()) > 0 for _, module in norms)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in thetas.items())
