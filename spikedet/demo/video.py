"""An uploaded video through one network, frame by frame, into a video that browsers play."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.demo.settings import Settings
from spikedet.demo.uploads import MAX_FRAME_PIXELS, MAX_VIDEO_FRAMES, MAX_VIDEO_PIXELS, uploaded_video
from spikedet.demo.webcam import in_words
from spikedet.inference.comparison import Member
from spikedet.inference.video import annotate_video, expected_frames
from spikedet.video import video_writer


@dataclass(frozen=True)
class VideoProgress:
    """How far a video has come.

    Attributes:
        done: frames looked at.
        total: frames there will be; None if nobody knows.
        words: of the last frame, and of the video once it is done.
        finished: the video is written.
    """

    done: int
    total: int | None
    words: str
    finished: bool = False

    def as_html(self) -> str:
        """A bar with its words."""
        known = f' value="{self.done}" max="{self.total}"' if self.total else ""
        bar = "" if self.finished else f"<progress{known}></progress> "
        return f'<div class="video-progress" data-done="{self.done}">{bar}{escape(self.words)}</div>'


def annotated(member: Member, upload: Path, result: Path, settings: Settings) -> Generator[VideoProgress, None, None]:
    """Write ``result`` with boxes on the first frames of an uploaded video; yields after each frame.

    To cancel, stop asking: nothing is left then. The network is held for one frame at a time.

    Raises:
        DataError: it is no video, or its frames are too large.
    """
    started = time.monotonic()
    with uploaded_video(upload) as reader:
        total = expected_frames(reader, frames=MAX_VIDEO_FRAMES)
        count = pixels = 0
        with video_writer(result, reader.fps) as writer:
            frames = annotate_video(
                member.detector,
                reader,
                writer,
                t=settings.steps(member.detector.T),
                confidence=settings.confidence,
                stable_steps=settings.stable_steps,
            )
            while count < MAX_VIDEO_FRAMES and pixels < MAX_VIDEO_PIXELS:
                with member.lock:
                    seen = next(frames, None)
                if seen is None:
                    break
                height, width = seen.frame.image_rgb.shape[:2]
                if height * width > MAX_FRAME_PIXELS:
                    raise DataError(f"{upload.name}: frames of {width} x {height} pixels; make them smaller")
                count, pixels = count + 1, pixels + height * width
                fps = count / (time.monotonic() - started)
                shown = f"frame {count} of {total}" if total else f"frame {count}"
                yield VideoProgress(count, total, f"{shown}, {fps:.1f} a second; {in_words(seen.outputs[-1])}")
        said = f"{count} frames in {time.monotonic() - started:.1f} s"
        if seen is not None and count != expected_frames(reader):
            said += f"; only the first {count} frames are looked at here, spikedet detect takes all"
        elif reader.shortfall:
            said += f"; {reader.shortfall.replace(str(reader.source), Path(str(reader.source)).name)}"
        yield VideoProgress(count, total, said, finished=True)
