"""The store keeps to its budget and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from spikedet.calibration.store import ByteStore
from spikedet.common.errors import SpikedetError


def test_beyond_the_budget_arrays_lie_on_disk() -> None:
    store = ByteStore(100)
    first, second = store.create("first", (6, 10)), store.create("second", (5, 12))
    assert (store.bytes(), store.bytes(on_disk=True)) == (60, 60)
    assert not isinstance(first, np.memmap)
    assert isinstance(second, np.memmap)
    second[1] = 7
    assert store["second"][[1, 0]].tolist() == [[7] * 12, [0] * 12]
    assert store.names() == {"first", "second"}


def test_what_is_dropped_is_free_for_others() -> None:
    store = ByteStore(100)
    for name in ("first", "second"):
        store.create(name, (60,))
    store.drop("second")
    assert (store.names(), store.bytes(on_disk=True)) == ({"first"}, 0)
    store.drop("first")
    assert store.bytes() == 0
    assert not isinstance(store.create("third", (100,)), np.memmap)


def test_the_budget_may_be_used_up_to_its_last_byte() -> None:
    store = ByteStore(100)
    store.create("first", (100,))
    assert isinstance(store.create("second", (1,)), np.memmap)


def test_a_kill_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = ByteStore(0)
    store.create("spikes model.0", (10,))[:] = 1
    assert store.bytes(on_disk=True) == 10 and store["spikes model.0"].tolist() == [1] * 10
    assert list(tmp_path.iterdir()) == []  # not even now


def test_a_full_temporary_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    message = rf"^{tmp_path}: no room for 2 MiB of spikes \(No space left on device\); name .* TMPDIR, or raise mem"
    with pytest.raises(SpikedetError, match=message):
        ByteStore(0).create("spikes", (2, 2**20))


@pytest.mark.parametrize("budget", [0, 10**9])
def test_rows_read_the_same_from_memory_and_disk(budget: int) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (4, 5, 3, 3, 2), np.uint8)
    store = ByteStore(budget)
    store.create("spikes", rows.shape)[:] = rows
    assert np.array_equal(store["spikes"][[3, 1]][:, :, 1:, :2], rows[[3, 1]][:, :, 1:, :2])
