"""Tensors of files: values, names, shapes and types, each refused by its name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spikedet.checkpoint.tensors import MOST_HEADER, UNREADABLE, open_tensors, problem, read_tensors, require_fit
from spikedet.common.errors import CheckpointError


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("a.weight", [0.0, -3.5], None),
        ("a.weight", [], None),
        ("a.weight", [1.0, float("nan")], "a.weight holds NaN or infinite values"),
        ("a.weight", [float("-inf")], "a.weight holds NaN or infinite values"),
        ("a.weight", [1e38], "a.weight holds 1e+38; expected values from -1e+08 to 1e+08"),
        ("a.bias", [-1e9, 0.0], "a.bias holds -1e+09; expected values from"),
        ("a.theta", [1.0, 1e-8], None),
        ("a.theta", [0.0], "a.theta holds 0; expected values from 1e-12 to 1e+08"),
        ("a.theta", [-1.0, 1.0], "a.theta holds -1; expected"),
        ("act.log_theta", [-18.0, 9.2], None),
        ("act.log_theta", [800.0], "act.log_theta holds 800; expected values from -27.6 to 18.4"),
        ("act.log_theta", [-800.0], "act.log_theta holds -800"),
        ("bn.running_var", [0.0, 5.0], None),
        ("bn.running_var", [-0.5], "bn.running_var holds -0.5; expected values from 0 to"),
        ("bn.running_mean", [-0.5], None),
    ],
)
def test_values(name: str, value: list[float], wrong: str | None) -> None:
    found = problem(name, torch.tensor(value))
    assert found is None if wrong is None else found is not None and found.startswith(wrong)


def test_whole_numbers_have_no_range() -> None:
    assert problem("bn.num_batches_tracked", torch.tensor(2**60)) is None


EXPECTED = {"w": torch.zeros(2, 3), "n": torch.tensor(0)}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"w": None}, "there is no w"),
        ({"x": torch.zeros(1)}, "x is unknown"),
        ({"w": torch.zeros(3, 2)}, r"w has the shape \[3, 2\]; expected \[2, 3\]"),
        ({"w": torch.zeros(())}, r"w has the shape \[\]; expected \[2, 3\]"),
        ({"w": torch.zeros(2, 3, dtype=torch.int64)}, "w is int64; expected float32"),
        ({"w": torch.zeros(2, 3, dtype=torch.bool)}, "w is bool; expected float32"),
        ({"w": torch.zeros(2, 3, dtype=torch.complex64)}, "w is complex64; expected float32"),
        ({"n": torch.tensor(0.0)}, "n is float32; expected int64"),
    ],
)
def test_tensors_fit_a_network(changes: dict[str, Tensor | None], wrong: str | None) -> None:
    tensors = {name: value for name, value in {**EXPECTED, **changes}.items() if value is not None}
    meta = {name: value.to("meta") for name, value in EXPECTED.items()}
    if wrong is None:
        require_fit(Path("a.safetensors"), tensors, meta)
        return
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: its tensors do not fit its architecture: {wrong}"):
        require_fit(Path("a.safetensors"), tensors, meta)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_every_floating_point_type_is_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"w": torch.ones(2).to(dtype), "n": torch.tensor(3)}, tmp_path / "a.safetensors")
    found = read_tensors(tmp_path / "a.safetensors")
    assert (found["w"].dtype, found["w"].tolist(), found["n"].item()) == (torch.float32, [1, 1], 3)


@pytest.mark.parametrize("size", [2**63, 2**40, MOST_HEADER + 1])
def test_a_header_without_end_is_not_read(size: int, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", size) + b"{}" * 100)
    with (
        pytest.raises(UNREADABLE, match=f"its header has {size} bytes; expected at most"),
        open_tensors(tmp_path / "a.safetensors"),
    ):
        pass


def test_tensors_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikedet.checkpoint.tensors.MOST_TENSORS", 2)
    many: dict[str, Any] = {f"x{number}": torch.zeros(1) for number in range(3)}
    save_file(many, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="it has 3 tensors; expected at most 2"):
        read_tensors(tmp_path / "a.safetensors")
