"""Compiles ``kernels.cpp`` (and the headers beside it) for this machine at first use and loads it.

The object is kept in the user's cache folder under a name made of the source, the compiler and the processor, so that a
home folder shared by machines never serves one the code of another. ``SPIKEDET_NATIVE=0`` turns the backend off,
``SPIKEDET_CACHE`` moves the folder, ``CXX`` names the compiler.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADERS = sorted(SOURCE.parent.glob("*.h"))
COMPILERS = ("c++", "g++", "clang++")
# A product is rounded before something is added to it, as torch does it: fused, 1/2 would round to the other side.
# Without traps to care for, floor is taken a vector at a time.
COMMON = ("-O3", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-trapping-math")
FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-march=native",), ())
"""Tried in this order: not every compiler knows the processor, or OpenMP (then one thread does the work)."""
TIMEOUT_S = 120
STORED = ("float32", "bfloat16")
"""Types of the values of activations."""


class NativeUnavailable(Exception):
    """Why the compiled backend cannot be used here; never an error for the user, who gets another backend."""


def library() -> ctypes.CDLL:
    """The compiled kernels.

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
    compiler = find_compiler()
    for folder in cache_folders():
        try:
            loaded = ctypes.CDLL(str(build(compiler, folder)))
        except OSError:  # a folder that cannot be written, or one that nothing may be executed from
            continue
        for name in ("has_dense", "convolve_float", "convolve_int8"):
            getattr(loaded, f"spikedet_{name}").restype = ctypes.c_int64
        activations = [f"{n}{way}_{t}" for n in ("quantize_clip", "clip") for way in ("", "_backward") for t in STORED]
        others = ("neurons", "count", "accumulate", "unpack", "sum", "rate", "rate_backward", "max_count")
        for name in (*others, *activations):
            getattr(loaded, f"spikedet_{name}").restype = None
        return loaded
    raise NativeUnavailable(f"no folder to keep the compiled kernels in (tried {', '.join(map(str, cache_folders()))})")


def available() -> bool:
    """Whether the compiled kernels can be used here."""
    return not isinstance(outcome(), NativeUnavailable)


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's memory begins, for a call into the library; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def find_compiler() -> str:
    """Path of the C++ compiler. Raises NativeUnavailable."""
    for name in (os.environ.get("CXX", ""), *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    raise NativeUnavailable(f"no C++ compiler found ({', '.join(COMPILERS)}, or the CXX variable)")


def cache_folders() -> list[Path]:
    """Where the object may be kept, best first."""
    if chosen := os.environ.get("SPIKEDET_CACHE"):
        return [Path(chosen)]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [home / "spikedet", Path(tempfile.gettempdir()) / f"spikedet-{os.getuid() if hasattr(os, 'getuid') else 0}"]


def build(compiler: str, folder: Path) -> Path:
    """The compiled object, made unless it is there. Raises OSError or NativeUnavailable."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022):
        raise PermissionError(f"{folder} can be written by others; what lies there may not be ours")
    target = folder / f"kernels-{fingerprint(compiler)}.so"
    if target.exists():
        return target
    output = ""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "kernels.so"
        for flags in FLAGS:
            command = [compiler, *COMMON, *flags, str(SOURCE), "-o", str(made)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NativeUnavailable(f"{compiler} could not be run: {error}") from error
            if done.returncode == 0:
                os.replace(made, target)
                return target
            output = done.stderr.strip()
    raise NativeUnavailable(f"{compiler} could not compile the kernels: {output[-300:]}")


def fingerprint(compiler: str) -> str:
    """Of everything the object depends on."""
    stat = os.stat(compiler)
    built_by = f"{compiler} {stat.st_size} {stat.st_mtime_ns} {COMMON} {FLAGS}"
    sources = [path.read_bytes() for path in (SOURCE, *HEADERS)]
    parts = [*sources, built_by.encode(), processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def processor() -> str:
    """The processor's model and instruction sets, as far as the system says them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line.split(":")[0].strip(): line for line in lines if ":" in line}
    return " ".join([platform.machine(), *(told.get(key, "") for key in ("model name", "flags", "Features"))])
