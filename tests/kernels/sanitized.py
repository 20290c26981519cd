#!/usr/bin/env python3
"""Run Python with the kernels under AddressSanitizer and UndefinedBehaviorSanitizer; the first error ends it.

    python tests/kernels/sanitized.py -m pytest tests/snn
    python tests/kernels/sanitized.py tests/kernels/kernel_fuzz.py --seconds 600

The sanitizers must be in the process before anything else, and not in the compiler's: so the kernels are compiled
first, then Python starts again.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from spikedet.kernels import build

LIBRARIES = ("libasan.so", "libubsan.so")
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g")


def preloaded() -> str | None:
    """What has to be in a process before anything else; None where GCC or its sanitizers are missing."""
    if shutil.which("g++") is None:
        return None
    ask = [["g++", f"-print-file-name={name}"] for name in LIBRARIES]
    found = [subprocess.run(question, capture_output=True, text=True).stdout.strip() for question in ask]
    return " ".join(found) if all(map(os.path.isabs, found)) else None  # a name alone: not there


def main() -> None:
    """Compile and start again, or go on with what was asked for."""
    libraries = preloaded()
    if libraries is None:
        sys.exit("sanitized.py: needs g++ with libasan and libubsan")
    os.environ["CXX"] = "g++"
    build.COMMON = tuple("-O1" if flag == "-O3" else flag for flag in build.COMMON) + FLAGS
    build.TIMEOUT_S = 600
    if os.environ.get("LD_PRELOAD") != libraries:
        build.build(build.find_compiler(), build.cache_folders()[0])
        # Python gives much back at its end or never, so leaks say nothing.
        how = {"LD_PRELOAD": libraries, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **how})
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
