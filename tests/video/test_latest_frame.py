"""The newest frame wins; what is lost is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_videos import camera, retimed, write_video

from spikedet.common.errors import DataError
from spikedet.video import FrameReader, LatestFrame, open_frames, parse_source

pytestmark = pytest.mark.slow


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.002)


def attempts(*results: FrameReader | Exception) -> Callable[[], FrameReader]:
    """Opens these in turn, then finds nothing any more."""
    left: Iterator[FrameReader | Exception] = iter(results)

    def open_next() -> FrameReader:
        result = next(left, DataError("camera 0: gone for good"))
        if isinstance(result, Exception):
            raise result
        return result

    return open_next


def test_older_frames_are_dropped() -> None:
    with LatestFrame(lambda: camera(50)) as latest:
        latest._thread.join(5)
        assert not latest.ended
        frame = latest.next()
        assert frame is not None
        assert frame.number == 50
        assert latest.ended
        assert latest.next() is None


def test_a_frame_is_handed_out_once() -> None:
    gate = threading.Event()

    def wait(number: int) -> None:
        if number == 2:
            gate.wait(5)

    with LatestFrame(lambda: camera(2, before=wait)) as latest:
        first = latest.next()
        assert first is not None
        assert first.number == 1
        assert latest.next(timeout_s=0.01) is None
        gate.set()
        assert [frame.number for frame in latest] == [2]


def test_a_camera_that_comes_and_goes() -> None:
    gates = [threading.Event(), threading.Event()]
    opened = attempts(
        DataError("camera 0: no such camera"),
        camera(2, before=lambda number: number == 2 and gates[0].wait(5)),  # type: ignore[arg-type, return-value]
        DataError("camera 0: no such camera"),
        camera(2, before=lambda number: number == 2 and gates[1].wait(5)),  # type: ignore[arg-type, return-value]
    )
    said: list[str] = []
    with LatestFrame(opened, retry_s=0.05) as latest:
        wait_for(lambda: bool(latest.message))
        said.append(latest.message)
        assert latest.next(5) is not None
        said.append(latest.message)
        gates[0].set()
        wait_for(lambda: bool(latest.message))
        said.append(latest.message)
        gates[1].set()
        wait_for(lambda: latest.message == "camera 0: gone for good")
        assert not latest.ended
    assert said == ["camera 0: no such camera", "", "camera 0: no more frames come from it"]


def test_without_another_try_an_error_is_raised() -> None:
    with LatestFrame(attempts()) as latest, pytest.raises(DataError, match="gone for good"):
        latest.next(5)


def test_a_broken_reader_is_not_waited_for_forever() -> None:
    with LatestFrame(attempts(ZeroDivisionError()), retry_s=0.01) as latest, pytest.raises(ZeroDivisionError):
        latest.next(5)


def test_the_source_is_let_go() -> None:
    reader = camera(1)
    with LatestFrame(lambda: reader) as latest:
        assert len(list(latest)) == 1
    assert reader._capture.released >= 1  # type: ignore[attr-defined]


def test_a_file_is_played_at_its_speed_and_ends(tmp_path: Path) -> None:
    source = parse_source(str(write_video(tmp_path / "a.mp4", frames=4, fps=20)))
    started = time.monotonic()
    with LatestFrame(lambda: open_frames(source), retry_s=0.01) as latest:
        numbers = [frame.number for frame in latest]
        assert latest.message == ""
    assert numbers[-1] == 4
    assert time.monotonic() - started >= 4 / 20 - 0.02


def test_a_file_stands_still(tmp_path: Path) -> None:
    source = parse_source(str(write_video(tmp_path / "a.mp4", frames=20, fps=20)))
    with LatestFrame(lambda: open_frames(source)) as latest:
        first = latest.next(5)
        latest.hold(True)
        time.sleep(0.2)  # the frame that was on its way
        on_its_way = latest.next(0)
        assert latest.next(0.4) is None  # eight frames, were it not held
        assert not latest.ended
        latest.hold(False)
        numbers = [frame.number for frame in latest]
    seen = on_its_way or first
    assert seen is not None and numbers[0] <= seen.number + 2
    assert numbers[-1] == 20


def test_a_file_with_a_variable_rate_is_played_at_its_times(tmp_path: Path) -> None:
    wanted_s = [0.0, 0.1, 0.2, 0.7]
    path = retimed(write_video(tmp_path / "a.mp4", frames=4), wanted_s, 0.8)
    with LatestFrame(lambda: open_frames(parse_source(str(path)))) as latest:
        shown_s = [(frame.source_time_s, time.monotonic()) for frame in latest]
    (first_s, started_s), *_, (last_s, ended_s) = shown_s
    assert (first_s, last_s) == (0, pytest.approx(0.7, abs=0.01))
    assert 0.65 <= ended_s - started_s <= 1.5
