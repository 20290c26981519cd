"""The documentation's page of own data: its folder trees are those that the tests read, its walk runs."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from foreign_layouts import annotated, described, kangaroo
from layout_writers import write_image

from spikedet.cli.main import main

sys.path.append(str(Path(__file__).parent.parent))

from tiny_detector import sample_images, write_model_yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"


def test_every_tree_of_the_page_is_what_is_read(tmp_path: Path) -> None:
    text = described(tmp_path, write_image(tmp_path / "image.jpg"))
    assert text in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered_plots")
def test_all_steps_on_your_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the walk, with a small network and few epochs."""
    monkeypatch.chdir(tmp_path)
    kangaroo(tmp_path / "mydata", annotated(sample_images()))
    small = {
        "train": ["--model", str(write_model_yaml(tmp_path / "tiny.yaml")), "--weights", "none", "--image-size", "64"],
        "convert": ["--finetune-epochs", "1", "--joint-epochs", "1"],
    }
    small["train"] += ["--epochs", "1"]
    walk = PAGE.read_text(encoding="utf-8").partition("## All steps")[2]
    block = re.search(r"```bash\n(.*?)```", walk, re.DOTALL)
    assert block is not None
    lines = block[1].replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("spikedet")]
    assert [words[0] for words in commands] == ["data", "train", "convert", "evaluate", "detect"]
    for words in commands:
        assert main([*words, *small.get(words[0], [])]) == 0, words
    assert (tmp_path / "runs/mydata/results/table.md").is_file()
    assert (tmp_path / "runs/mydata/boxes/detections.json").is_file()
