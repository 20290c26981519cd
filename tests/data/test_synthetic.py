"""The synthetic dataset: deterministic, tight boxes, never half made."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from voc_writer import fingerprint, load_voc

from spikedet.common.errors import ConfigError, DataError
from spikedet.data.synthetic import dataset as synthetic
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES, Scene, render_scene


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(np.random.default_rng(seed), (80, 112)) for seed in range(80)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "syn", SyntheticConfig(12, 3, 2, (64, 80), seed=7))


def test_scene_is_a_image_with_visible_objects(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image_bgr.shape == (80, 112, 3)
        assert scene.image_bgr.dtype == np.uint8
        assert len(scene.objects) <= 5
        assert {item.name for item in scene.objects} <= set(SYNTHETIC_CLASS_NAMES)


def test_boxes_are_tight_around_what_is_visible(scenes: list[Scene]) -> None:
    for scene in scenes:
        for item in scene.objects:
            x0, y0, x1, y1 = item.box_xyxy
            ys, xs = np.nonzero(item.visible)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x0, y0, x1, y1)
            assert min(x1 - x0, y1 - y0) >= 4


def test_visible_masks_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        shown = sum((item.visible.astype(int) for item in scene.objects), np.zeros((80, 112), int))
        assert shown.max() <= 1


def test_scenes_vary_as_promised(scenes: list[Scene]) -> None:
    objects = [item for scene in scenes for item in scene.objects]
    sides = np.array([max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (item.box_xyxy for item in objects)]) / 80
    assert 1 <= sum(not scene.objects for scene in scenes) <= 20
    assert {len(scene.objects) for scene in scenes} == {0, 1, 2, 3, 4, 5}
    assert {item.name for item in objects} == set(SYNTHETIC_CLASS_NAMES)
    assert 0 < np.mean([item.difficult for item in objects]) < 0.25
    for low, high in ((0.0, 0.18), (0.18, 0.38), (0.38, 1.0)):
        assert np.mean((sides >= low) & (sides < high)) > 0.15


def test_circles_are_round(scenes: list[Scene]) -> None:
    lone = [scene.objects[0] for scene in scenes if len(scene.objects) == 1]
    boxes = [(item, item.box_xyxy) for item in lone if item.name == "circle"]
    assert len(boxes) > 3
    for item, (x0, y0, x1, y1) in boxes:
        assert x1 - x0 == y1 - y0
        radius = (x1 - x0 - 1) / 2  # from pixel centre to pixel centre
        if radius >= 8:
            assert item.visible.sum() == pytest.approx(np.pi * radius**2, rel=0.05)


def test_written_folder_loads_with_the_boxes_drawn(written: Path) -> None:
    dataset = load_voc(written, "train", SYNTHETIC_CLASS_NAMES, strict=True)
    assert [len(load_voc(written, split, SYNTHETIC_CLASS_NAMES)) for split in ("train", "val", "test")] == [12, 3, 2]
    for index, sample in enumerate(dataset.samples):
        scene = render_scene(np.random.default_rng([7, 0, index]), (64, 80))
        assert sample.image_hw == (64, 80)
        assert sample.boxes_xyxy.tolist() == [list(item.box_xyxy) for item in scene.objects]
        assert [SYNTHETIC_CLASS_NAMES[label] for label in sample.labels] == [item.name for item in scene.objects]
        assert sample.difficult.tolist() == [item.difficult for item in scene.objects]
        difference = dataset.read_image(index)[..., ::-1].astype(int) - scene.image_bgr
        assert np.abs(difference).mean() < 12  # JPEG with chroma subsampling


def test_same_seed_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_synthetic(tmp_path / "again", SyntheticConfig(12, 3, 2, (64, 80), seed=7))
    assert contents(again) == contents(written)


def test_other_seed_other_images_and_smaller_is_a_beginning(written: Path, tmp_path: Path) -> None:
    other = contents(write_synthetic(tmp_path / "other", SyntheticConfig(2, 1, 1, (64, 80), seed=8)))
    smaller = contents(write_synthetic(tmp_path / "smaller", SyntheticConfig(2, 1, 1, (64, 80), seed=7)))
    full = contents(written)
    images = [name for name in smaller if name.startswith("JPEGImages")]
    assert len(images) == 4
    for name in images:
        assert smaller[name] == full[name]
        assert other[name] != full[name]


def test_splits_share_no_image(written: Path) -> None:
    images = [data for name, data in contents(written).items() if name.startswith("JPEGImages")]
    assert len(set(images)) == 17


def test_complete_folder_is_reused_untouched(written: Path) -> None:
    before = fingerprint(written.parent)
    assert write_synthetic(written, SyntheticConfig(12, 3, 2, (64, 80), seed=7)) == written
    assert fingerprint(written.parent) == before


def test_folder_with_other_parameters_is_left_alone(written: Path) -> None:
    before = fingerprint(written)
    with pytest.raises(DataError, match="syn: holds something other than this synthetic dataset"):
        write_synthetic(written, SyntheticConfig(12, 3, 2, (64, 80), seed=9))
    assert fingerprint(written) == before


@pytest.mark.parametrize("marker", [None, "{", "[]"])
def test_foreign_folder_is_left_alone(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    if marker is not None:
        (tmp_path / "synthetic.json").write_text(marker)
    before = fingerprint(tmp_path)
    with pytest.raises(DataError, match="holds something other than this synthetic dataset"):
        write_synthetic(tmp_path, SyntheticConfig(train=1, val=1, test=1))
    assert fingerprint(tmp_path) == before


def test_marker_names_the_parameters(written: Path) -> None:
    marker = json.loads((written / "synthetic.json").read_text())
    assert marker == {
        "generator": 1,
        "train": 12,
        "val": 3,
        "test": 2,
        "image_hw": [64, 80],
        "seed": 7,
        "class_names": ["circle", "square", "triangle", "cross"],
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | OSError
) -> None:
    def interrupt(*_: object) -> str:
        raise error

    monkeypatch.setattr(synthetic, "_annotation", interrupt)
    with pytest.raises((KeyboardInterrupt, DataError)) as caught:
        write_synthetic(tmp_path / "syn", SyntheticConfig(train=2, val=1, test=1))
    if isinstance(error, OSError):
        assert str(caught.value).endswith("syn: writing failed (No space left on device); nothing was left behind")
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_be_faster(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits and takes what the first has written."""
    root, begun = tmp_path / "syn", []

    def slow(partial: Path, config: SyntheticConfig) -> None:
        begun.append(partial)
        time.sleep(0.2)
        real_write_splits(partial, config)

    real_write_splits = synthetic._write_splits
    monkeypatch.setattr(synthetic, "_write_splits", slow)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(write_synthetic, root, SyntheticConfig(1, 1, 1, (64, 64))) for _ in range(2)]
    assert [one.result() for one in both] == [root, root] and len(begun) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["syn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "train=0 is outside 1 to 100000"),
        ({"test": 100_001}, "test=100001 is outside 1 to 100000"),
        ({"image_hw": (160, 63)}, "size 160 x 63 is outside 64 to 1024 pixels"),
        ({"seed": -1}, "seed=-1 is negative"),
    ],
)
def test_parameters_are_checked(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_synthetic(tmp_path / "syn", SyntheticConfig(**arguments))
    assert list(tmp_path.iterdir()) == []
