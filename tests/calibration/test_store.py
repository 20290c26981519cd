"""Packed spikes come back bit by bit, whole or cut; the store keeps to its budget and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spikedet.calibration.store import ByteStore, bytes_per_neuron, pack_spikes, unpack_spikes

windows = st.integers(1, 20)
shapes = st.tuples(*[st.integers(1, 5)] * 4)


def random_spikes(T: int, shape: tuple[int, ...], signed: bool, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1 if signed else 0, 2, (T, *shape), generator=generator).float()


@given(windows, shapes, st.booleans(), st.integers(0, 2**16))
def test_unpacking_undoes_packing(T: int, shape: tuple[int, ...], signed: bool, seed: int) -> None:
    spikes = random_spikes(T, shape, signed, seed)
    packed = pack_spikes(spikes)
    assert packed.dtype == np.uint8
    assert packed.shape == (*shape, bytes_per_neuron(T))
    back = unpack_spikes(packed, T)
    assert back.dtype == torch.float32
    assert torch.equal(back, spikes)


@given(windows, shapes, st.booleans(), st.integers(0, 2**16), st.data())
def test_a_packed_window_unpacks_to_the_window(
    T: int, shape: tuple[int, ...], signed: bool, seed: int, data: st.DataObject
) -> None:
    spikes = random_spikes(T, shape, signed, seed)
    rows, columns = (data.draw(st.slices(side).filter(lambda s: s.step in (None, 1))) for side in shape[2:])
    chosen = data.draw(st.lists(st.integers(0, shape[0] - 1), min_size=1, max_size=3))
    cut = unpack_spikes(pack_spikes(spikes)[chosen, :, rows, columns], T)
    assert torch.equal(cut, spikes[:, chosen, :, rows, columns])


@pytest.mark.parametrize(("T", "count"), [(1, 2), (8, 2), (9, 4), (16, 4), (17, 6), (255, 64)])
def test_bytes_of_both_planes(T: int, count: int) -> None:
    assert bytes_per_neuron(T) == count


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_silent_and_always_firing_neurons(value: float) -> None:
    spikes = torch.full((3, 1, 2, 1, 1), value)
    assert torch.equal(unpack_spikes(pack_spikes(spikes), 3), spikes)


def test_beyond_the_budget_arrays_lie_on_disk(tmp_path: Path) -> None:
    store = ByteStore(100, tmp_path)
    first, second = store.create("first", (6, 10)), store.create("second", (5, 12))
    assert (store.memory_bytes, store.disk_bytes) == (60, 60)
    assert not isinstance(first, np.memmap)
    assert isinstance(second, np.memmap)
    assert [path.stat().st_size for path in tmp_path.rglob("*.bin")] == [60]
    second[1] = 7
    assert store["second"][[1, 0]].tolist() == [[7] * 12, [0] * 12]
    assert store.names() == {"first", "second"}
    store.close()


def test_what_is_dropped_is_free_for_others(tmp_path: Path) -> None:
    store = ByteStore(100, tmp_path)
    for name in ("first", "second"):
        store.create(name, (60,))
    store.drop("second")
    assert (store.names(), store.disk_bytes) == ({"first"}, 0)
    assert not list(tmp_path.rglob("*.bin"))
    store.drop("first")
    assert store.memory_bytes == 0
    assert not isinstance(store.create("third", (100,)), np.memmap)
    store.close()


def test_the_budget_may_be_used_up_to_its_last_byte(tmp_path: Path) -> None:
    store = ByteStore(100, tmp_path)
    store.create("first", (100,))
    assert isinstance(store.create("second", (1,)), np.memmap)
    store.close()


def test_closing_removes_the_folder(tmp_path: Path) -> None:
    store = ByteStore(0, tmp_path)
    store.create("spikes model.0", (10,))[:] = 1
    assert len(list(tmp_path.iterdir())) == 1
    store.close()
    assert not list(tmp_path.iterdir())
    assert store.names() == set()


@pytest.mark.parametrize("budget", [0, 10**9])
def test_packed_spikes_read_the_same_from_memory_and_disk(tmp_path: Path, budget: int) -> None:
    spikes = random_spikes(5, (4, 2, 3, 3), True, 0)
    packed = pack_spikes(spikes)
    store = ByteStore(budget, tmp_path)
    store.create("spikes", packed.shape)[:] = packed
    assert torch.equal(unpack_spikes(store["spikes"][[3, 1], :, 1:, :2], 5), spikes[:, [3, 1], :, 1:, :2])
    store.close()
