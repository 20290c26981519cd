"""Every command is a function in Python: settings as keywords, lists and paths as they are, nothing printed."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_detector import chain, sample_images

import spikedet
from spikedet import ConvertConfig, EvaluateConfig, convert, evaluate
from spikedet.commands import COMMANDS, python_function
from spikedet.common.errors import ConfigError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Configurations that ``convert`` and ``evaluate`` are called with; nothing is computed."""
    made: list[Any] = []
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
    evaluate("tiny-yolo-voc-t8", out=tmp_path)
    assert Path(given[0].checkpoints[0]).name == "tiny-yolo-voc-t8.safetensors"


@pytest.mark.parametrize(
    ("call", "message"),
    [
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
    code = "import pkgutil, importlib, spikedet\n"
    code += "names = [m.name for m in pkgutil.iter_modules(spikedet.__path__) if m.name != '__main__']\n"
    code += "for name in names: importlib.import_module(f'spikedet.{name}')\n"
    code += "print(all(callable(getattr(spikedet, name)) for name in spikedet.__all__))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "True\n"


def test_the_library_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("spikedet")
    handlers, logger.handlers = logger.handlers, []
    try:
        written = convert(chain()["ann"], T=2, data=sample_images(), theta_images=2, out=tmp_path)
    finally:
        logger.handlers = handlers
    assert written[-1] == tmp_path / "copied.safetensors"
    assert capsys.readouterr().out == ""
