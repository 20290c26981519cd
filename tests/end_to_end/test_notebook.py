"""The notebook of the documentation runs from its first cell to its last, here on few small images."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
SMALL: dict[str, Any] = {
    "data": "synthetic:train=12,val=4,test=4,size=64",
    "image_size": 64,
    "epochs": 1,
    "finetune_epochs": 1,
    "images": 6,
    "T": 4,
}


def test_the_notebook_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("spikedet"), "level", logging.WARNING)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells)  # nothing of the machine that it was written on
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert names.keys() >= SMALL.keys()
            names |= SMALL
    assert [path.name for path in names["written"]] == [
        f"{stage}.safetensors" for stage in ("qc", "copied", "coarse", "fine", "joint")
    ]
    assert isinstance(names["drawn"], Image.Image) and names["drawn"].size == (64, 64)
    assert list(names["outputs"]) == [2, 4]
    assert "epoch 1/1" in caplog.text  # the progress is shown
    for stage in ("copied", "coarse", "fine", "joint"):
        assert any(row.stage == stage for row in names["rows"])
    assert names["chosen"] in ("copied", "coarse", "fine", "joint")
    assert Path(names["weights"]).is_file()
    assert len(re.findall(r"t = [-\d]+ +AP50:95 +\d", capsys.readouterr().out)) == len(names["rows"])
    assert (tmp_path / "runs" / "notebook" / "results" / "results.json").is_file()
