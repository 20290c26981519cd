"""Images with boxes, and the same as JSON."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_detector import T, chain, fingerprint, sample_images

from spikedet.cli.main import main
from spikedet.commands.detect import detect
from spikedet.common.errors import CheckpointError, ConfigError, DataError, SpikedetError
from spikedet.config import DetectConfig
from spikedet.data import load_dataset
from spikedet.data.images import IMAGE_SUFFIXES, read_image
from spikedet.detections import Detections
from spikedet.inference.detector import SpikingDetector
from spikedet.visualization.draw import draw_detections

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 40, 56


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def config(source: Path, out: Path, **changes: Any) -> DetectConfig:
    return DetectConfig(source=(str(source),), **{"weights": str(chain()["fine"]), "out": str(out), **changes})


def content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_one_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = write_image(tmp_path / "a.jpg"), tmp_path / "new" / "out"
    with caplog.at_level("INFO", logger="spikedet"):
        result = detect(config(source, out))
    assert caplog.messages[-1] == f"1 image drawn, boxes in {result}"
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
    (folder / "c.heic").write_bytes(b"")
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "again").symlink_to(tmp_path)
    found = content(detect(config(folder, tmp_path / "out")))
    assert [Path(name).name for name in found] == ["a.png", "b.jfif"]
    said = "skipped 1 file or folder of the system (@eaDir), 1 hidden file or folder (.ipynb_checkpoints), "
    assert f"{folder}: {said}1 image of a format that is not read (.heic)" in capsys.readouterr().err


def test_broken_images_are_named_when_the_others_are_done(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("a", "c"):
        write_image(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"no image")
    whole = write_image(tmp_path / "whole.jpg").read_bytes()
    (folder / "d.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 4 inputs failed, the first: .*b\.png"):
        detect(config(folder, tmp_path / "out"))
    out = tmp_path / "out"
    assert [Path(name).name for name in content(out / "detections.json")] == ["a.png", "c.png"]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png", "detections.json"]


def test_a_single_broken_image(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^[^;]*b\.png: not an image that can be read"):
        detect(config(tmp_path / "b.png", tmp_path / "out"))
    assert content(tmp_path / "out" / "detections.json") == {}


def test_nothing_to_read_is_said_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images or videos in this folder; expected \.avi, \.avif"):
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
    shutil.copytree(sample_images() / "JPEGImages", folder, ignore=shutil.ignore_patterns("train*", "val*"))
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


# --- several sources ------------------------------------------------------------------------------------------------


def detect_all(sources: list[Path | str], out: Path, **changes: Any) -> Path:
    return detect(DetectConfig(source=tuple(map(str, sources)), weights=str(chain()["fine"]), out=str(out), **changes))


def drawn(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def test_several_sources(tmp_path: Path) -> None:
    sources = [write_image(tmp_path / "x" / "a.jpg"), tmp_path / "folder", write_image(tmp_path / "x" / "b.png")]
    write_image(tmp_path / "folder" / "c.png")
    found = content(detect_all([*sources, sources[0]], tmp_path / "out"))  # one of them twice
    assert list(found) == [str(path) for path in (sources[0], tmp_path / "folder" / "c.png", sources[2])]
    assert drawn(tmp_path / "out") == ["a.png", "b.png", "c.png"]


def test_one_source_as_a_text(tmp_path: Path) -> None:
    """As it was written before several could be named."""
    source = str(write_image(tmp_path / "a.png"))
    assert DetectConfig(source=source).source == (source,)  # type: ignore[arg-type]


@pytest.mark.parametrize("written", ["source: [a.png]", "source: [a.png, a.png]"])
def test_sources_in_a_file_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "settings.yaml").write_text(written)
    monkeypatch.chdir(tmp_path)
    assert main(["detect", "--config", "settings.yaml", "--weights", str(chain()["fine"]), "--out", "out"]) == 0
    assert list(content(tmp_path / "out" / "detections.json")) == ["a.png"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x/a.jpg", "y/a.jpg"], ["a.jpg-2.png", "a.jpg.png"]),
        (["x/a.jpg", "x/a.png"], ["a.jpg.png", "a.png.png"]),
        (["x/a.jpg", "y/A.jpg"], ["A.jpg-2.png", "a.jpg.png"]),
        (["x/a.jpg", "y/a.jpg", "z/a.jpg"], ["a.jpg-2.png", "a.jpg-3.png", "a.jpg.png"]),
        (["x/a.jpg", "x/a.png", "x/a.png.bmp"], ["a.jpg.png", "a.png-2.png", "a.png.png"]),
        (["x/\u00e9.jpg", "y/e\u0301.jpg"], ["e\u0301.jpg-2.png", "\u00e9.jpg.png"]),
        (["x/a b.jpg", "y/a  b.jpg"], ["a  b.png", "a b.png"]),
    ],
)
def test_sources_of_one_name_both_keep_their_output(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    sources = [write_image(tmp_path / name, seed) for seed, name in enumerate(names)]
    found = content(detect_all(list(sources), tmp_path / "out", save_txt=True, save_json=True))
    assert list(found) == list(map(str, sources))
    assert drawn(tmp_path / "out") == sorted(expected)
    assert len(list((tmp_path / "out" / "labels").iterdir())) == len(names)
    assert len(json.loads((tmp_path / "out" / "results_images.json").read_text())["images"]) == len(names)


def test_two_folders_with_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "sub" / "a.jpg")
    assert len(content(detect_all([tmp_path / "x", tmp_path / "y"], tmp_path / "out"))) == 2
    assert drawn(tmp_path / "out") == ["sub/a.jpg-2.png", "sub/a.jpg.png"]


@pytest.mark.parametrize("name", ["0", "12"])
def test_a_folder_whose_name_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_image(tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path)
    assert list(content(detect(config(Path(name), tmp_path / "out")))) == [f"{name}/a.png"]


def test_a_source_that_is_nothing_does_not_stop_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^3 of 4 inputs failed, the first: .*none\.jpg: no such image"):
        detect_all([tmp_path / "none.jpg", good, "ftp://host/a", tmp_path / "empty"], out)
    assert list(content(out / "detections.json")) == [str(good)]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [next(word for word in ("ftp", "empty") if word in text) for text in warned] == ["ftp", "empty"]


# --- whatever fails for one image -----------------------------------------------------------------------------------

FAILURES = [
    ("read_image", MemoryError()),
    ("read_image", CheckpointError("odd")),
    ("annotate", cv2.error("insufficient memory")),
    ("annotate", DataError("b.png: odd")),
    ("save_image", OSError(28, "No space left on device")),
    ("save_image", SpikedetError("b.png: writing failed")),
]


@pytest.mark.parametrize(("where", "error"), FAILURES, ids=str)
def test_whatever_fails_for_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    module = importlib.import_module("spikedet.commands.detect")
    real, calls = getattr(module, where), itertools.count(1)

    def fail_once(*given: Any, **settings: Any) -> Any:
        if next(calls) == 2:
            raise error
        return real(*given, **settings)

    monkeypatch.setattr(module, where, fail_once)
    for index, name in enumerate("abc"):
        write_image(tmp_path / "images" / f"{name}.png", index)
    with pytest.raises(DataError, match=r"^1 of 3 inputs failed, the first: .*b\.png: "):
        detect(config(tmp_path / "images", tmp_path / "out"))
    assert drawn(tmp_path / "out") == ["a.png", "c.png"]
    assert [Path(name).stem for name in content(tmp_path / "out" / "detections.json")] == ["a", "c"]


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 3000), (3000, 1), (7, 5)])
def test_images_of_any_shape(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    Image.new("RGB", size_wh, (200, 10, 20)).save(tmp_path / "a.png")
    detect(config(tmp_path / "a.png", tmp_path / "out"))
    assert read_image(tmp_path / "out" / "a.png").shape == (size_wh[1], size_wh[0], 3)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
@pytest.mark.parametrize("name", [b"a\xff", b"\xed\xa0\x80", b"a\nb", b"[a]", b"a#1", b"%s"])
def test_names_of_any_bytes(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    source = write_image(folder / os.fsdecode(name + b".png"))
    assert list(content(detect(config(folder, tmp_path / "out", save_json=True, save_txt=True)))) == [str(source)]
    assert drawn(tmp_path / "out") == [source.name]
    assert (tmp_path / "out" / "labels" / f"{source.stem}.txt").is_file()


@pytest.mark.parametrize("letter", ["a", "é", "車", "😀"])
def test_names_as_long_as_they_can_be(tmp_path: Path, letter: str) -> None:
    stem = letter * (251 // len(letter.encode()))
    for name in (f"{stem}.png", f"{stem[:-1]}b.png"):
        write_image(tmp_path / name)
    found = content(
        detect_all([tmp_path / f"{stem}.png", tmp_path / f"{stem[:-1]}b.png"], tmp_path / "out", save_txt=True)
    )
    assert len(found) == len(drawn(tmp_path / "out")) == 2
    assert all(stem[:50] in name for name in drawn(tmp_path / "out"))


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    for name in ("a.png", "b.mp4"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(
            DataError, match=rf"^[^;]*{name}: a Git LFS pointer, not the file itself; run git lfs pull$"
        ):
            detect(config(tmp_path / name, tmp_path / "out"))


def test_class_names_without_letters_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "spikedet")
    monkeypatch.setattr(SpikingDetector, "class_names", ("\u0e23\u0e16", "b", "\u0633\u064a", "d"))
    detect(config(write_image(tmp_path / "a.png"), tmp_path / "out"))
    assert "class 0 is \u0e23\u0e16, class 2 is \u0633\u064a" in caplog.text


def test_labels_are_drawn_left_of_the_detections(tmp_path: Path) -> None:
    """The source is a dataset then, with any split."""
    found = content(detect(config(sample_images(), tmp_path / "out", with_labels=True, split="test")))
    dataset = load_dataset(sample_images(), "test", class_names=SpikingDetector.load(chain()["fine"]).class_names)
    assert list(found) == [str(sample.image_path) for sample in dataset.samples]
    first = dataset.samples[0]
    labels = Detections(first.boxes_xyxy, np.ones(len(first.labels)), first.labels)
    image = dataset.read_image(0)
    drawn = read_image(tmp_path / "out" / f"{first.image_id}.png")
    assert np.array_equal(drawn[:, : image.shape[1]], draw_detections(image, labels, dataset.class_names, scores=False))
    assert drawn.shape[1] >= 2 * image.shape[1]


def test_labels_need_one_dataset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--split has no effect without --with-labels"):
        config(sample_images(), tmp_path, split="test")
    several = DetectConfig(source=("a", "b"), weights=str(chain()["fine"]), with_labels=True, out=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="--with-labels takes one dataset, got 2 sources"):
        detect(several)
