"""Two processes under torchrun beside one: the same outputs where the mathematics is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from made_once import made_once
from tiny_detector import write_model_yaml
from unrendered import unrender

from spikedet.checkpoint import load_checkpoint, read_meta
from spikedet.cli.main import main
from spikedet.commands import calibrate
from spikedet.common import distributed
from spikedet.common.errors import ConfigError
from spikedet.config import CalibrateConfig

pytestmark = pytest.mark.slow

DATA = "synthetic:train=12,val=4,test=9,size=64"
WORKER = Path(__file__).with_name("distributed_worker.py")
TRAIN = f"train --data {DATA} --image-size 64 --epochs 1 --batch 4 --warmup-epochs 0 --held-out 0.25"
FINETUNE = "finetune OUT/ann.safetensors --T 4 --epochs 1 --batch 4 --warmup-epochs 0 --held-out 0.25"
CALIBRATE = "calibrate one/copied.safetensors --images 7 --epochs 2 --batch 4"
JOINT = "joint one/copied.safetensors --epochs 3 --batch 4 --held-out 0.25 --precision fp32"
EVALUATE = "evaluate one/coarse.safetensors --split test --t 2,4 --draws 20 --batch 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one``: made by one process; ``two``: by two; ``seen.json``: what the two saw."""
    return made_once(tmp_path_factory, "distributed", run_all)


def run_all(folder: Path) -> None:
    """Every command by one process, then by two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        unrender(patch)
        write_model_yaml(Path("tiny.yaml"))
        one = [
            f"{TRAIN} --model tiny.yaml --out one",
            "convert one/ann.safetensors --T 4",
            f"{CALIBRATE} --out one",
            f"{JOINT} --out one-joint",
            f"{EVALUATE} --out one",
        ]
        for command in one:
            assert main(command.split()) == 0, command
        two = [
            f"{TRAIN} --model tiny.yaml --out two",
            f"{TRAIN} --model tiny.yaml --out two --resume --epochs 2",
            f"{FINETUNE} --out two".replace("OUT", "two"),
            f"{FINETUNE} --out two --method clif --skip-backward 1 --freeze-out linear".replace("OUT", "two"),
            f"{CALIBRATE} --out two",
            f"{CALIBRATE} --out two --resume",
            f"{JOINT} --out two-joint",
            f"{EVALUATE} --out two",
            f"{EVALUATE} --out two --resume",
        ]
        Path("commands.txt").write_text("\n".join(two), "utf-8")
        paths = os.pathsep.join([str(WORKER.parent.parent), str(WORKER.parent)])
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        subprocess.run(
            [*torchrun, str(WORKER), str(folder)], check=True, timeout=300, env={**os.environ, "PYTHONPATH": paths}
        )


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text("utf-8"))
    return found


def test_what_processes_tell_each_other(seen: dict[str, Any]) -> None:
    assert seen["primitives"] == {
        "own": [2, 3],  # the second item of 0, 2 and of 1, 3
        "held_here": [0, 1],  # of 0 and 2, and of 3 and 5: 3 is the second item of the second process
        "sum": 3,
        "first_says": [True, False],
        "any_says": [True, False],
        "gradients": [[1.0, 2.0], [0.0]],
        "copied": 5,
        "gathered": [[0], [0, 1]],
        "gathered_nothing": 2,
    }


def test_alone_everything_is_ones_own() -> None:
    values = torch.tensor([1.0])
    distributed.copy_from_first_([values])
    distributed.barrier()
    assert (distributed.rank(), distributed.size(), distributed.local_rank()) == (0, 1, 0)
    assert distributed.own([4, 5]) == [4, 5]
    assert distributed.held_here([1, 0]) == [1, 0]
    assert distributed.sum_(values).tolist() == [1.0]
    assert (distributed.first_says(True), distributed.any_says(False)) == (True, False)
    assert list(distributed.gather_arrays({})) == [{}]


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_shares_are_put_back_in_order(count: int) -> None:
    items = list(range(count))
    assert distributed.interleave([items[0::3], items[1::3], items[2::3]]) == items


def test_processes_end_a_training_with_the_same_weights(seen: dict[str, Any]) -> None:
    """Thresholds among them; trained, resumed, fine-tuned with quantization noise of each process's own, and C-LIF."""
    assert len(seen["weights"]) == 4
    for first, second in seen["weights"]:
        assert first == second


def test_a_shared_training_goes_on_where_it_was(folder: Path) -> None:
    lines = (folder / "two" / "ann-log.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]
    assert read_meta(folder / "two" / "qc.safetensors").stage == "qc"


def test_coarse_calibration_is_the_same(folder: Path) -> None:
    one, two = (load_checkpoint(folder / n / "coarse.safetensors")[0] for n in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-6)


def test_fine_calibration_differs_by_the_order_of_sums(folder: Path) -> None:
    one, two = (load_checkpoint(folder / n / "fine.safetensors")[0] for n in ("one", "two"))
    copied = load_checkpoint(folder / "one" / "copied.safetensors")[0]
    moved = max(float((one[name] - copied[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved > 1e-3
    assert apart < 1e-2 * moved


def test_joint_calibration_differs_by_the_order_of_sums(folder: Path) -> None:
    (one, meta), (two, other) = (load_checkpoint(folder / f"{n}-joint" / "joint.safetensors") for n in ("one", "two"))
    copied = load_checkpoint(folder / "one" / "copied.safetensors")[0]
    moved = max(float((one[name] - copied[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved > 1e-4
    assert apart < 1e-1 * moved
    assert meta.notes["held_out_losses"] == pytest.approx(other.notes["held_out_losses"], rel=1e-3)


def test_evaluation_is_the_same(folder: Path) -> None:
    def rows(name: str) -> Any:
        return json.loads((folder / name / "results.json").read_text("utf-8"))["rows"]

    assert len(rows("one")) == len(rows("two")) == 5
    assert rows("one") == rows("two")


def test_a_command_of_one_process_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["detect", "nothing.jpg"]) == 1
    assert (
        "one process; under torchrun run one of train, finetune, calibrate, joint, evaluate" in capsys.readouterr().err
    )


def test_more_processes_than_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "size", lambda: 3)
    with pytest.raises(ConfigError, match="2 calibration images for 3 processes"):
        calibrate.calibrate(CalibrateConfig(checkpoint=str(folder / "one" / "copied.safetensors"), images=2))


def test_a_batch_that_cannot_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr("spikedet.training.loop.size", lambda: 3)
    write_model_yaml(tmp_path / "tiny.yaml")
    assert main([*TRAIN.split(), "--model", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run")]) == 1
    assert "--batch 4 cannot be shared by 3 processes" in capsys.readouterr().err
