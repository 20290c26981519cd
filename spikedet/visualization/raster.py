"""Spikes and membrane potentials of some neurons of a layer against time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikedet.snn.recording import LayerRecord
from spikedet.visualization.figure import new_figure

NEURONS = 64
TRACES = 4


def plot_raster(record: LayerRecord, title: str, path: Path) -> Path:
    """A raster of up to 64 neurons that fire, from the busiest down, and the potentials of four of them, as PNG.

    The neurons are evenly spaced among those that fire, ordered by their number of spikes; how many never fire is said.
    """
    spikes = record.spikes.flatten(1).numpy()
    potential = record.potential.flatten(1).numpy()
    chosen, steps = chosen_neurons(spikes), np.arange(1, len(spikes) + 1)
    with new_figure(path, rows=2, height=7, legend="small", sharex=True, height_ratios=(2, 1)) as (above, below):
        for sign, colour, label in ((1, "#0072B2", "spike"), (-1, "#D55E00", "negative spike")):
            step, row = np.nonzero(spikes[:, chosen] == sign)
            if len(step):
                above.scatter(steps[step], row, marker="|", s=40, color=colour, label=label)
        above.set_ylabel("neurons, busiest first")
        above.invert_yaxis()
        above.grid(visible=False)
        silent = float((spikes == 0).all(0).mean())
        above.set_title(
            f"{title}\n{len(chosen)} of {spikes.shape[1]:,} neurons; {silent:.1%} of all never fire", fontsize=10
        )
        for neuron in chosen[:: max(1, len(chosen) // TRACES)][:TRACES]:
            below.plot(steps, potential[:, neuron], marker=".", label=f"neuron {neuron}")
        below.axhline(1.0, linestyle="--", linewidth=1, color="#000000", label="theta")
        below.set(xlabel="step since the layer's input began", ylabel="potential after the step / theta")
    return path


def chosen_neurons(spikes: npt.NDArray[np.float32], most: int = NEURONS) -> npt.NDArray[np.int64]:
    """Indices of up to ``most`` neurons of ``[steps, neurons]``: evenly spaced among those that fire, busiest first."""
    counts = np.abs(spikes).sum(0)
    firing = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    if len(firing) <= most:
        return firing
    return firing[np.linspace(0, len(firing) - 1, most).round().astype(np.int64)]
