"""Images with boxes, and the same as JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detector import T, chain, fingerprint, sample_images

from spikedet.commands.detect import detect
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import DetectConfig
from spikedet.data.images import IMAGE_SUFFIXES, read_image
from spikedet.inference.detector import SpikingDetector
from spikedet.visualization import draw_detections

HEIGHT, WIDTH = 40, 56


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def config(source: Path, out: Path, **changes: Any) -> DetectConfig:
    return DetectConfig(source=str(source), **{"weights": str(chain()["fine"]), "out": str(out), **changes})


def content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_one_image(tmp_path: Path) -> None:
    source, out = write_image(tmp_path / "a.jpg"), tmp_path / "new" / "out"
    result = detect(config(source, out))
    assert result == out / "detections.json"
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "detections.json"]
    assert list(content(result)) == [str(source)]
    assert list(content(result)[str(source)]) == [str(T)]


def test_records_are_the_detectors(tmp_path: Path) -> None:
    source = write_image(tmp_path / "a.png")
    found = content(detect(config(source, tmp_path / "out", t="2,4", confidence=0.15, iou=0.5)))[str(source)]
    detector = SpikingDetector.load(chain()["fine"])
    expected = detector(source, [2, 4], confidence=0.15, iou=0.5)
    assert found == {str(t): detections.to_records(detector.class_names) for t, detections in expected.items()}
    record = found["4"][0]
    assert set(record) == {"label", "class", "score", "box_xyxy"}
    assert record["class"] == detector.class_names[record["label"]]
    assert 0.15 <= record["score"] <= 1
    left, top, right, bottom = record["box_xyxy"]
    assert 0 <= left < right <= WIDTH
    assert 0 <= top < bottom <= HEIGHT


def test_the_drawing_is_the_detectors(tmp_path: Path) -> None:
    source = write_image(tmp_path / "a.png")
    detect(config(source, tmp_path / "out"))
    detector = SpikingDetector.load(chain()["fine"])
    expected = draw_detections(read_image(source), detector(source)[T], detector.class_names)
    assert np.array_equal(read_image(tmp_path / "out" / "a.png"), expected)
    assert not np.array_equal(expected, read_image(source))


def test_time_steps_are_drawn_side_by_side(tmp_path: Path) -> None:
    source = write_image(tmp_path / "a.png")
    found = content(detect(config(source, tmp_path / "out", t="4,1,2")))
    assert list(found[str(source)]) == ["1", "2", "4"]
    drawn = read_image(tmp_path / "out" / "a.png")
    assert drawn.shape == (HEIGHT, 3 * WIDTH + 2 * 4, 3)
    detector = SpikingDetector.load(chain()["fine"])
    first = draw_detections(read_image(source), detector(source, 1)[1], detector.class_names)
    assert np.array_equal(drawn[:, :WIDTH], first)


@pytest.mark.parametrize("stage", ["ann", "qc"])
def test_networks_without_time_answer_under_0(tmp_path: Path, stage: str) -> None:
    source = write_image(tmp_path / "a.png")
    found = content(detect(config(source, tmp_path / "out", weights=str(chain()[stage]), t="2,4")))
    assert list(found[str(source)]) == ["0"]


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    source = write_image(tmp_path / "a.png")
    found = content(detect(config(source, tmp_path / "out", confidence=1.0)))
    assert found == {str(source): {str(T): []}}
    assert np.array_equal(read_image(tmp_path / "out" / "a.png"), read_image(source))


def test_a_folder_in_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for index, suffix in enumerate(sorted(IMAGE_SUFFIXES)):
        write_image(folder / f"{9 - index}{suffix if index else suffix.upper()}", index)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    (folder / "sub").mkdir()
    found = content(detect(config(folder, tmp_path / "out")))
    assert [Path(name).stem for name in found] == [str(9 - index) for index in reversed(range(len(IMAGE_SUFFIXES)))]
    assert len(list((tmp_path / "out").glob("*.png"))) == len(IMAGE_SUFFIXES)


def test_what_a_folder_holds_besides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links to folders are followed, also in a circle; what is skipped is said."""
    folder = tmp_path / "images"
    write_image(folder / "a.png")
    write_image(folder / ".ipynb_checkpoints" / "a-checkpoint.png")
    write_image(folder / "@eaDir" / "a.png")
    write_image(tmp_path / "more" / "b.jpg").rename(tmp_path / "more" / "b.jfif")
    (folder / "c.avif").write_bytes(b"")
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "again").symlink_to(tmp_path)
    found = content(detect(config(folder, tmp_path / "out")))
    assert [Path(name).name for name in found] == ["a.png", "b.jfif"]
    said = "skipped 1 files or folders of the system (@eaDir), 1 hidden files or folders (.ipynb_checkpoints), "
    assert f"{folder}: {said}1 images of a format that is not read (.avif)" in capsys.readouterr().err


def test_broken_images_are_named_when_the_others_are_done(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("a", "c"):
        write_image(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"no image")
    whole = write_image(tmp_path / "whole.jpg").read_bytes()
    (folder / "d.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 4 images could not be read, the first: .*b\.png"):
        detect(config(folder, tmp_path / "out"))
    out = tmp_path / "out"
    assert [Path(name).name for name in content(out / "detections.json")] == ["a.png", "c.png"]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png", "detections.json"]


def test_a_single_broken_image(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 1 images could not be read, the first: .*b\.png"):
        detect(config(tmp_path / "b.png", tmp_path / "out"))
    assert content(tmp_path / "out" / "detections.json") == {}


def test_nothing_to_read_is_said_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images or videos in this folder; expected \.avi, \.bmp"):
        detect(config(tmp_path / "empty", tmp_path / "out"))
    with pytest.raises(DataError, match="none: no such image, video or folder"):
        detect(config(tmp_path / "none", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_settings_that_do_not_fit_are_said_before_anything_is_written(tmp_path: Path) -> None:
    source = write_image(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="converted for T = 4"):
        detect(config(source, tmp_path / "out", t="2,8"))
    with pytest.raises(ConfigError, match="time steps must be whole numbers"):
        detect(config(source, tmp_path / "out", t="two"))
    with pytest.raises(CheckpointError, match="none: no such checkpoint"):
        detect(config(source, tmp_path / "out", weights=str(tmp_path / "none")))
    assert not (tmp_path / "out").exists()


def test_labels_that_are_somebodys_own_stay(tmp_path: Path) -> None:
    source = write_image(tmp_path / "images" / "a.png")
    labels = tmp_path / "labels" / "a.txt"
    labels.parent.mkdir()
    labels.write_text("0 0.5 0.5 1 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="has labels/ already"):
        detect(config(source, tmp_path, save_txt=True))
    assert labels.read_text(encoding="utf-8") == "0 0.5 0.5 1 1\n"
    for _ in range(2):  # what it wrote itself it may write again
        detect(config(source, tmp_path / "out", save_txt=True))


def test_a_data_sets_images_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(sample_images() / "JPEGImages", folder)
    before = fingerprint(folder)
    detect(config(folder, tmp_path / "out"))
    assert fingerprint(folder) == before


def test_the_images_own_folder_as_output_leaves_them_alone(tmp_path: Path) -> None:
    source = write_image(tmp_path / "images" / "a.png")
    before = source.read_bytes()
    with contextlib.suppress(ConfigError):  # refusing is as good as another name
        detect(config(source.parent, source.parent))
    assert source.read_bytes() == before


def test_images_that_differ_in_their_suffix_are_all_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for index, name in enumerate(("a.jpg", "a.png")):
        write_image(folder / name, index)
    assert len(content(detect(config(folder, tmp_path / "out")))) == 2
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
