"""Where bfloat16 is computed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from spikedet.common.precision import autocast, multiplies_bfloat16
from spikedet.config import Precision

CPU = torch.device("cpu")
WITH = {"architecture": "x86_64", "avx2": True, "avx512_bf16": True, "amx_bf16": False}
WITHOUT = {"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False}


def told(monkeypatch: pytest.MonkeyPatch, capabilities: Mapping[str, Any]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (WITH, True),
        (WITHOUT, False),
        ({"amx_bf16": True}, True),
        ({"architecture": "arm64", "bf16": True}, True),
        ({"architecture": "arm64", "neon": True}, False),
        ({}, False),
    ],
)
def test_a_cpu_multiplies_it_where_its_instructions_do(
    monkeypatch: pytest.MonkeyPatch, capabilities: Mapping[str, Any], expected: bool
) -> None:
    told(monkeypatch, capabilities)
    assert multiplies_bfloat16(CPU) is expected


def test_a_torch_that_cannot_tell_counts_as_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert multiplies_bfloat16(CPU) is False


@pytest.mark.parametrize("hardware", [True, False])
def test_a_gpu_that_emulates_it_does_not_count(monkeypatch: pytest.MonkeyPatch, hardware: bool) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or hardware
    )
    assert multiplies_bfloat16(torch.device("cuda:0")) is hardware


@pytest.mark.parametrize(
    ("precision", "capabilities", "expected"),
    [
        ("auto", WITH, torch.bfloat16),
        ("auto", WITHOUT, torch.float32),
        ("bf16", WITHOUT, torch.bfloat16),
        ("fp32", WITH, torch.float32),
    ],
)
def test_convolutions_run_in_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, capabilities: Mapping[str, Any], expected: torch.dtype
) -> None:
    told(monkeypatch, capabilities)
    with autocast(CPU, precision):
        assert F.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).dtype == expected
