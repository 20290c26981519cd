"""Weights of other projects: names, rows and input by the declared table, or one error that says what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nanodet_g import DEVIATION, MEAN, nanodet_g, nearest
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from spikedet.common.errors import CheckpointError
from spikedet.models import build_detector, load_model_yaml, read_start, start_from_
from spikedet.models.builder import UNCLIPPED
from spikedet.models.foreign import MODEL, coco_class_names, known_layers, read_foreign

SHAPES = {"stem": (32, 3, 3)}
for stage, (width, blocks) in enumerate(((32, 1), (64, 2), (128, 2), (256, 3)), start=1):
    SHAPES |= {f"stage{stage}.in": (width, width, 3), f"stage{stage}.out": (width, width, 3)}
    for block in range(blocks):
        SHAPES |= {f"stage{stage}.res{block}.a": (width // 2, width, 3)}
        SHAPES |= {f"stage{stage}.res{block}.b": (width // 2, width // 2, 3)}
for level, width in ((3, 128), (4, 256), (5, 512)):
    SHAPES |= {f"lateral{level}": (128, width, 1), f"head{level}.conv": (128, 128, 3)}
    SHAPES |= {f"head{level}.out": (124, 128, 1)}


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Random weights under NanoDet-g's names, small enough for activations to stay finite."""
    torch.manual_seed(0)
    made = {}
    for name, (rows, width, kernel) in SHAPES.items():
        made[f"{name}.weight"] = torch.randn(rows, width, kernel, kernel) / (width * kernel**2) ** 0.5
        made[f"{name}.bias"] = torch.randn(rows) / 10
    return made


@torch.no_grad()
def test_the_network_is_the_original(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """The same maps, but for the influence of the border."""
    save_file(weights, path := tmp_path / "w.safetensors")
    start = read_foreign(path)
    assert (start.image_size, len(start.class_names)) == (416, 80)
    assert all("Apache-2.0" in notice and "MIT" in notice for notice in start.credits)
    model = build_detector(start.architecture, start.class_names, theta=UNCLIPPED).eval()
    taken = start_from_(model, start, path)
    assert not taken.clipped and len(taken.classes) == 80
    bgr = torch.randn(2, 3, 64, 96)
    rgb = ((bgr * DEVIATION + MEAN) / 255).flip(1)
    _, maps = model(rgb)
    theirs = nanodet_g(weights, bgr, nearest)
    classes = torch.cat([m[:, :80].flatten(2) for m in theirs], 2)
    boxes = torch.cat([m[:, 80:].flatten(2) for m in theirs], 2)
    # Padding at the border of the image is black in ours, the mean colour in theirs, which every cell sees a little.
    for made, expected in ((maps["scores"], classes), (maps["boxes"], boxes)):
        assert made.shape == expected.shape
        assert (made - expected).abs().mean() < 0.1 * expected.std()


@torch.no_grad()
def test_the_stem_reads_our_input(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """Away from the border the first convolution is theirs, on RGB in [0, 1]."""
    save_file(weights, path := tmp_path / "w.safetensors")
    tensors, bgr = read_foreign(path).tensors, torch.randn(1, 3, 16, 16)
    rgb = ((bgr * DEVIATION + MEAN) / 255).flip(1)
    ours = F.conv2d(rgb, tensors["model.0.conv.weight"]) + tensors["model.0.bn.bias"].view(1, -1, 1, 1)
    theirs = F.conv2d(bgr, weights["stem.weight"], weights["stem.bias"])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_rows_of_known_classes_are_taken(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, path := tmp_path / "w.safetensors")
    start = read_start(path)
    model = build_detector(start.architecture, ("tvmonitor", "ring"))
    assert start_from_(model, start, path).classes == ("tvmonitor",)
    row = weights["head4.out.weight"][coco_class_names().index("tv")]
    assert torch.equal(model.state_dict()["model.52.cv3.1.0.weight"][0], row)
    assert torch.equal(model.state_dict()["model.52.cv2.1.0.weight"], weights["head4.out.weight"][80:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem.bias": None}, r"w\.safetensors: neither a spikedet checkpoint .*\(NanoDet-g\): it has no stem\.bias"),
        ({"neck.weight": torch.zeros(1)}, r"it has an unknown neck\.weight"),
        (
            {"head3.out.weight": torch.zeros(60, 128, 1, 1)},
            r"head3\.out\.weight has the shape \[60, .*; expected 80 classes",
        ),
        ({"stage2.in.weight": torch.zeros(64, 60, 3, 3)}, r"stage2\.in\.weight .* model\.8\.conv\.weight"),
        ({"stage2.in.bias": torch.zeros(60)}, r"stage2\.in\.bias .* model\.8\.bn\.bias"),
        ({"stem.weight": torch.full((32, 3, 3, 3), torch.nan)}, r"stem\.weight holds NaN or infinite values"),
        ({"stem.weight": torch.ones(32, 3, 3, 3, dtype=torch.int64)}, r"stem\.weight is int64; expected floating"),
    ],
)
def test_what_does_not_fit_is_named(
    weights: dict[str, Tensor], tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    tensors = {name: value for name, value in {**weights, **change}.items() if value is not None}
    save_file(tensors, path := tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_foreign(path)


def test_every_declared_layer_is_one_of_the_model() -> None:
    layers = known_layers(load_model_yaml(MODEL))
    assert len(set(layers.values())) == len(layers)
