"""The command line: verbs, exit statuses, and errors in one sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from spikedet.cli import main as cli
from spikedet.cli.main import main
from spikedet.cli.preparation import output_folder
from spikedet.commands import COMMANDS
from spikedet.common.errors import CheckpointError, SpikedetError
from spikedet.common.offline import quiet_ultralytics
from spikedet.config import CalibrateConfig, ConvertConfig, ReportConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {
    "train_detector": "train",
    "finetune_detector": "finetune",
    "convert_detector": "convert",
    "calibrate_detector": "calibrate",
    "evaluate_voc": "evaluate",
    "detect": "detect",
}


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]], ids=str)
def test_usage_lists_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    for name, verb in COMMANDS.items():
        assert f"  {name} " in shown
        assert verb.summary in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    assert f"usage: spikedet {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_names_a_function_of_its_configuration(name: str) -> None:
    function = name.replace(" ", "_")
    module = f"spikedet.commands.{function}"
    made = getattr(importlib.import_module(module), function)
    assert made.__annotations__["config"] == COMMANDS[name].config


def no_memory() -> RuntimeError:
    """Torch's own on this machine."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50, dtype=torch.uint8)
    return error.value


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (
            OSError(28, "No space left on device", "/full/log.csv"),
            1,
            "/full/log.csv: No space left on device; make room",
        ),
        (
            PermissionError(13, "Permission denied", "/data/a.yaml"),
            1,
            "/data/a.yaml: Permission denied; it or a folder above it may not be used by you; check their permissions",
        ),
        (MemoryError(), 1, "not enough memory; try a smaller --batch"),
        (no_memory(), 1, "not enough memory; try a smaller --batch"),
        (
            RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
            1,
            "not enough memory; try a smaller --batch",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            1,
            "not enough memory; try a smaller --batch",
        ),
        (KeyboardInterrupt(), 130, "interrupted; what was written is whole"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(
    error: BaseException,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "run", refuse)
    assert main(["train"]) == status
    printed = capsys.readouterr()
    assert sentence in printed.err and len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


def test_other_errors_of_the_system_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(cli, "run", refuse)
    with pytest.raises(OSError, match="Input/output"):
        main(["train"])


def test_other_errors_at_run_time_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")

    monkeypatch.setattr("spikedet.commands.train.train", fail)
    with pytest.raises(RuntimeError, match="size of tensor a"):
        main(["train"])


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly", "--help"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "spikedet: unknown command 'fly'; spikedet --help lists the commands\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data"], "data needs one of: check, convert, download"),
        (["data", "chek"], "data needs one of: check, convert, download; did you mean check?"),
        (["data", "--out", "a"], "data needs one of: check, convert, download"),
        (["convret", "a.pt"], "unknown command 'convret'; did you mean convert?"),
        (["dat", "check", "a"], "unknown command 'dat'; did you mean data check?"),
        (["check", "mydata"], "unknown command 'check'; did you mean data check?"),
    ],
    ids=str,
)
def test_a_verb_that_is_almost_one(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"spikedet: {said}\n"


def test_help_of_a_group_of_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "data download" in shown and "quickstart" not in shown


def test_the_words_of_the_shell_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["spikedet", "fly"])
    assert main() == 2
    assert "'fly'" in capsys.readouterr().err


def test_a_verb_is_parsed_and_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").touch()
    monkeypatch.setattr("spikedet.commands.convert.convert", seen.append)
    assert main(["convert", "a.safetensors", "--T", "4", "--neuron", "signed"]) == 0
    assert [(config.checkpoint, config.T, config.neuron) for config in seen] == [("a.safetensors", 4, "signed")]


@pytest.mark.parametrize("error", [SpikedetError, CheckpointError])
def test_our_errors_are_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[SpikedetError]
) -> None:
    def fail(_: Any) -> None:
        raise error("a.safetensors: no such checkpoint")

    monkeypatch.setattr("spikedet.commands.detect.detect", fail)
    assert main(["detect", "images", "--weights", "a.safetensors"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "spikedet detect: a.safetensors: no such checkpoint\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "nowhere.safetensors"], "nowhere.safetensors: no such checkpoint"),
        (["convert", "nowhere.safetensors", "--T", "0"], "--T must be between 1 and 32767, got 0"),
        (["train", "--model", "nowhere", "--data", "nowhere"], "nowhere: no such dataset"),
        (["detect", "nowhere.jpg", "--weights", "a"], "nowhere.jpg: no such image, video or folder"),
        (["evaluate", "."], "no checkpoint in this folder"),
        (["evaluate", "runs/nope"], "expected a .safetensors file written by spikedet, or a folder of such files"),
        (["convert", "nowhere.pt"], "nowhere.pt: no such checkpoint; expected a .pt file"),
        (["calibrate", "nowhere.safetensors"], "nowhere.safetensors: no such checkpoint"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_errors_of_real_verbs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"spikedet {words[0]}: ")
    assert message in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_missing_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["convert"])
    assert stopped.value.code == "spikedet convert: checkpoint is missing"
    assert "usage: spikedet convert" in capsys.readouterr().err


def test_an_unknown_key_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("colour: red\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(tmp_path / "a.yaml")])
    assert stopped.value.code == 2
    assert "colour" in capsys.readouterr().err


def test_an_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spikedet.commands.train.train", interrupt)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "\nspikedet train: interrupted; what was written is whole\n"


def test_errors_that_are_not_ours_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikedet.commands.train.train", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train"])


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_a_setting_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = "synthetic:train=4,val=1,test=1,size=64"
    assert main(["train", "--data", data, "--model", "tiny-yolo-nano", "--image-size", "64", "--device", device]) == 1


# --- ways to call it ------------------------------------------------------------------------------------------------


def installed() -> str | None:
    try:
        return importlib.metadata.version("spikedet")
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    version = installed()
    if version is None:
        pytest.skip("spikedet is not installed, so it has no metadata")
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"spikedet {version}\n"


@pytest.mark.parametrize(("tool", "verb"), TOOLS.items())
def test_tools_call_their_verbs(
    tool: str, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert f"usage: spikedet {verb}" in capsys.readouterr().out


def test_every_tool_is_among_those_tested() -> None:
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} == set(TOOLS)


def test_tools_pass_on_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["convert_detector.py", "nowhere.safetensors"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools" / "convert_detector.py"), run_name="__main__")
    assert stopped.value.code == 1


def test_the_list_of_verbs_needs_no_ultralytics() -> None:
    """Whoever asks for help waits for the imports."""
    code = "import sys; from spikedet.cli.main import main; main([]); print('ultralytics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert cli.usage() in done.stdout


# --- other people's terminals and environments ------------------------------------------------------------------------


def in_a_shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m spikedet`` where ``spikedet`` stands."""
    command = command.replace("spikedet", f"exec {sys.executable} -m spikedet", 1)
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=300, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_closed_streams() -> None:
    """Without them a file that is opened gets their number, and what libraries print."""
    done = in_a_shell("spikedet convert nowhere.safetensors --T 4 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    done = in_a_shell("spikedet fly <&- >&-")
    assert done.returncode == 2 and done.stderr.startswith(b"spikedet: unknown command 'fly'")


def test_opened_streams_have_their_numbers(tmp_path: Path) -> None:
    code = "import os, sys; from spikedet.cli.messages import prepare_streams; prepare_streams()\n"
    code += f"open({str(tmp_path / 'numbers')!r}, 'w').write(f'{{sys.stdin.fileno()}} {{sys.stderr.fileno()}}')"
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" <&- 2>&-'], cwd=ROOT, timeout=300, check=True)
    assert (tmp_path / "numbers").read_text() == "0 2"


def test_an_output_that_cannot_show_a_character() -> None:
    done = in_a_shell("spikedet fly-\u03b8", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2 and b"'fly-?'" in done.stderr.splitlines()[0]


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
def test_an_environment_of_a_launcher(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spikedet.commands.train.train", lambda _: None)
    monkeypatch.setenv(name, "")
    assert main(["train"]) == 0
    quiet_ultralytics()
    assert name not in os.environ  # ultralytics would read a number
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "two")
    assert main(["train"]) == 1
    assert f"the variable {name} is 'two'; expected a whole number" in capsys.readouterr().err


def test_text_from_files_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file's name may hold what clears a terminal, sets its title or writes from right to left."""
    name = "\x1b]0;mine\x07\x1b[2J\r\x9b\u202egpj.\u2028\udce9.jpg"
    escaped = r"\x1b]0;mine\x07\x1b[2J\r\x9b\u202egpj.\u2028\udce9.jpg"

    def fail(_: Any) -> None:
        logging.getLogger("spikedet").info("first\tcolumn\n%s", name)
        logging.getLogger("spikedet").warning(name)
        raise SpikedetError(f"{name}\nspikedet train: done")

    monkeypatch.setattr(logging.getLogger("spikedet"), "propagate", False)  # pytest's processes exchange UTF-8 alone
    monkeypatch.setattr("spikedet.commands.train.train", fail)
    assert main(["train"]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"first\tcolumn\n{escaped}\n"
    assert printed.err == f"{escaped}\nspikedet train: {escaped}\\nspikedet train: done\n"


# --- one run in one folder --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_into_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is refused, in the first's words of its folder; the first goes on."""
    code = "import sys, spikedet.commands as commands; from spikedet.cli.main import main\n"
    code += "def wait(_): print('begun', flush=True); sys.stdin.read()\n"
    code += "commands.implementation = lambda _: wait; sys.exit(main(['train', '--out', sys.argv[1]]))"
    out = tmp_path / "a" / "b"
    command = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "begun\n"
        assert main(["train", "--out", str(out)]) == 1
        assert capsys.readouterr().err == (
            f"spikedet train: {out}: another run is writing to it; wait for its end, or choose another --out\n"
        )
        assert first.communicate("")[0] == "" and first.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["convert", "nope.safetensors"], ["evaluate", "nope"]], ids=" ".join)
def test_a_missing_checkpoint_is_said_before_a_folder_is_held(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(folder: Path) -> None:
        raise SpikedetError(f"{folder}: another run is writing to it")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spikedet.commands.held", busy)
    assert main([*words, "--out", "runs"]) == 1
    assert f"{words[1]}: no such checkpoint" in capsys.readouterr().err


def test_which_folder_a_command_holds() -> None:
    assert output_folder(TrainConfig(out="a/b")) == Path("a/b")
    assert output_folder(CalibrateConfig(checkpoint="a/b.safetensors")) == Path("a")
    assert output_folder(ConvertConfig(checkpoint="a/b.safetensors", dry_run=True)) is None
    assert output_folder(ReportConfig(run="a", out="a/page.html")) is None
    assert {name for name, command in COMMANDS.items() if not command.alone} == {"demo", "data convert"}
