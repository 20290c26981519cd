"""Every command is a function in Python: settings as keywords, lists and paths as they are, nothing printed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from tiny_detector import chain, same, sample_images

import spikedet
from spikedet import ConvertConfig, EvaluateConfig, SpikingDetector, convert, energy, evaluate
from spikedet.checkpoint import load_checkpoint
from spikedet.commands import COMMANDS, python_function
from spikedet.common.errors import ConfigError, DataError
from spikedet.conversion import load_spiking
from spikedet.data import load_dataset
from spikedet.inference.network import load_network

pytestmark = pytest.mark.slow


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Configurations that ``convert`` and ``evaluate`` are called with; nothing is read or computed."""
    made: list[Any] = []
    monkeypatch.setattr("spikedet.checkpoint.metadata.require_there", lambda *_, **__: None)
    for name in ("convert", "evaluate"):
        monkeypatch.setattr(f"spikedet.commands.{name}.{name}", made.append)
    return made


def test_settings_are_keywords(tmp_path: Path, given: list[Any]) -> None:
    convert("a.safetensors", T=8, finetune=True, out=tmp_path / "new")
    assert given == [ConvertConfig(checkpoint="a.safetensors", T=8, finetune=True, out=str(tmp_path / "new"))]


def test_a_configuration_and_changes_of_it(tmp_path: Path, given: list[Any]) -> None:
    config = ConvertConfig(checkpoint="a.safetensors", T=8, out=str(tmp_path))
    convert(config, T=4)
    assert (given[0].T, config.T) == (4, 8)


def test_lists_and_paths_are_taken_as_they_are(tmp_path: Path, given: list[Any]) -> None:
    evaluate([tmp_path / "a", "b"], t=[2, 4, 8], out=tmp_path)
    evaluate("a", t=range(1, 3), out=tmp_path)
    assert given[0] == EvaluateConfig(checkpoints=(str(tmp_path / "a"), "b"), t="2,4,8", out=str(tmp_path))
    assert (given[1].checkpoints, given[1].t) == (("a",), "1,2")


def test_names_of_shipped_weights_are_files(tmp_path: Path, given: list[Any]) -> None:
    evaluate("tiny-yolo-csp-voc-t8", out=tmp_path)
    assert Path(given[0].checkpoints[0]).name == "tiny-yolo-csp-voc-t8.safetensors"


def test_a_dataset_and_networks_stand_for_their_paths(tmp_path: Path) -> None:
    """The very rows of the files, and no file is written but those of the evaluation."""
    dataset = load_dataset(sample_images(), "test")
    files = [chain()["ann"], chain()["qc"], chain()["fine"]]
    networks = [SpikingDetector.load(files[0]), load_network(files[1]), SpikingDetector(*load_spiking(files[2]))]
    before = evaluate(files, data=sample_images(), split="test", t=[2, 4], draws=5, out=tmp_path / "a")
    after = evaluate(networks, data=dataset, t=[2, 4], draws=5, out=tmp_path / "b")
    known = {(row.stage, row.finetuned, row.t): row for row in before}
    assert [(row.stage, row.t) for row in after if row.stage == "fine"] == [("fine", 2), ("fine", 4)]
    for row in after:
        same = known[row.stage, row.finetuned, row.t]
        names = ("AP", "AP50", "spikes_per_image", "operations", "data", "split", "images", "parent")
        assert [getattr(row, name) for name in names] == [getattr(same, name) for name in names]
    meta = json.loads((tmp_path / "b" / "results.json").read_text("utf-8"))["meta"]
    assert meta["config"]["data"] == dataset.name and meta["config"]["split"] == "test"


def test_energy_of_a_network_in_memory(tmp_path: Path) -> None:
    dataset = load_dataset(sample_images(), "test")
    of_file = energy(chain()["fine"], data=dataset, limit=2, out=tmp_path / "a")
    of_network = energy(SpikingDetector.load(chain()["fine"]), data=dataset, limit=2, out=tmp_path / "b")
    assert [row.spent for row in of_file.rows] == [row.spent for row in of_network.rows]
    assert None not in [row.AP for row in of_network.rows]
    assert [row.macs for row in energy(load_network(chain()["qc"]), out=tmp_path / "c").rows] == [
        row.macs for row in of_file.rows if row.spent is None and row.network != "clip ANN after Stage I"
    ]


def test_detect_takes_a_network_in_memory(tmp_path: Path) -> None:
    image = load_dataset(sample_images(), "test").samples[0].image_path
    found = [
        spikedet.detect(image, weights=weights, confidence=0.01, out=tmp_path / str(index)).read_text("utf-8")
        for index, weights in enumerate((chain()["fine"], SpikingDetector.load(chain()["fine"])))
    ]
    assert found[0] == found[1] and "score" in found[0]


def test_calibration_on_a_dataset_in_memory(tmp_path: Path) -> None:
    how: dict[str, Any] = {"images": 4, "fine": False}
    dataset = load_dataset(sample_images(), "train")
    of_folder, of_dataset = (
        load_checkpoint(spikedet.calibrate(chain()["copied"], data=data, out=tmp_path / str(index), **how)[0])
        for index, data in enumerate((sample_images(), dataset))
    )
    assert same(of_folder[0], of_dataset[0])
    assert of_folder[1].notes["calibration"] == of_dataset[1].notes["calibration"]


def test_other_classes_than_the_networks_are_said(tmp_path: Path) -> None:
    dataset = dataclasses.replace(load_dataset(sample_images(), "test"), class_names=("a", "b"))
    with pytest.raises(DataError, match="class 'a' is unknown; the network knows circle"):
        evaluate(chain()["ann"], data=dataset, out=tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convert(SpikingDetector.load(chain()["ann"])), "checkpoint: expected a path or a text, got a Spiking"),
        (lambda: evaluate(load_spiking(chain()["fine"])[0]), "checkpoints: expected a path or a text, got a Spiking"),
        (lambda: SpikingDetector(load_spiking(chain()["fine"])[0]), "give its CheckpointMeta too"),
        (lambda: convert("a", Tee=8), "ConvertConfig has no setting 'Tee'; it has "),
        (lambda: convert(T=8), "ConvertConfig needs 'checkpoint'"),
        (lambda: convert("a", T=0), "--T must be between 1 and 32767, got 0"),
        (lambda: spikedet.train("mydata"), "train takes a TrainConfig or keyword arguments, got 'mydata'"),
    ],
)
def test_what_cannot_be_meant_is_named(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_function_with_its_documentation(name: str) -> None:
    assert python_function(name).__doc__


@pytest.mark.parametrize("name", spikedet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(spikedet, name).__doc__


def test_functions_keep_their_names_after_every_module_was_imported() -> None:
    """A package of the same name would take the function's place once something imports it."""
    for module in pkgutil.iter_modules(spikedet.__path__):
        if module.name != "__main__":
            importlib.import_module(f"spikedet.{module.name}")
    assert all(callable(getattr(spikedet, name)) for name in spikedet.__all__)


def test_the_library_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("spikedet")
    handlers, logger.handlers = logger.handlers, []
    try:
        written = convert(chain()["ann"], T=2, data=sample_images(), theta_images=2, out=tmp_path)
    finally:
        logger.handlers = handlers
    assert written[-1] == tmp_path / "copied.safetensors"
    assert capsys.readouterr().out == ""
