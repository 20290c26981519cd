"""What a detector takes is known before it takes it."""

from __future__ import annotations

import copy
from pathlib import Path

import psutil
import pytest
import torch
from tiny_detector import ARCHITECTURE, write_ann

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.memory import free_bytes
from spikedet.models import build_detector, load_ann
from spikedet.models.builder import build_skeleton
from spikedet.models.extent import Extent, require_whole_cells

NAMES = ("a", "b", "c", "d")
SMALL = {
    "nc": 4,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
    "head": [[[-1], 1, "DirectDetect", ["nc"]]],
}
WIDE = {**SMALL, "width_multiple": 16, "backbone": [[-1, 1, "Conv", [4096, 3, 2]], [-1, 1, "Conv", [4096, 3, 2]]]}


def test_sizes_by_hand() -> None:
    """A stem of 8 channels, then 16 and 4 outputs at 128 x 128."""
    _, extent = build_skeleton(SMALL, NAMES)
    assert extent.values == (8 + 16) * 128**2
    assert extent.operations == (27 * 8 + 8 * (16 + 4)) * 128**2
    assert extent.at(512).operations == 4 * extent.operations
    assert extent.parameters == sum(v.numel() for v in build_detector(SMALL, NAMES).state_dict().values())


def test_a_skeleton_is_the_model_without_values_and_draws_nothing() -> None:
    model, before = build_detector(ARCHITECTURE, NAMES), torch.get_rng_state()
    skeleton, _ = build_skeleton(ARCHITECTURE, NAMES)
    assert torch.equal(torch.get_rng_state(), before)
    own, built = skeleton.state_dict(), model.state_dict()
    assert {n: (v.shape, v.dtype) for n, v in own.items()} == {n: (v.shape, v.dtype) for n, v in built.items()}
    assert all(value.is_meta for name, value in own.items() if "num_batches" not in name)
    assert torch.equal(skeleton.stride, model.stride)


def test_a_width_of_16_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take 154 GiB."""
    monkeypatch.setattr("spikedet.models.extent.free_bytes", lambda _: 8 * 2**30)
    before = psutil.Process().memory_info().rss
    with pytest.raises(ConfigError, match=r"the model: takes about 1\d\d\.\d GiB of memory at 256 px, 8"):
        build_detector(WIDE, NAMES)
    assert psutil.Process().memory_info().rss - before < 2**28


def test_a_checkpoint_of_another_width_is_refused_before_it_is_built(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(write_ann(tmp_path / "ann.safetensors"))
    meta.architecture["width_multiple"] = 16
    path = save_checkpoint(tmp_path / "wide.safetensors", tensors, meta)
    with pytest.raises(CheckpointError, match=r"model\.0\.conv\.weight has the shape \[8, 3, .*expected \[128, 3"):
        load_ann(path)


def test_an_image_that_takes_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, meta = load_checkpoint(write_ann(tmp_path / "ann.safetensors"))
    made = copy.deepcopy(vars(meta)) | {"image_size": 8192}
    path = save_checkpoint(tmp_path / "large.safetensors", tensors, type(meta)(**made))
    monkeypatch.setattr("spikedet.models.extent.free_bytes", lambda _: 2**30)
    with pytest.raises(CheckpointError, match=r"large\.safetensors: takes about \d\.\d GiB of memory at 8192 px"):
        load_ann(path)


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"x: takes 3\.0e\+12 multiply-accumulates an image at 640 px"):
        Extent(640, operations=3 * 10**12).require(CheckpointError, "x")


@pytest.mark.parametrize(("image_size", "fits"), [(64, True), (96, True), (32, True), (80, False), (1, False)])
def test_an_image_is_whole_cells(image_size: int, fits: bool) -> None:
    if fits:
        require_whole_cells(Path("x"), image_size, torch.tensor([16.0, 32.0]))
        return
    with pytest.raises(CheckpointError, match=rf"its image size of {image_size} px is no multiple of its stride of 32"):
        require_whole_cells(Path("x"), image_size, torch.tensor([16.0, 32.0]))


def test_memory_is_free() -> None:
    assert 2**20 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_a_loaded_network_is_the_one_that_was_built(tmp_path: Path) -> None:
    """Also in what is no tensor of its state."""
    path = write_ann(tmp_path / "ann.safetensors")
    model, _ = load_ann(path)
    built = build_detector(ARCHITECTURE, NAMES).eval()
    built.load_state_dict(load_checkpoint(path)[0])
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(images)[0], built(images)[0])
    assert not any(
        value.is_meta for value in [*model.parameters(), *model.buffers(), model.stride, model.model[-1].stride]
    )
