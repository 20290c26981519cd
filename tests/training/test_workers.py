"""Loading processes that have too little shared memory, cannot read an image, or die."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_detector import sample_images, write_model_yaml
from torch.utils.data import DataLoader

from spikedet.commands.train import train
from spikedet.common.errors import ConfigError, DataError, TrainingError
from spikedet.config import TrainConfig
from spikedet.training import workers
from spikedet.training.loop import TrainingLoop
from spikedet.training.workers import require_shared_memory, start_worker, worker_errors

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]


def loaded(item: Callable[[], Any]) -> list[Any]:
    """What one loading process gives, where ``item`` makes every item."""

    class Items:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, _: int) -> Any:
            return item()

    with worker_errors("Go on."):
        return list(DataLoader(Items(), num_workers=1, collate_fn=list, worker_init_fn=start_worker))


def test_what_is_loaded_goes_through() -> None:
    assert loaded(lambda: 7) == [[7], [7]]


def test_an_image_that_cannot_be_read_is_one_sentence() -> None:
    def broken() -> None:
        raise DataError("a.jpg: truncated: replace it")

    with pytest.raises(DataError, match=r"^a\.jpg: truncated: replace it$"):
        loaded(broken)


def test_errors_of_the_training_process_stay_as_they_are() -> None:
    for error in (DataError("a.jpg: truncated"), RuntimeError("shapes differ")):
        with pytest.raises(type(error), match=f"^{error}$"), worker_errors(""):
            raise error


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_process_killed_while_it_hands_over_a_batch_is_named(error: Exception) -> None:
    with pytest.raises(TrainingError, match="a loading process has ended"), worker_errors(""):
        raise error


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def not_handed_over() -> Any:
    """As without shared memory: the thread that hands batches over fails, and the batch is lost."""
    return lambda: None


@pytest.mark.parametrize("item", [kill, not_handed_over])
def test_a_process_that_ends_is_one_sentence(item: Callable[[], Any]) -> None:
    with pytest.raises(TrainingError, match=r"^a loading process has ended, .* or --workers 0\. Go on\.$"):
        loaded(item)


def test_too_little_shared_memory_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gives 64 MB: 2 processes with 4 batches of 8 images of 640 pixels and 3 bytes each need more."""
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    message = r"--workers 2 needs about 94 MiB of shared memory, but .* has 64 MiB; use --workers 0, .* --shm-size"
    with pytest.raises(ConfigError, match=message):
        require_shared_memory(2, 8, 640)
    require_shared_memory(2, 8, 320)
    require_shared_memory(0, 8, 6400)
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "none")  # Windows and macOS
    require_shared_memory(2, 8, 640)


def settings(folder: Path, **more: Any) -> TrainConfig:
    model = write_model_yaml(folder / "tiny.yaml")
    return TrainConfig(
        model=str(model), data=str(sample_images()), image_size=64, epochs=2, batch=2, warmup_epochs=0,
        weights="none", workers=2, out=str(folder / "out"), **more,
    )  # fmt: skip


def test_training_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match="--workers 2 needs about"):
        train(settings(tmp_path))


@pytest.mark.slow
def test_a_training_ends_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = TrainingLoop.preprocess_batch

    def killing(self: TrainingLoop, batch: dict[str, Any]) -> dict[str, Any]:
        if self.epoch == 1:
            os.kill(self.train_loader.iterator._workers[0].pid, signal.SIGKILL)
            for _ in range(200):  # until the signal that it has ended: there may be batches for the rest of the run
                time.sleep(0.1)
        return preprocess(self, batch)

    gc.disable()  # hypothesis is called when garbage is collected, and the error of a signal that comes then is lost
    try:
        with monkeypatch.context() as patch:
            patch.setattr(TrainingLoop, "preprocess_batch", killing)
            with pytest.raises(TrainingError, match="a loading process has ended"):
                train(settings(tmp_path))
    finally:
        gc.enable()
    assert train(settings(tmp_path, resume=True)).exists()
