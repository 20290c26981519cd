"""Configurations as command-line flags and YAML files."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from spikedet import config as configs
from spikedet.cli.arguments import documentation, make_parser, parse_config
from spikedet.commands import COMMANDS
from spikedet.common.errors import ConfigError
from spikedet.config import (
    CalibrateConfig,
    ConvertConfig,
    DetectConfig,
    EvaluateConfig,
    FinetuneConfig,
    PublishConfig,
    QuickstartConfig,
    TrainConfig,
)

KINDS = [(name, getattr(configs, verb.config), verb.positional) for name, verb in COMMANDS.items()]
every_verb = pytest.mark.parametrize(("name", "kind", "positional"), KINDS, ids=COMMANDS)


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


VALUES = {"to": "voc"}
"""Where any text will not do."""


def least(kind: type, positional: str | None) -> list[str]:
    """The shortest command line."""
    words = []
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            value = VALUES.get(field.name, "given")
            words += [value] if field.name == positional else [f"--{field.name}", value]
    return words


# --- documentation --------------------------------------------------------------------------------------------------


@every_verb
def test_every_field_has_a_help_text(name: str, kind: Any, positional: str | None) -> None:
    summary, helps = documentation(kind)
    assert summary
    assert [field.name for field in dataclasses.fields(kind) if len(helps.get(field.name, "")) < 3] == []


@every_verb
def test_help_shows_every_field_and_its_text(name: str, kind: Any, positional: str | None) -> None:
    summary, helps = documentation(kind)
    shown = make_parser(kind, name, positional).format_help()
    assert f"spikedet {name}" in shown
    run_together = "".join(shown.split())  # lines are wrapped at spaces, and after hyphens
    assert "".join(summary.split(":")[0].split()) in run_together
    for field in dataclasses.fields(kind):
        without = field.name == positional or field.name in kind.file_only.split()
        flag = field.name if without else f"--{field.name.replace('_', '-')}"
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", shown), flag
        assert "".join(helps[field.name].rstrip(".").split()) in run_together


def test_a_field_declared_anew_is_explained_anew() -> None:
    _, helps = documentation(FinetuneConfig)
    assert "empty takes the checkpoint's" in helps["data"]
    assert helps["lr"] == documentation(TrainConfig)[1]["lr"]


# --- values ---------------------------------------------------------------------------------------------------------


@every_verb
def test_defaults_are_the_dataclass_s(name: str, kind: Any, positional: str | None) -> None:
    made = parse_config(kind, name, positional, least(kind, positional))
    given = {
        field.name: ("given",) if field.name == "checkpoints" else VALUES.get(field.name, "given")
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING
    }
    assert made == kind(**given)


@pytest.mark.parametrize(
    ("kind", "positional", "words", "name", "value"),
    [
        (TrainConfig, None, ["--epochs", "7"], "epochs", 7),
        (TrainConfig, None, ["--lr", "2e-3"], "lr", 0.002),
        (TrainConfig, None, ["--lr=0.5"], "lr", 0.5),
        (TrainConfig, None, ["--data", "synthetic:train=12,val=4,test=4"], "data", "synthetic:train=12,val=4,test=4"),
        (TrainConfig, None, ["--split", "VOC2007/train+VOC2012/train"], "split", "VOC2007/train+VOC2012/train"),
        (TrainConfig, None, ["--precision", "fp32"], "precision", "fp32"),
        (ConvertConfig, "checkpoint", ["a", "--T", "4"], "T", 4),
        (ConvertConfig, "checkpoint", ["a"], "T", None),
        (ConvertConfig, "checkpoint", ["a", "--neuron", "signed"], "neuron", "signed"),
        (ConvertConfig, "checkpoint", ["--T", "4", "a"], "checkpoint", "a"),
        (DetectConfig, "source", ["a", "--weights", "b", "--t", "4"], "t", "4"),
        (DetectConfig, "source", ["a", "--weights", "b", "--t", "2,4"], "t", "2,4"),
        (DetectConfig, "source", ["7", "a.jpg", "--weights", "b"], "source", ("7", "a.jpg")),
        (EvaluateConfig, "checkpoints", ["a"], "checkpoints", ("a",)),
        (EvaluateConfig, "checkpoints", ["a", "b", "--limit", "3"], "checkpoints", ("a", "b")),
        (EvaluateConfig, "checkpoints", ["--limit", "3", "a", "b"], "limit", 3),
    ],
)
def test_values(kind: Any, positional: str | None, words: list[str], name: str, value: Any) -> None:
    found = getattr(parse_config(kind, "verb", positional, words), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TrainConfig, "strict"),
        (TrainConfig, "resume"),
        (ConvertConfig, "finetune"),
        (ConvertConfig, "calibrate"),
        (CalibrateConfig, "fine"),
        (CalibrateConfig, "resume"),
    ],
)
def test_switches_go_on_and_off(kind: Any, name: str) -> None:
    positional, words = ("checkpoint", ["a"]) if kind is not TrainConfig else (None, [])
    flag = name.replace("_", "-")
    assert getattr(parse_config(kind, "verb", positional, [*words, f"--{flag}"]), name) is True
    assert getattr(parse_config(kind, "verb", positional, [*words, f"--no-{flag}"]), name) is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "many"], "epochs"),
        (["--epochs", "1.5"], "epochs"),
        (["--lr", "fast"], "lr"),
        (["--precision", "fp64"], "precision"),
        (["--no-such-flag"], "no-such-flag"),
        (["too", "many"], "too"),
    ],
)
def test_values_of_another_kind_end_with_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_config(TrainConfig, "train", None, words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        (TrainConfig, ["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
        (TrainConfig, ["--datta=x"], "unrecognized arguments: --datta=x; did you mean --data?"),
        (TrainConfig, ["--image_size", "64"], "did you mean --image-size?"),
        (TrainConfig, ["--warmup-epoch", "1"], "did you mean --warmup-epochs?"),
        (ConvertConfig, ["a", "--t", "8"], "unrecognized arguments: --t 8; did you mean --T?"),
        (TrainConfig, ["--xyz", "8"], "unrecognized arguments: --xyz 8"),
    ],
    ids=str,
)
def test_a_flag_that_is_almost_one(kind: Any, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is the last line on the screen."""
    with pytest.raises(SystemExit):
        parse_config(kind, "verb", "checkpoint" if kind is ConvertConfig else None, words)
    assert capsys.readouterr().err.rstrip().endswith(said)


def test_a_key_that_is_almost_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_config(TrainConfig, "train", None, ["--config", yaml_file(tmp_path, "image-sise: 64\n")])
    assert capsys.readouterr().err.rstrip().endswith("Option 'image-sise' is not accepted; did you mean image_size?")


def test_values_out_of_range_are_our_own_errors() -> None:
    with pytest.raises(ConfigError, match="--image-size must be a multiple of 32 between 32 and 8192, got 100"):
        parse_config(TrainConfig, "train", None, ["--image-size", "100"])
    with pytest.raises(ConfigError, match="--T must be between 1 and 32767, got 0"):
        parse_config(ConvertConfig, "convert", "checkpoint", ["a", "--T", "0"])


@pytest.mark.parametrize(
    ("kind", "verb", "positional", "words", "missing"),
    [
        (ConvertConfig, "convert", "checkpoint", ["--T", "4"], "checkpoint"),
        (EvaluateConfig, "evaluate", "checkpoints", [], "checkpoints"),
        (DetectConfig, "detect", "source", ["--weights", "a"], "source"),
        (PublishConfig, "publish", "checkpoint", ["a"], "--out"),
    ],
)
def test_what_is_missing_is_said(
    kind: Any, verb: str, positional: str | None, words: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=f"^spikedet {verb}: {missing} is missing$"):
        parse_config(kind, verb, positional, words)
    assert f"usage: spikedet {verb}" in capsys.readouterr().err


# --- YAML files -----------------------------------------------------------------------------------------------------


def test_a_file_sets_any_field_and_later_flags_win(tmp_path: Path) -> None:
    file = yaml_file(
        tmp_path, "epochs: 3\nlr: 0.5\nimage_size: 64\nresume: true\nprecision: fp32\nmodel: tiny-yolo-nano\n"
    )
    made = parse_config(TrainConfig, "train", None, ["--config", file, "--epochs", "9"])
    assert (made.epochs, made.lr, made.image_size, made.resume) == (9, 0.5, 64, True)
    assert (made.precision, made.model) == ("fp32", "tiny-yolo-nano")
    assert made.batch == TrainConfig().batch


def test_a_file_beside_a_positional_argument(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "T: 6\nneuron: signed\nfinetune: true\n")
    made = parse_config(ConvertConfig, "convert", "checkpoint", ["a", "--config", file])
    assert (made.checkpoint, made.T, made.neuron, made.finetune) == ("a", 6, "signed", True)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "{}\n")
    assert parse_config(QuickstartConfig, "quickstart", None, ["--config", file]) == QuickstartConfig()


@pytest.mark.parametrize(
    ("text", "named"), [("epoch: 3\n", "epoch"), ("epochs: many\n", "epochs"), ("epochs: 1.5\n", "epochs")]
)
def test_unknown_keys_and_bad_values_end_with_status_2(
    tmp_path: Path, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_config(TrainConfig, "train", None, ["--config", yaml_file(tmp_path, text)])
    assert stopped.value.code == 2
    assert re.search(rf'"?\b{named}\b"?', capsys.readouterr().err.split("error:")[1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping of settings"),
        ("- a\n", "expected a mapping of settings"),
        ("t: [2, 4]\n", "t is one text; write t: '2,4'"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_file_of_another_form_is_one_line(
    tmp_path: Path, text: str, said: str, joined: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    file = yaml_file(tmp_path, text)
    with pytest.raises(SystemExit) as stopped:
        parse_config(EvaluateConfig, "evaluate", "checkpoints", [f"--config={file}"] if joined else ["--config", file])
    assert stopped.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_flags_are_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """``convert --t 8`` would be ``--theta-images 8``."""
    with pytest.raises(SystemExit):
        parse_config(ConvertConfig, "convert", "checkpoint", ["a", "--t", "8"])
    assert "--t" in capsys.readouterr().err


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_config(TrainConfig, "train", None, ["--config", "nowhere.yaml"])
    assert stopped.value.code == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, f"model: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(SystemExit):
        parse_config(TrainConfig, "train", None, ["--config", file])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("kind", "positional", "text", "value"),
    [
        (ConvertConfig, "checkpoint", "checkpoint: a\n", "a"),
        (EvaluateConfig, "checkpoints", "checkpoints: [a, b]\n", ("a", "b")),
        (EvaluateConfig, "checkpoints", "checkpoints: a.safetensors\n", ("a.safetensors",)),
        (DetectConfig, "source", "source: a.jpg\nt: 4\n", ("a.jpg",)),
        (DetectConfig, "source", "source: 0\n", ("0",)),
    ],
)
def test_a_file_sets_the_positional_argument_too(
    tmp_path: Path, kind: Any, positional: str, text: str, value: Any
) -> None:
    made = parse_config(kind, "verb", positional, ["--config", yaml_file(tmp_path, text)])
    assert getattr(made, positional) == value


def test_a_single_time_step_needs_no_quotes_in_a_file(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "t: 4\n")
    assert parse_config(EvaluateConfig, "evaluate", "checkpoints", ["a", "--config", file]).t in (4, "4")


@every_verb
def test_basic_settings_are_settings(name: str, kind: Any, positional: str | None) -> None:
    assert set(kind.basic.split()) <= {field.name for field in dataclasses.fields(kind)}


def test_help_shows_what_most_people_need(capsys: pytest.CaptureFixture[str]) -> None:
    """And the rest on request: a setting that is not shown works all the same."""
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit, match="0"):
            parse_config(TrainConfig, "train", None, [flag])
        shown[flag] = capsys.readouterr().out
    assert "--epochs" in shown["--help"] and "--warmup-epochs" not in shown["--help"]
    assert "--warmup-epochs" in shown["--help-all"]
    without = TrainConfig.file_only.split()
    hidden = len(dataclasses.fields(TrainConfig)) - len(TrainConfig.basic.split()) - len(without)
    assert f"--help-all shows {hidden} more settings" in shown["--help"]
    assert parse_config(TrainConfig, "train", None, ["--warmup-epochs", "1"]).warmup_epochs == 1
    assert "--lr-final" not in shown["--help-all"] and " lr_final: the learning rate" in " ".join(
        shown["--help-all"].split()
    )


@pytest.mark.parametrize("flag", ["--lr-final", "--lr-final=0.5", "--no-train-decays"])
def test_settings_of_files_alone(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They have no flag; the error says where they go, and there they work."""
    with pytest.raises(SystemExit, match="2"):
        parse_config(TrainConfig, "train", None, [flag, "0.5"])
    assert "has no flag: write '" in capsys.readouterr().err
    (tmp_path / "my.yaml").write_text("lr_final: 0.5\n")
    assert parse_config(TrainConfig, "train", None, ["--config", str(tmp_path / "my.yaml")]).lr_final == 0.5


@every_verb
def test_settings_of_files_alone_are_settings(name: str, kind: Any, positional: str | None) -> None:
    names = {field.name for field in dataclasses.fields(kind)} - set(kind.basic.split())
    assert set(kind.file_only.split()) <= names
