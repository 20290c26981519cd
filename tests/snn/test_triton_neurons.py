"""The GPU's neurons in Triton's interpreter on the CPU, chosen at import and so in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikedet.snn.backends import triton_neurons

pytestmark = pytest.mark.slow

pytest.importorskip("triton")

CODE = """
import torch
from snn_reference import random_network
from spikedet.snn import simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.triton_neurons import fused_neurons

fused, word = fused_neurons(torch.device("cpu"))
assert fused is not None and word == "neurons in Triton", word
for seed in range(4):
    network, images = random_network(seed, delays=seed % 2 == 0, signed=seed % 3 == 0)
    for chunk in (3, 100):
        plain, backend = TorchBackend(network), TorchBackend(network)
        backend._neurons = fused
        runs = [list(simulate(network, images, [1, 4], chunk=chunk, backend=b)) for b in (plain, backend)]
        for expected, made in zip(*runs, strict=True):
            assert torch.equal(expected.spikes, made.spikes), (seed, chunk)
            assert all(torch.equal(expected.maps[name], made.maps[name]) for name in made.maps), (seed, chunk)
print("same")
"""


def test_spikes_are_those_of_the_plain_loop() -> None:
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests.parent)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


def test_where_triton_does_not_work_the_plain_loop_is_used_and_said() -> None:
    """There is no Triton for this CPU outside its interpreter."""
    fused, word = triton_neurons.fused_neurons.__wrapped__(torch.device("cpu"))
    assert fused is None
    assert "Triton fails here" in word


def test_without_triton_the_plain_loop_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_neurons, "triton", None)
    fused, word = triton_neurons.fused_neurons.__wrapped__(torch.device("cpu"))
    assert fused is None
    assert "not installed" in word
