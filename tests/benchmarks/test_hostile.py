"""The short form of benchmarks/hostile.py: every kind of hostile checkpoint, each a success or one of our errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import MOST_BYTES, hostile
from hostile_archives import ARCHIVES
from hostile_checkpoints import CHECKPOINTS
from hostile_exports import EXPORTS

pytestmark = pytest.mark.slow

CASES = 88


def test_hostile_checkpoints(tmp_path: Path) -> None:
    findings, taken = hostile(CASES, 1, tmp_path)
    assert findings.faults == []
    assert taken < MOST_BYTES
    assert findings.outcomes.keys() == CHECKPOINTS.keys() | ARCHIVES.keys() | EXPORTS.keys()
    assert {kind for counts in findings.outcomes.values() for kind in counts} >= {"success", "CheckpointError"}
