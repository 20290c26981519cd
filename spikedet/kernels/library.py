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

from spikedet.common.errors import SpikedetError
from spikedet.kernels.build import NativeUnavailable as NativeUnavailable
from spikedet.kernels.build import build, cache_folders, find_compiler

STORED = ("float32", "bfloat16")
"""Types of the values of activations."""
ACTIVATIONS = ("quantize_clip", "clip", "leaky_step")


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
        except (OSError, SpikedetError) as error:  # it cannot be written, or nothing may be executed from there
            tried.append(f"{folder}: {getattr(error.__cause__ or error, 'strerror', None) or error}")
            continue
        activations = [f"{n}{way}_{t}" for n in ACTIVATIONS for way in ("", "_backward") for t in STORED]
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


def fields(names: str) -> list[tuple[str, Any]]:
    """``_fields_`` of a structure: whole numbers of 64 bits, ``*name`` for a pointer, ``~name`` for a float32."""
    kinds = {"*": ctypes.c_void_p, "~": ctypes.c_float}
    return [(name.lstrip("*~"), kinds.get(name[0], ctypes.c_int64)) for name in names.split()]


def call(name: str, *arguments: ctypes.Structure | Tensor | int | None) -> int:
    """Call the kernel ``spikedet_NAME`` with structures and tensors by reference, and whole numbers of 64 bits.

    Raises:
        MemoryError: not enough memory for what it has to remember.
    """
    return getattr(library(), f"spikedet_{name}")(*map(_passed, arguments))


def _passed(argument: ctypes.Structure | Tensor | int | None) -> Any:
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else pointer(argument)


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's memory begins, for a call into the library; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
