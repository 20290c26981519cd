"""The whole pipeline through the command line, run twice from the same seed in two folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_detector import write_model_yaml

from spikedet.cli.main import main

DATA = "synthetic:train=12,val=4,test=4,size=64"


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders in which the same commands were run; not to be changed."""
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    for folder in folders:
        with working_in(folder):
            run_pipeline()
    return folders


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The current folder, for fixtures that outlive one test (``monkeypatch.chdir`` does not)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_pipeline() -> None:
    """train -> convert --finetune --calibrate --joint -> evaluate -> detect, in the current folder."""
    write_model_yaml(Path("tiny.yaml"))
    Path("stage.yaml").write_text(f"data: '{DATA}'\nimage_size: 64\nepochs: 2\nbatch: 4\nwarmup_epochs: 0\n", "utf-8")
    images = "runs/data/synthetic-v1-64x64-12-4-4-seed0/JPEGImages"
    commands = (
        "train --config stage.yaml --model tiny.yaml --held-out 0.25 --out run",
        "convert run/ann.safetensors --T 4 --finetune --finetune-epochs 1 --calibrate --images 6 --epochs 1"
        " --joint --joint-epochs 2",
        "evaluate run --split test --t 2,4 --draws 20 --out results",
        f"detect {images} --weights run/joint.safetensors --t 2,4 --confidence 0.0001 --out boxes",
    )
    for command in commands:
        assert main(command.split()) == 0, command
