"""Our counter of synaptic operations beside those of other packages, where they are installed."""

from __future__ import annotations

import counters
import pytest
import torch


@pytest.mark.parametrize("name", counters.OTHERS)
def test_another_package_counts_the_same(name: str) -> None:
    pytest.importorskip(name)
    convs, image = counters.convolutions(), counters.sample_images(31)
    with torch.no_grad():
        found = counters.OTHERS[name](convs, image, 4)
        assert found == counters.ours(convs, image, 4, "torch") == counters.ours(convs, image, 4, "native")
    assert len(found) == len(counters.LAYERS) - 1 and min(found) > 0
