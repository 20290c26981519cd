"""Joules by hand, moments against numpy, the meter's sums, and tables of constants."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.typed import typed
from spikedet.costs.constants import EnergyConstants, MemoryTraffic, load_constants
from spikedet.costs.counts import OperationCounts, operation_counts
from spikedet.costs.operations import LayerSynapses
from spikedet.costs.pricing import Pricing, Totals
from spikedet.costs.rows import Measured

TRAFFIC = MemoryTraffic(
    source="made up", access_pj=5, per_mac=2, per_output=1, per_sop=3, per_neuron_step=2, per_spike=2
)
CONSTANTS = EnergyConstants(name="float", source="made up", mac_pj=4.6, ac_pj=0.9, memory=TRAFFIC)
LAYERS = [  # an image layer, a hidden layer, a read-out
    LayerSynapses("stem", neurons=10, outputs=10, macs=100, macs_inside=90, image_macs=100),
    LayerSynapses("hidden", neurons=20, outputs=20, macs=1000, macs_inside=800, image_macs=0),
    LayerSynapses("out", neurons=0, outputs=5, macs=50, macs_inside=50, image_macs=0),
]
TOTALS = Totals(macs=1150, image_macs=100, outputs=35, neurons=30)


def test_totals_are_sums_over_layers() -> None:
    assert Totals.of(LAYERS) == TOTALS
    assert Totals.of([]) == Totals(macs=0, image_macs=0, outputs=0, neurons=0)


def test_an_ann_costs_its_macs() -> None:
    assert Pricing(CONSTANTS).ann_joules(TOTALS) == pytest.approx(1150 * 4.6e-12, rel=1e-15)


def test_an_snn_costs_its_sops_and_the_macs_on_the_image_once() -> None:
    pricing = Pricing(CONSTANTS)
    assert pricing.snn_joules(TOTALS, 4, 0, 0) == pytest.approx(460e-12)
    assert pricing.snn_joules(TOTALS, 4, 200, 40) == pytest.approx((460 + 180) * 1e-12)


def test_memory_traffic_counts_every_access() -> None:
    pricing = Pricing(CONSTANTS, memory_traffic=True)
    assert pricing.ann_joules(TOTALS) == pytest.approx((1150 * 4.6 + 5 * (2 * 1150 + 35)) * 1e-12)
    found = pricing.snn_joules(TOTALS, 4, 200, 40)
    accesses = 2 * 100 + 3 * 200 + 2 * 30 * 4 + 2 * 40
    assert found == pytest.approx((460 + 180 + 5 * accesses) * 1e-12)
    waiting = Totals.of([replace(layer, waits=3 * layer.neurons) for layer in LAYERS])
    later = pricing.snn_joules(waiting, 4, 200, 40)
    assert later - found == pytest.approx(5 * 2 * 30 * 3 * 1e-12)  # 30 potentials, 3 steps more


@pytest.mark.parametrize(("memory_traffic", "of_a_mac"), [(False, 4.6), (True, 4.6 + 5 * 2)])
@pytest.mark.parametrize("t", [1, 4])
def test_the_image_in_every_step_costs_its_macs_in_every_step(t: int, memory_traffic: bool, of_a_mac: float) -> None:
    counts = operation_counts([torch.ones(2, 1, 1, t, dtype=torch.float64)], [t])[t]
    spent = Pricing(CONSTANTS, memory_traffic).spent(TOTALS, t, counts)
    more = (t - 1) * 100 * of_a_mac * 1e-12
    assert spent.joules_image_every_step - spent.joules == pytest.approx(more, abs=1e-20)


# --- over images --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6)), min_size=1, max_size=6), st.booleans())
def test_joules_are_those_of_every_image(images: list[tuple[int, int]], memory_traffic: bool) -> None:
    """Mean and deviation from moments, against those of the joules of each image."""
    pricing = Pricing(CONSTANTS, memory_traffic)
    batches = [torch.tensor(image, dtype=torch.float64).view(2, 1, 1, 1) for image in images]
    spent = pricing.spent(TOTALS, 1, operation_counts(batches, [1])[1])
    joules = np.array([pricing.snn_joules(TOTALS, 1, sops, spikes) for sops, spikes in images])
    assert spent.joules == pytest.approx(joules.mean(), rel=1e-12)
    deviation = joules.std(ddof=1) if len(images) > 1 else 0.0
    # Relative to the numbers themselves, not to their spread: that is what float64 can keep.
    assert spent.joules_std == pytest.approx(deviation, rel=1e-6, abs=1e-7 * joules.max())


def test_counts_by_hand() -> None:
    """Two steps, three images in two batches; SOPs of the hidden layer and the read-out, spikes of the first two."""
    first_two = [[[[0, 0], [0, 0]], [[10, 30], [50, 50]], [[0, 0], [0, 20]]],
                 [[[1, 3], [5, 5]], [[0, 0], [0, 2]], [[0, 0], [0, 0]]]]  # fmt: skip
    third = [[[[0], [0]], [[20], [0]], [[0], [10]]], [[[2], [0]], [[0], [1]], [[0], [0]]]]
    counts = operation_counts([torch.tensor(batch, dtype=torch.float64) for batch in (first_two, third)], [1, 2])
    first, second = (Pricing(CONSTANTS).spent(TOTALS, t, counts[t]) for t in (1, 2))
    assert (first.sops, first.sops_std, first.spikes) == pytest.approx((20, 10, 2))
    assert first.firing_rate == pytest.approx(2 / 30)
    assert first.joules == pytest.approx((460 + 0.9 * 20) * 1e-12)
    assert first.joules_std == pytest.approx(9e-12)
    assert first.joules_image_every_step == first.joules
    assert second.sops == pytest.approx((60 + 100 + 30) / 3) and second.spikes == pytest.approx((6 + 10 + 3) / 3)
    assert second.joules_image_every_step - second.joules == pytest.approx(460e-12)
    assert counts[1].layers == ()
    stem, hidden, out = counts[2].layers
    assert stem.sops == (0, 0) and stem.spikes == pytest.approx((2, 10 / 3))
    assert hidden.sops == pytest.approx((20, 100 / 3))
    assert hidden.sops_std == pytest.approx((10, (2500 / 3) ** 0.5))
    assert hidden.spikes_std == pytest.approx((0, 1)) and hidden.total_sops_std == pytest.approx((2800 / 3) ** 0.5)
    assert out.sops == pytest.approx((0, 10)) and out.spikes == (0, 0)
    costs = Measured({}, 64, LAYERS, counts).layer_costs()
    assert [(cost.layer, cost.image_macs, cost.macs_inside) for cost in costs] == [
        ("stem", 100, 90), ("hidden", 0, 800), ("out", 0, 50),
    ]  # fmt: skip
    assert costs[1].sops == hidden.sops


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_counts_the_same(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits, also where one process has no batch."""
    batches = list(torch.rand(11, 2, 3, 4, dtype=torch.float64).movedim(0, -1).split(4, -1))
    alone = operation_counts(batches, [2, 4])
    sent: list[Any] = []
    monkeypatch.setattr("spikedet.costs.counts.gather_arrays", lambda arrays: [sent.append(arrays) or arrays])
    monkeypatch.setattr("spikedet.costs.counts.interleave", lambda shares: batches)
    for rank in range(processes):
        operation_counts(batches[rank::processes], [4])
    monkeypatch.undo()
    monkeypatch.setattr("spikedet.costs.counts.gather_arrays", lambda arrays: sent)
    found = operation_counts(batches[::processes], [2, 4])
    assert found == alone


def test_counts_come_back_from_json() -> None:
    counts = operation_counts([torch.rand(2, 3, 4, 5, dtype=torch.float64)], [2, 4])
    for one in counts.values():
        assert typed(OperationCounts, json.dumps(asdict(one)), "a", DataError) == one


@pytest.mark.parametrize("damage", [None, 3, {}, {"sops": "1"}, {"spikes": float("nan")}, {"layers": [{}]}], ids=str)
def test_counts_that_are_not_whole(damage: Any) -> None:
    whole = asdict(operation_counts([torch.ones(2, 1, 1, 2, dtype=torch.float64)], [1])[1])
    content = {**whole, **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(DataError, match=r"^a: "):
        typed(OperationCounts, json.dumps(content), "a", DataError)


# --- tables of constants --------------------------------------------------------------------------------------------


def test_the_tables_that_ship() -> None:
    assert (load_constants("45nm_float").mac_pj, load_constants("45nm_float").ac_pj) == (4.6, 0.9)
    assert (load_constants("45nm_int8").mac_pj, load_constants("45nm_int8").ac_pj) == (0.23, 0.03)
    assert (load_constants("45nm_int8_sum32").mac_pj, load_constants("45nm_int8_sum32").ac_pj) == (0.3, 0.1)
    assert all("ISSCC 2014" in load_constants(name).source for name in ("45nm_float", "45nm_int8", "45nm_int8_sum32"))


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "chip.yaml"
    path.write_text("name: chip\nsource: its data sheet\nmac_pj: 1\nac_pj: 0.077\n", "utf-8")
    assert load_constants(str(path)) == EnergyConstants(name="chip", source="its data sheet", mac_pj=1, ac_pj=0.077)
    with pytest.raises(ConfigError, match=r"chip.yaml: it has no model of memory traffic; add memory: to it"):
        load_constants(str(path), memory_traffic=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nsource: b\nmac_pj: 1\n", "ac_pj must be a number from 0 to 1e.12, got None"),
        ("name: a\nsource: b\nmac_pj: 1\nac_pj: -1\n", "ac_pj must be a number from 0 to 1e.12, got -1"),
        ("name: a\nsource: b\nmac_pj: .inf\nac_pj: 1\n", "mac_pj must be a number from 0 to 1e.12, got inf"),
        ("name: a\nsource: b\nmac_pj: .nan\nac_pj: 1\n", "mac_pj must be a number"),
        ("name: a\nsource: b\nmac_pj: yes\nac_pj: 1\n", "mac_pj must be a number"),
        ("name: a\nmac_pj: 1\nac_pj: 1\n", "source must be a text"),
        ("name: a\nsource: b\nmac_pj: 1\nac_pj: 1\npJ: 3\n", "unknown key 'pJ'; known keys are name"),
        ("name: a\nsource: b\nmac_pj: 1\nac_pj: 1\nmemory: {access_pj: 1}\n", "memory: source must be a text"),
        ("name: a\nsource: b\nmac_pj: 1\nac_pj: 1\nmemory: 3\n", "memory: expected a mapping"),
        ("- 1\n", "expected a mapping with name"),
        ("", "expected a mapping with name"),
        ("a: [", "not readable as YAML"),
        (
            f"name: a\nsource: b\nmac_pj: 1{'0' * 400}\nac_pj: 1\n",
            "mac_pj must be a number from 0 to 1e.12, got a huge",
        ),
    ],
)
def test_tables_that_are_not_whole(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said) as raised:
        load_constants(str(path))
    assert str(raised.value).startswith(str(path))


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"'7nm' not found; expected one of 45nm_float, 45nm_int8, .* or the path"):
        load_constants("7nm")
