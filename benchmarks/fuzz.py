#!/usr/bin/env python3
"""Mutates annotations, images, label files, models and checkpoints, and reads them.

    python benchmarks/fuzz.py [--cases 10000] [--seed 0] [--publish]

Every case must end in success or in one of our own errors, within 10 s, without running anything, connecting anywhere,
unpickling or writing outside the output folder. Prints a table of outcomes by kind of file, and fails where one is
anything else; ``--publish`` writes docs/results/fuzz.json, from which the table in docs/pipeline.md is made.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_targets import Target, seeds, targets
from mutations import mutated
from readme_tables import ROOT
from tables import fuzz_table

from spikedet.common.environment import versions
from spikedet.common.errors import SpikedetError
from spikedet.common.files import write_json

LIMIT_S = 10.0
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)
WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate")


class Watch:
    """An audit hook that notes what no reader of files may do; it cannot be taken off, only told to look away."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def looking(self, allowed: Path) -> Iterator[list[str]]:
        """Note everything forbidden; files may be written under ``allowed``."""
        self.allowed, self.seen = allowed.resolve(), []
        try:
            yield self.seen
        finally:
            self.allowed = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in FORBIDDEN:
            self.seen.append(event)
        elif event in WRITES or (event == "open" and _writes(arguments)):
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)) and not self._may(os.fsdecode(path)):
                self.seen.append(f"{event} {os.fsdecode(path)}")

    def _may(self, path: str) -> bool:
        assert self.allowed is not None
        return os.path.abspath(path).startswith((str(self.allowed), os.devnull, "/proc/", "/sys/"))


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@dataclass
class Findings:
    """Outcomes by target, and what must not be."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def fuzz(cases: int, seed: int, home: Path) -> Findings:
    """Run that many cases in this process; ``home`` is an empty folder."""
    chance, watch, findings = random.Random(seed), Watch(), Findings()
    seeds(home / "whole")
    every, case, out = targets(home / "whole"), home / "case", home / "out"
    with few_words():
        for number in range(cases):
            if not case.exists():
                shutil.copytree(home / "whole", case)
            out.mkdir()
            target = every[number % len(every)]
            file = case / target.file
            whole = file.read_bytes()
            file.write_bytes(mutated(whole, file.suffix, chance))
            outcome, wrong, seconds = watched(target, case, out, watch)
            findings.slowest_s = max(findings.slowest_s, seconds)
            findings.outcomes.setdefault(target.name, Counter())[outcome.split(":")[0]] += 1
            findings.faults += [f"case {number}, {target.name}: {fault}" for fault in wrong]
            if wrong:
                shutil.rmtree(case)
            else:
                file.write_bytes(whole)
            shutil.rmtree(out)
    return findings


def watched(target: Target, case: Path, out: Path, watch: Watch) -> tuple[str, list[str], float]:
    """One case: its outcome, what must not have been, and its seconds."""
    before, started = fingerprint(case), time.monotonic()
    tempfile.tempdir = str(out)  # what calibration keeps for a while is kept there
    try:
        with watch.looking(out) as seen, little_memory():
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            outcome = attempt(target, case, out)
            signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm later than this would end the whole run
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        tempfile.tempdir = None
    seconds = time.monotonic() - started
    wrong = [*seen, *(["the input was changed"] if fingerprint(case) != before else [])]
    wrong += [outcome] if ":" in outcome else []
    wrong += [f"{seconds:.1f} s"] if seconds > LIMIT_S else []
    return outcome, wrong, seconds


@contextmanager
def few_words() -> Iterator[None]:
    """No warnings in the log; an alarm raises."""
    logger = logging.getLogger("spikedet")
    level, handler = logger.level, signal.signal(signal.SIGALRM, _too_long)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        signal.signal(signal.SIGALRM, handler)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LIMIT_S:.0f} s")


@contextmanager
def little_memory(more_bytes: int = 4 * 2**30) -> Iterator[None]:
    """A file that asks for more than this gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(target: Target, case: Path, out: Path) -> str:
    """``success``, the name of one of our errors, or ``NAME: message`` of a foreign one."""
    try:
        target.read(case, out)
    except SpikedetError as error:
        return type(error).__name__
    except Exception as error:  # that is what we are looking for; too long and too large are among them
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "success"


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything under a folder."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def rows(findings: Findings) -> list[dict[str, Any]]:
    """Outcomes by kind of file, as they are published."""
    return [{"file": name, "outcomes": dict(counts)} for name, counts in findings.outcomes.items()]


def main() -> None:
    """Parse the flags and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/fuzz.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        findings = fuzz(arguments.cases, arguments.seed, Path(name))
    print(fuzz_table(rows(findings)))
    print(f"\nslowest case {findings.slowest_s:.1f} s; {len(findings.faults)} faults")
    if findings.faults:
        raise SystemExit("\n".join(findings.faults))
    if arguments.publish:
        meta = {"versions": versions(), "cases": arguments.cases, "seed": arguments.seed}
        meta["slowest_s"] = round(findings.slowest_s, 1)
        print("published", write_json(ROOT / "docs/results/fuzz.json", {"meta": meta, "rows": rows(findings)}))


if __name__ == "__main__":
    main()
