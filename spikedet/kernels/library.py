"""Loads the compiled kernels, which are built at first use.

``SPIKEDET_NATIVE=0`` turns them off, ``SPIKEDET_CACHE`` moves the folder that keeps the object, ``CXX`` names the
compiler, with arguments if it needs some (``ccache g++``).
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

from torch import Tensor

from spikedet.kernels.build import NativeUnavailable as NativeUnavailable
from spikedet.kernels.build import build, cache_folders, find_compiler

STORED = ("float32", "bfloat16")
"""Types of the values of activations."""


def library() -> ctypes.CDLL:
    """The compiled kernels.

    A kernel raises MemoryError where there is not enough memory for what it has to remember.

    Raises:
        NativeUnavailable: no compiler, a compiler that fails, or turned off.
    """
    loaded = outcome()
    if isinstance(loaded, NativeUnavailable):
        raise loaded
    return loaded


@functools.cache
def outcome() -> ctypes.CDLL | NativeUnavailable:
    """The kernels, or why there are none: found out once, whichever it is."""
    try:
        return _load()
    except NativeUnavailable as error:
        return error


def _load() -> ctypes.CDLL:
    if os.environ.get("SPIKEDET_NATIVE", "1") == "0":
        raise NativeUnavailable("turned off by SPIKEDET_NATIVE=0")
    compiler, tried = find_compiler(), []
    for folder in cache_folders():
        try:
            loaded = ctypes.CDLL(str(build(compiler, folder)))
        except OSError as error:  # a folder that cannot be written, or one that nothing may be executed from
            tried.append(f"{folder}: {error.strerror or error}")
            continue
        activations = [f"{n}{way}_{t}" for n in ("quantize_clip", "clip") for way in ("", "_backward") for t in STORED]
        for name in ("has_dense", "convolve_float", "convolve_int8", "rate", *activations):
            function = getattr(loaded, f"spikedet_{name}")
            function.restype, function.errcheck = ctypes.c_int64, _checked
        for name in ("neurons", "count", "accumulate", "unpack", "sum", "rate_backward", "max_count"):
            getattr(loaded, f"spikedet_{name}").restype = None
        return loaded
    raise NativeUnavailable(f"no folder to keep the compiled kernels in ({'; '.join(tried)})")


def _checked(result: int, function: Any, arguments: Any) -> int:
    if result < 0:
        raise MemoryError(f"not enough memory for {function.__name__}")
    return result


def available() -> bool:
    """Whether the compiled kernels can be used here."""
    return not isinstance(outcome(), NativeUnavailable)


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's memory begins, for a call into the library; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
