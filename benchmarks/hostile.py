#!/usr/bin/env python3
"""Reads checkpoints that mean harm: impossible safetensors, ``.pt`` files with more than tensors, and exports.

    python benchmarks/hostile.py [--cases 1000] [--seed 0]

Every case must end in success or in one of our own errors, within 10 s and ``MOST_BYTES`` of memory above the process
before the first case, on a machine that has ``FREE_BYTES`` left, without running, importing or connecting to anything.
Prints a table of outcomes by kind, and fails where one is anything else.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
from fuzz import Findings, Watch, few_words, watched
from fuzz_targets import Target
from hostile_archives import ARCHIVES, write_archive
from hostile_checkpoints import CHECKPOINTS, seeds
from hostile_exports import EXPORTS, IRS, export_seeds

from spikedet.data.transforms import to_input
from spikedet.inference.network import load_network
from spikedet.models import import_ultralytics

FREE_BYTES = 2**30
MOST_BYTES = 2**30


def hostile(cases: int, seed: int, home: Path) -> tuple[Findings, int]:
    """Run that many cases, every kind in turn; returns what came out, and the most memory that was taken, bytes."""
    chance, watch, findings = random.Random(seed), Watch(), Findings()
    originals, case, out = seeds(home / "whole"), home / "case", home / "out"
    exports = export_seeds(home / "exports", originals)
    kinds = [*CHECKPOINTS, *ARCHIVES, *EXPORTS]
    for path in (*originals.values(), *exports.values()):
        detected(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with few_words(), patch("spikedet.models.extent.free_bytes", lambda _: FREE_BYTES):
        for number in range(cases):
            shutil.rmtree(case, ignore_errors=True)
            case.mkdir()
            out.mkdir()
            kind = kinds[number % len(kinds)]
            if kind in CHECKPOINTS:
                CHECKPOINTS[kind](case / "x.safetensors", originals, chance)
                target = Target(kind, "x.safetensors", lambda home, out: detected(home / "x.safetensors"))
            elif kind in EXPORTS:
                name = "x.xml" if kind in IRS else "x.onnx"
                EXPORTS[kind](case / name, exports, chance)
                target = Target(kind, name, lambda home, out, name=name: detected(home / name))  # type: ignore[misc]
            else:
                write_archive(case / "x.pt", ARCHIVES[kind], chance)
                target = Target(
                    kind, "x.pt", lambda home, out: import_ultralytics(home / "x.pt", out / "a.safetensors")
                )
            outcome, wrong, seconds = watched(target, case, out, watch)
            findings.slowest_s = max(findings.slowest_s, seconds)
            findings.outcomes.setdefault(kind, Counter())[outcome.split(":")[0]] += 1
            findings.faults += [f"case {number}, {kind}: {fault}" for fault in wrong]
            shutil.rmtree(out)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if taken > MOST_BYTES:
        findings.faults.append(f"{taken / 2**20:.0f} MiB were taken; expected at most {MOST_BYTES / 2**20:.0f}")
    return findings, taken


def detected(path: Path) -> None:
    """Read a checkpoint and use it on an image. Raises FloatingPointError where its output is not finite."""
    network = load_network(path)
    image = np.full((48, 64, 3), 99, np.uint8)
    for prediction in network(to_input([image], network.meta.image_size)).values():
        if not prediction.decoded.isfinite().all():
            raise FloatingPointError("its output is not finite")


def main() -> None:
    """Parse the flags and read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        findings, taken = hostile(arguments.cases, arguments.seed, Path(name))
    for kind, counts in findings.outcomes.items():
        print(f"{kind:45} {dict(counts)}")
    print(f"\n{arguments.cases} cases, {len(findings.outcomes)} kinds; slowest {findings.slowest_s:.1f} s; ", end="")
    print(f"at most {taken / 2**20:.0f} MiB; {len(findings.faults)} faults")
    if findings.faults:
        raise SystemExit("\n".join(findings.faults))


if __name__ == "__main__":
    main()
