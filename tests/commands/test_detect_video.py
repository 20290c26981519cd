"""Videos and cameras on the command line: annotated video out, and what was found in three formats."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from small_videos import CAMERA, FPS, HEIGHT, WIDTH, FakeCapture, retimed, sample_image, trimmed, write_video
from tiny_detector import T, chain

from spikedet.cli.main import main
from spikedet.commands.detect import detect
from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.config import DetectConfig
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.video import annotate_video
from spikedet.video import FrameReader, open_frames, parse_source, video_writer

pytestmark = pytest.mark.slow


def config(source: Path | str, out: Path, **changes: Any) -> DetectConfig:
    return DetectConfig(source=(str(source),), **{"weights": str(chain()["fine"]), "out": str(out), **changes})


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def frames(path: Path) -> tuple[float, int]:
    with open_frames(parse_source(str(path))) as reader:
        return reader.fps, sum(1 for _ in reader)


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("video_format", ["mp4", "webm", "gif"])
def test_a_video(tmp_path: Path, video_format: str) -> None:
    source, out = write_video(tmp_path / "a.mp4", frames=4), tmp_path / "out"
    found = content(detect(config(source, out, video_format=video_format)))
    assert list(found) == [f"{source}#{number}" for number in (1, 2, 3, 4)]
    assert all(list(by_step) == ["time_s", str(T)] for by_step in found.values())
    assert [by_step["time_s"] for by_step in found.values()] == [0, 0.1, 0.2, 0.3]
    assert below(out) == [f"a.{video_format}", "detections.json"]
    assert frames(out / f"a.{video_format}") == (FPS, 4)


def test_records_are_the_detectors(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", frames=2)
    found = content(detect(config(source, tmp_path / "out", t="2,4", confidence=0.15)))
    detector = SpikingDetector.load(chain()["fine"])
    with open_frames(parse_source(str(source))) as reader:
        for frame in reader:
            expected = detector(frame.image_rgb, [2, 4], confidence=0.15)
            records = {str(t): detections.to_records(detector.class_names) for t, detections in expected.items()}
            time_s = round(frame.source_time_s, 3)
            assert found[f"{source}#{frame.number}"] == {"time_s": time_s, **records}


def test_fewer_frames_in_the_same_time(tmp_path: Path) -> None:
    source, out = write_video(tmp_path / "a.mp4", frames=9), tmp_path / "out"
    assert len(content(detect(config(source, out, every=2, frames=3)))) == 3
    assert frames(out / "a.mp4") == (FPS / 2, 3)


def mixed(folder: Path) -> Path:
    """Images and videos of like names, in two folders."""
    write_video(folder / "a.mp4", frames=2)
    write_video(folder / "sub" / "a.avi", frames=2)
    write_video(folder / "sub" / "a.mkv", frames=2)
    for name in ("a.png", "sub/a.jpg", ".hidden.png"):
        Image.fromarray(sample_image()).save(folder / name)
    (folder / "notes.txt").write_text("neither", encoding="utf-8")
    return folder


def test_a_folder_of_both_with_subfolders(tmp_path: Path) -> None:
    folder = mixed(tmp_path / "mixed")
    expected = ["a.mp4", "a.png", "detections.json", "sub/a.avi.mp4", "sub/a.mkv.mp4", "sub/a.png"]
    for _ in range(2):  # the second time the output folder is there
        found = content(detect(config(folder, folder / "out")))
        assert below(folder / "out") == expected
        keys = [f"{folder}/{name}" for name in ("a.mp4", "a.png", "sub/a.avi", "sub/a.jpg", "sub/a.mkv")]
        assert list(dict.fromkeys(key.partition("#")[0] for key in found)) == keys


def test_coco_results_and_yolo_labels_of_the_last_step(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = content(detect(config(mixed(tmp_path / "mixed"), out, t="1,4", save_json=True, save_txt=True)))
    loaded = COCO(str(out / "results_images.json")).loadRes(str(out / "results.json"))
    assert len(loaded.imgs) == len(found) == 8
    assert len(loaded.anns) == sum(len(by_step["4"]) for by_step in found.values()) > 0
    names = [image["file_name"] for image in loaded.imgs.values()]
    assert names[:3] == ["a-frame000001", "a-frame000002", "a"]
    assert {(image["height"], image["width"]) for image in loaded.imgs.values()} == {(HEIGHT, WIDTH)}
    assert below(out / "labels") == sorted(f"{name}.txt" for name in names)
    for name, by_step in zip(names, found.values(), strict=True):
        lines = (out / "labels" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert [int(line.split()[0]) for line in lines] == [record["label"] for record in by_step["4"]]


def test_ids_of_boxes_that_stay(tmp_path: Path) -> None:
    with video_writer(tmp_path / "still.mp4", FPS) as writer:
        for _ in range(3):
            writer.write(sample_image())
    found = content(detect(config(tmp_path / "still.mp4", tmp_path / "out", t="2,4", confidence=0.7, track=True)))
    first, second, _ = found.values()
    assert {record["track_id"] for record in first["4"]} == {None}
    ids = [record["track_id"] for record in second["4"] if record["track_id"] is not None]
    assert len(set(ids)) == len(ids) > 0
    assert all("track_id" not in record for record in second["2"])


def test_tracking_without_its_package_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ConfigError, match=r"pip install trackers"):
        detect(config(write_video(tmp_path / "a.mp4"), tmp_path / "out", track=True))
    assert not (tmp_path / "out").exists()


def test_broken_videos_are_named_when_the_others_are_done(tmp_path: Path) -> None:
    folder = mixed(tmp_path / "mixed")
    (folder / "b.mp4").write_bytes(b"no video")
    whole = write_video(tmp_path / "whole.avi", frames=20).read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"2 of 7 inputs failed, the first: .*b\.mp4: not a video"):
        detect(config(folder, out))
    assert {"a.mp4", "cut.mp4", "sub/a.png", "detections.json"} <= set(below(out))
    assert "b.mp4" not in below(out)
    assert frames(out / "cut.mp4")[1] > 0


def test_a_video_that_was_cut_off_alone(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", frames=20).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"^[^;]*cut\.avi: truncated or damaged; \d+ of 20"):
        detect(config(tmp_path / "cut.avi", tmp_path / "out"))


def test_settings_that_do_not_fit_are_said_before_anything_is_written(tmp_path: Path) -> None:
    source = write_video(tmp_path / "videos" / "a.mp4")
    with pytest.raises(ConfigError, match="converted for T = 4"):
        detect(config(source, tmp_path / "out", t="9"))
    with pytest.raises(ConfigError, match="is the folder of the images"):
        detect(config(source, source.parent))
    with pytest.raises(ConfigError, match="--video-format must be one of"):
        config(source, tmp_path / "out", video_format="avi")
    with pytest.raises(ConfigError, match="--every must be positive, got 0"):
        config(source, tmp_path / "out", every=0)
    assert not (tmp_path / "out").exists()


def interrupted(after: int) -> Any:
    """``annotate_video`` with somebody who presses Ctrl-C after so many frames."""

    def annotate(*given: Any, **settings: Any) -> Iterator[Any]:
        for number, seen in enumerate(annotate_video(*given, **settings), start=1):
            yield seen
            if number == after:
                raise KeyboardInterrupt

    return annotate


def test_an_interrupted_file_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr("spikedet.commands.detect.annotate_video", interrupted(after=2))
    with pytest.raises(KeyboardInterrupt):
        detect(config(source, tmp_path / "out"))
    assert below(tmp_path / "out") == []


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> FakeCapture:
    """A camera 0 that is there, for a while."""
    capture = FakeCapture([sample_image(index) for index in range(40)])
    monkeypatch.setattr("spikedet.commands.detect.open_frames", lambda source: FrameReader(CAMERA, capture))
    return capture


def test_a_camera_keeps_what_was_recorded_until_ctrl_c(
    tmp_path: Path, plugged: FakeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikedet.commands.detect.annotate_video", interrupted(after=1))
    found = content(detect(config("0", tmp_path / "out")))
    assert len(found) == 1
    assert next(iter(found)).startswith("camera-0#")
    assert below(tmp_path / "out") == ["camera-0.mp4", "detections.json"]
    assert frames(tmp_path / "out" / "camera-0.mp4")[0] == FPS
    assert plugged.released


def test_a_camera_for_some_frames(tmp_path: Path, plugged: FakeCapture) -> None:
    assert len(content(detect(config("0", tmp_path / "out", frames=1)))) == 1


def test_a_camera_that_is_lost(tmp_path: Path, plugged: FakeCapture) -> None:
    with pytest.raises(
        DataError, match=r"^camera 0: no more frames came from it after \d+; what was recorded is kept$"
    ):
        detect(config("0", tmp_path / "out"))
    assert below(tmp_path / "out") == ["camera-0.mp4", "detections.json"]


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^camera 99: no such camera"):
        detect(config("99", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# --- time -----------------------------------------------------------------------------------------------------------


def at(path: Path, time_s: float) -> Any:
    """The frame of a video that stands at a time."""
    with open_frames(parse_source(str(path))) as reader:
        return [frame.image_rgb for frame in reader if frame.source_time_s <= time_s + 1e-3][-1]


@pytest.mark.parametrize("video_format", ["mp4", "webm", "gif"])
def test_an_event_is_at_its_time(tmp_path: Path, video_format: str) -> None:
    """Still for five seconds, then 30 frames a second: at a constant rate it would come after one second."""
    times_s = [0.0, 1.0, 2.0, 3.0, 4.0, *(5 + i / 30 for i in range(20))]
    with video_writer(tmp_path / "a.mp4", 30) as writer:
        for index in range(len(times_s)):
            writer.write(np.full((HEIGHT, WIDTH, 3), 20 if index < 5 else 220, np.uint8))
    source, out = retimed(tmp_path / "a.mp4", times_s, 5.7), tmp_path / "out"
    found = content(detect(config(source, out, confidence=1.0, video_format=video_format)))
    assert [by_step["time_s"] for by_step in found.values()] == pytest.approx(times_s, abs=0.001)
    drawn = out / f"a.{video_format}"
    assert at(drawn, 4.9).mean() < 100 < at(drawn, 5.05).mean()


def test_every_third_frame_is_at_its_time(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", frames=10)
    found = content(detect(config(source, tmp_path / "out", every=3)))
    assert [by_step["time_s"] for by_step in found.values()] == [0, 0.3, 0.6, 0.9]


@pytest.mark.parametrize(("start_s", "length_s"), [(0, 1), (0.5, 0.3)])
def test_a_trimmed_clip_is_whole(tmp_path: Path, start_s: float, length_s: float) -> None:
    source = trimmed(write_video(tmp_path / "a.mp4", frames=30), start_s, length_s)
    assert len(content(detect(config(source, tmp_path / "out")))) == round(10 * length_s)


# --- whatever fails for one video -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [239.36170212765958, 14.985014985])
def test_rates_that_codecs_do_not_take(tmp_path: Path, fps: float) -> None:
    source = retimed(write_video(tmp_path / "a.mp4", frames=4), [i / fps for i in range(4)], 4 / fps)
    assert len(content(detect(config(source, tmp_path / "out")))) == 4
    assert frames(tmp_path / "out" / "a.mp4") == (pytest.approx(fps, rel=0.001), 4)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("open_frames", cv2.error("codec")),
        ("video_writer", OSError(28, "No space left on device")),
        ("video_writer", MemoryError()),
        ("annotate_video", SpikedetError("writing failed")),
    ],
    ids=str,
)
def test_whatever_fails_for_one_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    module = importlib.import_module("spikedet.commands.detect")
    real, calls = getattr(module, where), itertools.count(1)

    def fail_once(*given: Any, **settings: Any) -> Any:
        if next(calls) == 1:
            raise error
        return real(*given, **settings)

    monkeypatch.setattr(module, where, fail_once)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "videos" / name, frames=2)
    with pytest.raises(DataError, match=r"^1 of 2 inputs failed, the first: .*a\.mp4: "):
        detect(config(tmp_path / "videos", tmp_path / "out"))
    assert below(tmp_path / "out") == ["b.mp4", "detections.json"]


def test_a_size_that_no_codec_takes_stops_nothing_else(tmp_path: Path) -> None:
    Image.new("RGB", (20_000, 2)).save(tmp_path / "frame.png")
    wide = [Image.new("RGB", (20_000, 2), (20 * index, 0, 0)) for index in range(3)]
    (tmp_path / "in").mkdir()
    wide[0].save(tmp_path / "in" / "a.gif", save_all=True, append_images=wide[1:])
    write_video(tmp_path / "in" / "b.mp4", frames=2)
    with pytest.raises(DataError, match=r"1 of 2 inputs failed, the first: .*a\.gif: OpenCV cannot write \.webm"):
        detect(config(tmp_path / "in", tmp_path / "out", video_format="webm"))
    assert below(tmp_path / "out") == ["b.webm", "detections.json"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b"%d"])
def test_names_of_any_bytes(tmp_path: Path, name: bytes) -> None:
    made = write_video(tmp_path / "made.mp4", frames=2)
    source = tmp_path / os.fsdecode(name) / os.fsdecode(name + b".mp4")
    source.parent.mkdir()
    made.rename(source)
    assert len(content(detect(config(source.parent, tmp_path / "out", save_txt=True)))) == 2
    assert frames(tmp_path / "out" / source.name) == (FPS, 2)


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_recording_keeps_its_frames_whatever_ends_it(
    tmp_path: Path, plugged: FakeCapture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def annotate(*given: Any, **settings: Any) -> Iterator[Any]:
        for seen in annotate_video(*given, **settings):
            yield seen
            os.kill(os.getpid(), number)

    monkeypatch.setattr("spikedet.commands.detect.annotate_video", annotate)
    out = tmp_path / "out"
    later = tmp_path / "later.png"
    Image.fromarray(sample_image()).save(later)
    assert main(["detect", "0", str(later), "--weights", str(chain()["fine"]), "--out", str(out)]) == 0
    assert below(out) == ["camera-0.mp4", "detections.json"]  # what comes after the recording is left out


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_file_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def annotate(*given: Any, **settings: Any) -> Iterator[Any]:
        for seen in annotate_video(*given, **settings):
            yield seen
            os.kill(os.getpid(), number)

    monkeypatch.setattr("spikedet.commands.detect.annotate_video", annotate)
    source, out = write_video(tmp_path / "a.mp4"), tmp_path / "out"
    words = ["detect", str(source), "--weights", str(chain()["fine"]), "--out", str(out)]
    assert main(words) == 128 + number
    assert below(out) == []
