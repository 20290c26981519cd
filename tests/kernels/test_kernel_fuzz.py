"""Kernels called directly: random shapes, also under sanitizers, and more spikes than 32 bits can count."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from pathlib import Path

import kernel_fuzz
import pytest
import sanitized

from spikedet.kernels.library import available, library
from spikedet.snn.backends.native import layers

pytestmark = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

HERE = Path(__file__).parent
needs_sanitizers = pytest.mark.skipif(sanitized.preloaded() is None, reason="g++ has no sanitizers here")

SANITIZED = """
import ctypes, sys, torch
sys.path.insert(0, FOLDER)
import kernel_fuzz
from spikedet.kernels.library import library, pointer
torch.set_num_threads(1)
for seed in range(1000, 1020):
    kernel_fuzz.one(seed)
bits, counts = torch.zeros(64, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
for size in (64, 65):
    print("size", size, flush=True)
    library().spikedet_count(pointer(bits), ctypes.c_int64(1), ctypes.c_int64(size), pointer(counts))
"""

# 16 steps of 4096 x 4096 places with 16 channels that all fire, into a layer of one place; 2 GiB.
MANY_SPIKES = """
import torch
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import SpikingConv
from spikedet.snn.packing import layer_channels
weight = torch.ones(16, 16, 1, 1)
layer = SpikingConv(weight, torch.zeros(16), torch.full((16,), 32.0), stride=(4096, 4096), padding=(0, 0))
packed = PackedConv(layer, layer_channels(torch.ones(16), False), "exact")
bits = torch.full((16, 1, 4096, 4096, 2), 255, dtype=torch.uint8)
assert 8 * bits.numel() == 2**32
state = packed.state(1, (4096, 4096))
made = packed.run(state, bits, 16, 0)
assert made.flatten(1)[:, 0].tolist() == 8 * [255, 0]  # 16 / 32 a step, from 16 / 32 on
assert state.u.unique().tolist() == [16.0]
"""


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=900)


@pytest.mark.parametrize("seed", range(0, 40, 10))
def test_random_calls(seed: int) -> None:
    for case in range(seed, seed + 10):
        kernel_fuzz.one(case)


def test_a_kernel_without_memory_raises_and_the_next_call_works() -> None:
    convolution = layers._Convolution(height=2**59, width=1, bytes=2, at_once=2**62)
    call = layers._Steps(steps=1, images=1)
    with pytest.raises(MemoryError, match="not enough memory for spikedet_convolve_float"):
        library().spikedet_convolve_float(ctypes.byref(call), ctypes.byref(convolution))
    kernel_fuzz.convolution(random.Random(0))


@pytest.mark.slow
@needs_sanitizers
def test_sanitizers_find_one_byte_beyond_a_tensor_and_nothing_in_random_calls(tmp_path: Path) -> None:
    """``make sanitize`` looks longer, and runs the tests of all that calls kernels under them."""
    (tmp_path / "calls.py").write_text(SANITIZED.replace("FOLDER", repr(str(HERE))))
    done = run(str(HERE / "sanitized.py"), str(tmp_path / "calls.py"))
    assert done.stdout.split("\n")[:2] == ["size 64", "size 65"], done.stderr
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr


@pytest.mark.slow
def test_more_spikes_in_a_call_than_32_bits_can_count() -> None:
    """In a process of its own: lists that are too short end it."""
    done = run("-c", MANY_SPIKES)
    assert done.returncode == 0, done.stderr
