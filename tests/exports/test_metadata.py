"""Metadata of exported files: written and read back the same, bad ones refused."""

from __future__ import annotations

import json

import pytest
from tiny_detector import chain

from spikedet.checkpoint import read_meta
from spikedet.common.errors import CheckpointError
from spikedet.exports.metadata import ExportMeta, from_text, output_names, to_text, without_history

pytestmark = pytest.mark.slow


def made(**changes: object) -> ExportMeta:
    values = {"network": without_history(read_meta(chain()["fine"])), "to": "onnx", "strides": (8.0, 16.0)}
    return ExportMeta(**(values | changes))  # type: ignore[arg-type]


def test_metadata_is_read_back_as_it_was() -> None:
    meta = made(steps=(2, 4), thresholds={"model.0": [0.5, 1.25]})
    text = to_text(meta)
    assert from_text(text, "a.onnx") == meta
    assert str(chain().folder.parent) not in text, "no path of this machine"
    assert meta.network.class_names and meta.network.T == 4 and meta.network.stage == "fine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("network"), "missing required field network"),
        (lambda values: values.update(strides=[]), "strides: expected array"),
        (lambda values: values.update(format=99), "format: expected int <= 1"),
        (lambda values: values["network"].update(T="x"), "network.T: expected"),
    ],
)
def test_other_values_are_refused_with_their_place(change: object, message: str) -> None:
    values = json.loads(to_text(made()))
    change(values)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=f"^a.onnx: its metadata is not valid: .*{message}|{message}"):
        from_text(json.dumps(values), "a.onnx")


def test_foreign_and_endless_metadata_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"a\.onnx: not exported by spikedet"):
        from_text(None, "a.onnx")
    with pytest.raises(CheckpointError, match="its metadata has 9000000 bytes; expected at most"):
        from_text(" " * 9_000_000, "a.onnx")


def test_names_of_outputs() -> None:
    raw = ["boxes_0", "classes_0", "boxes_1", "classes_1"]
    assert output_names(made()) == {0: raw}
    assert output_names(made(steps=(2,))) == {2: [*(f"{name}_t2" for name in raw), "spikes_t2"]}
    assert output_names(made(steps=(1, 4), boxes="all")) == {
        1: ["predictions_t1", "spikes_t1"],
        4: ["predictions_t4", "spikes_t4"],
    }
