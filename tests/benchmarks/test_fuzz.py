"""The short form of benchmarks/fuzz.py: hundreds of broken files, each a success or one of our own errors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import Watch, fuzz, rows
from mutations import bytes_mutated, mutated

pytestmark = pytest.mark.slow

CASES = 400


def test_hundreds_of_mutated_files(tmp_path: Path) -> None:
    findings = fuzz(CASES, 0, tmp_path)
    assert findings.faults == []
    assert sum(sum(counts.values()) for counts in findings.outcomes.values()) == CASES
    errors = {kind for counts in findings.outcomes.values() for kind in counts} - {"success"}
    assert errors == {"CheckpointError", "ConfigError", "DataError"}
    both = [name for name, counts in findings.outcomes.items() if counts["success"] and len(counts) > 1]
    assert len(both) > 10, rows(findings)


def test_mutations_differ_and_are_repeatable() -> None:
    content = b'{"a": [1, 2, {"b": "c"}], "d": 4.5}'
    made = [mutated(content, ".json", random.Random(seed)) for seed in range(50)]
    assert made == [mutated(content, ".json", random.Random(seed)) for seed in range(50)]
    assert len(set(made)) > 25
    assert bytes_mutated(b"", random.Random(0)) is not None
    aliased = [mutated(b"a: [1, {b: c}]", ".yaml", random.Random(seed)) for seed in range(50)]
    assert any(b"&id001" in one for one in aliased)


@pytest.mark.skipif(sys.platform == "win32", reason="paths of Unix")
def test_the_watch_sees_what_nobody_may_do(tmp_path: Path) -> None:
    watch = Watch()
    with watch.looking(tmp_path / "out") as seen:
        (tmp_path / "elsewhere").write_text("x")
        subprocess.run([sys.executable, "-c", ""], check=True)
        os.system("true")
        (tmp_path / "elsewhere").unlink()
    assert any(fault.startswith("open") for fault in seen)
    assert {"subprocess.Popen", "os.system"} <= set(seen)
    assert any(fault.startswith("os.remove") for fault in seen)
    (tmp_path / "elsewhere").write_text("x")
    assert len([fault for fault in seen if fault.startswith("open")]) == 1
