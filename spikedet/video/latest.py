"""The newest frame of a source that does not wait: read in a thread, so that a slow reader never lags behind more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from spikedet.common.errors import DataError
from spikedet.video.reading import Frame, FrameReader


class LatestFrame:
    """Reads a source in a thread of its own; who asks gets the newest frame, older ones are dropped.

    A live source that is lost or not there is tried again, and ``message`` says so meanwhile. A file is played at its
    own speed and ends. A context manager.

    Args:
        open_reader: opens the source; a DataError of it is a message, not an end, if ``retry_s`` is given.
        retry_s: seconds between two attempts; None ends with the source.
    """

    def __init__(self, open_reader: Callable[[], FrameReader], *, retry_s: float | None = None) -> None:
        self._open_reader, self._retry_s = open_reader, retry_s
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self.message = ""
        self._over = False
        self._thread = threading.Thread(target=self._work, name="spikedet-frames", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether no frame will be handed out any more."""
        with self._changed:
            return self._over and self._newest is None

    def next(self, timeout_s: float | None = None) -> Frame | None:
        """The newest frame that was not handed out before, waited for; None at the end or after the time.

        Raises:
            Exception: what the thread died of.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over, timeout_s)
            frame, self._newest = self._newest, None
            if frame is None and self._failure is not None:
                raise self._failure
            return frame

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next()) is not None:
            yield frame

    def hold(self, held: bool) -> None:
        """Let a file stand still, or go on. A camera goes on anyway."""
        (self._running.clear if held else self._running.set)()

    def close(self) -> None:
        """Stop reading. A camera that hangs is left to itself."""
        self._stopped.set()
        self._running.set()
        self._thread.join(timeout=2)

    def __enter__(self) -> LatestFrame:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                again = self._read_once()
                if not again or self._retry_s is None:
                    break
                self._stopped.wait(self._retry_s)
        except BaseException as error:
            self._failure = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_once(self) -> bool:
        """Read until the source ends; whether it is worth another try."""
        try:
            with self._open_reader() as reader:
                self.message = ""
                self._play(reader)
                if not reader.live:
                    self.message = reader.shortfall
                    return False
                self.message = f"{reader.source}: no more frames come from it"
        except DataError as error:
            if self._retry_s is None:
                raise
            self.message = str(error)
        return True

    def _play(self, reader: FrameReader) -> None:
        started_s = time.monotonic()
        while not self._stopped.is_set() and (frame := reader.read()) is not None:
            if not reader.live:
                self._stopped.wait(max(0.0, started_s + frame.source_time_s - time.monotonic()))
                held_s = time.monotonic()
                self._running.wait()
                started_s += time.monotonic() - held_s
            with self._changed:
                self._newest = frame
                self._changed.notify_all()
        if not reader.live:
            self._stopped.wait(1 / reader.fps)
