import ctypes
import subprocess
import sys

import pytest
import torch

from spikedet.common.memory import keep_freed_memory

IN_A_PROCESS = """
import ctypes, torch
from spikedet.common.memory import keep_freed_memory

names = "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
Heap = type("Heap", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
ask = ctypes.CDLL(None).mallinfo2
ask.restype = Heap
with keep_freed_memory():
    before = ask().hblks
    inside = torch.empty(2**26)
    print(ask().hblks - before)
before = ask().hblks
after = torch.empty(2**26)
print(ask().hblks - before)
"""
"""Prints how many blocks glibc gets from the kernel alone, to give them back when freed, for 256 MiB each time."""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc 2.33 or later")
def test_large_tensors_within_the_block_are_kept_by_the_c_library() -> None:
    run = subprocess.run([sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "1"]


def test_an_error_passes_through_and_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError), keep_freed_memory():
        raise KeyError
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with keep_freed_memory():
        assert torch.ones(3).sum() == 3
