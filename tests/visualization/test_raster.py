"""Which neurons a raster shows, and that it is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from spikedet.snn.recording import LayerRecord
from spikedet.visualization.raster import chosen_neurons, plot_raster


def test_the_busiest_come_first_and_the_silent_never() -> None:
    spikes = np.array([[0, 1, 1, -1], [0, 0, 1, -1], [0, 0, 1, 0]], np.float32)
    assert chosen_neurons(spikes).tolist() == [2, 3, 1]


def test_some_of_many_are_spread_over_all_rates() -> None:
    spikes = np.tril(np.ones((100, 100), np.float32))  # neuron i fires 100 - i times
    assert chosen_neurons(spikes, 4).tolist() == [0, 33, 66, 99]


def test_drawn_with_spikes_of_both_signs_and_with_none(tmp_path: Path) -> None:
    potential = torch.linspace(-1, 2, 24).view(4, 2, 1, 3)
    for name, spikes in (("silent", torch.zeros(4, 2, 1, 3)), ("both", torch.sign(potential))):
        path = plot_raster(LayerRecord(spikes, potential), "a layer", tmp_path / f"{name}.png")
        with Image.open(path) as image:
            assert image.width > 500
