"""Loading processes: the shared memory that their batches need, and one sentence where one of them ends the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NoReturn

from ultralytics.data.build import seed_worker

from spikedet.common.errors import ConfigError, DataError, TrainingError

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps what processes share; a container has 64 MB of it unless asked for more."""

PREFETCHED = 4
"""Batches that ultralytics lets each process load ahead."""

MARGIN = 1.25
"""Room for labels, and for what others put there."""

_CAUGHT = "Caught "
"""What torch puts before an error of a loading process; a trace follows, whose last line is the error itself."""


def require_shared_memory(workers: int, batch: int, image_size: int) -> None:
    """Find out before a process is killed for it whether the batches that are loaded ahead have room.

    Args:
        workers: loading processes.
        batch: images of a batch, each three bytes a pixel.
        image_size: side of an image, pixels.

    Raises:
        ConfigError: they have not.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    needed, free = int(MARGIN * workers * PREFETCHED * batch * 3 * image_size**2), shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise ConfigError(
            f"--workers {workers} needs about {needed / 2**20:.0f} MiB of shared memory, but {SHARED_MEMORY} has "
            f"{free / 2**20:.0f} MiB; use --workers 0, or give a container more, as with docker run --shm-size 2g"
        )


def start_worker(number: int) -> None:
    """Prepare a loading process: one that cannot hand over a batch ends, or the training would wait for ever."""
    seed_worker(number)
    Queue._on_queue_feeder_error = staticmethod(_give_up)  # type: ignore[attr-defined]


def _give_up(error: Exception, batch: Any) -> NoReturn:
    """End this process; the one that trains notices, and says what to do."""
    os._exit(1)


@contextmanager
def worker_errors(resumable: str) -> Iterator[None]:
    """Turn what a loading process ends with into one sentence.

    Args:
        resumable: what to do to go on.

    Raises:
        DataError: an image that a process could not read.
        TrainingError: a process was killed.
    """
    try:
        yield
    except DataError as error:
        text = str(error)
        if not text.startswith(_CAUGHT):
            raise
        raise DataError(text.strip().splitlines()[-1].partition(": ")[2]) from None
    except (RuntimeError, ConnectionError, EOFError) as error:  # the last two: killed while it handed over a batch
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a loading process has ended, perhaps for want of memory or of shared memory; use fewer --workers, or "
            f"--workers 0. {resumable}"
        ) from error
