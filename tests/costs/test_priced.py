"""The energy of an evaluated network, from the file of ``spikedet energy``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spikedet.common.errors import DataError
from spikedet.costs.priced import Priced, priced
from spikedet.evaluation import ResultRow

ROW = ResultRow(
    model="m", stage="joint", finetuned=True, neuron="if", delay=0, T=8, t=8, L=8, data="d", split="s", images=9,
    seed=0, AP=50.0,
)  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "network": "SNN + joint, if",
        "constants": "float",
        "T": 8,
        "t": 8,
        "AP": 50.0,
        "joules": 0.5,
        "ratio": 0.25,
    }
    return {**known, **changes}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    ann = row(network="ANN", T=None, t=None, joules=2.0, ratio=1.0)
    path.write_text(json.dumps({"memory_traffic": False, "rows": [ann, *rows]}), encoding="utf-8")
    return path


def test_no_file_no_energy(tmp_path: Path) -> None:
    assert priced(tmp_path / "energy.json", ROW) is None


@pytest.mark.parametrize(
    "other", [{"t": 4}, {"T": 4, "t": 4}, {"AP": 49.0}, {"constants": "int8"}, {"network": "SNN + joint, signed"}]
)
def test_it_is_the_row_of_the_same_network_under_the_constants_of_the_ann(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    alone = written(tmp_path / "energy.json", row(**other))
    assert priced(alone, ROW) is None
    both = written(tmp_path / "energy.json", row(**other, joules=9.0), row())
    assert priced(both, ROW) == Priced(joules=0.5, ann_joules=2.0, constants="float", memory_traffic=False)


def test_networks_with_more_to_their_names_and_without_ap(tmp_path: Path) -> None:
    path = written(tmp_path / "energy.json", row(network="SNN + joint, if, Stage I T = 4, distilled", AP=None))
    assert priced(path, ROW) is not None
    assert priced(path, replace(ROW, neuron=None)) is None


def test_networks_whose_training_is_in_their_name(tmp_path: Path) -> None:
    sfa = replace(ROW, stage="copied", method="sfa", finetuned=False, AP=None)
    names = ("from scratch, theta fixed", "from scratch", "fine-tuned")
    called = [f"SFA, spikes, if, delay 4, SFA 1 x 4, {name}" for name in names]
    rows = [row(network=name, AP=None, joules=joules) for name, joules in zip(called, (1.0, 2.0, 3.0), strict=True)]
    path = written(tmp_path / "energy.json", *rows)
    for name, joules in (("from scratch, theta fixed", 1.0), ("fine-tuned", 3.0)):
        found = priced(path, replace(sfa, stage1_options=name))
        assert found is not None and found.joules == joules
    assert priced(path, replace(sfa, stage1_options="distilled")) is None
    assert priced(path, replace(sfa, neuron="signed")) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": []}', '{"rows": [3]}', '{"rows": [{"constants": "a"}]}'])
def test_damage_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "energy.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"energy\.json: not written by spikedet energy, or damaged"):
        priced(tmp_path / "energy.json", ROW)
