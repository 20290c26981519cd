"""An uploaded video, frame by frame into another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_uploads import broken_videos, video
from tiny_detector import T, chain

from spikedet.common.errors import DataError
from spikedet.config import SimulationConfig
from spikedet.demo import video as demo_video
from spikedet.demo.settings import Settings
from spikedet.demo.video import VideoProgress, annotated
from spikedet.inference.comparison import Member, load_family
from spikedet.video import Source, open_frames

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return load_family([str(chain()["fine"])], SimulationConfig())


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(video(tmp_path))
    return path


def run(member: Member, upload: Path, result: Path, t: int = T, stable_steps: int = 0) -> list[VideoProgress]:
    return list(annotated(member, upload, result, Settings(t, 0.05, stable_steps)))


def test_every_frame_comes_back(members: list[Member], upload: Path, tmp_path: Path) -> None:
    seen = run(members[-1], upload, tmp_path / "boxes.webm", t=2)
    assert [(progress.done, progress.finished) for progress in seen] == [(i, False) for i in range(1, 6)] + [(5, True)]
    assert "frame 3 of 5" in seen[2].words and "t = 2" in seen[2].words
    assert seen[-1].words.startswith("5 frames in ")
    with open_frames(Source(str(tmp_path / "boxes.webm"), "file")) as reader:
        assert reader.fps == 10 and len(list(reader)) == 5


def test_a_network_without_time(members: list[Member], upload: Path, tmp_path: Path) -> None:
    assert "a network without time" in run(members[0], upload, tmp_path / "boxes.webm")[0].words


def test_early_exit(members: list[Member], upload: Path, tmp_path: Path) -> None:
    chosen = Settings(T, 0.9999, 1)  # nothing is found, twice in a row
    seen = list(annotated(members[-1], upload, tmp_path / "boxes.webm", chosen))
    assert "t = 2" in seen[0].words


def test_cancelled_in_the_middle_leaves_nothing(members: list[Member], upload: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    progress = annotated(members[-1], upload, folder / "boxes.webm", Settings(1, 0.5, 0))
    next(progress)
    progress.close()
    assert not list(folder.iterdir())
    assert not members[-1].lock.locked()


@pytest.mark.parametrize(("limit", "value"), [("MAX_VIDEO_FRAMES", 2), ("MAX_VIDEO_PIXELS", 120 * 160 + 1)])
def test_only_so_much_work(
    members: list[Member], upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """The limit is on frames and their pixels: a minute of 480 frames a second is as much work as twenty of 24."""
    monkeypatch.setattr(demo_video, limit, value)
    seen = run(members[-1], upload, tmp_path / "boxes.webm", t=1)
    assert seen[-1].finished and seen[-1].done == 2
    assert "only the first 2 frames" in seen[-1].words


def test_frames_may_not_be_huge(
    members: list[Member], upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_video, "MAX_FRAME_PIXELS", 100)
    with pytest.raises(DataError, match=r"^a\.mp4: frames of 160 x 120 pixels"):
        run(members[-1], upload, tmp_path / "boxes.webm", t=1)
    assert not (tmp_path / "boxes.webm").exists()


@pytest.mark.parametrize("name", ["cut.mp4", "empty.mp4", "text.mp4", "noise.webm"])
def test_what_is_no_video(members: list[Member], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(broken_videos(tmp_path)[name])
    with pytest.raises(DataError, match=rf"^{name}: not a video that can be read") as caught:
        run(members[-1], tmp_path / name, tmp_path / "boxes.webm")
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "boxes.webm").exists()


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\n{}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#\0",
        "ffconcat version 1.0\nfile {}\n#\0",
        '<?xml version="1.0"?><MPD>{}</MPD>\0',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    ],
)
def test_a_list_of_files_opens_none_of_them(members: list[Member], upload: Path, tmp_path: Path, text: str) -> None:
    listed = tmp_path / "list.mp4"
    listed.write_text(text.format(upload), "utf-8")
    with pytest.raises(DataError, match=r"^list\.mp4: not a video that can be read, but a text"):
        run(members[-1], listed, tmp_path / "boxes.webm")


def test_words_are_escaped_and_the_bar_goes() -> None:
    assert VideoProgress(1, 4, "a < b").as_html().count("<progress") == 1
    assert "a &lt; b" in VideoProgress(1, None, "a < b").as_html()
    assert "<progress" not in VideoProgress(4, 4, "done", finished=True).as_html()
