import ctypes

import pytest
import torch

from spikedet.common.memory import keep_freed_memory


class _Heap(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def _mapped() -> int:
    """Blocks that glibc has from the kernel one by one, to give back when they are freed."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heap
    return int(ask().hblks)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc 2.33 or later")
def test_large_tensors_within_the_block_are_kept_by_the_c_library() -> None:
    before = _mapped()
    with keep_freed_memory():
        inside = torch.empty(2**26)  # 256 MiB, more than glibc ever takes from its own heap by default
        assert _mapped() == before
    after = torch.empty(2**26)
    assert _mapped() == before + 1
    assert inside.numel() == after.numel()


def test_an_error_passes_through_and_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError), keep_freed_memory():
        raise KeyError
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with keep_freed_memory():
        assert torch.ones(3).sum() == 3
