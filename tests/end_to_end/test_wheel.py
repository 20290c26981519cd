"""The wheel, away from its checkout: boxes on an image with no argument but the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spikedet.common.resources import sample_images
from spikedet.config import DEFAULT_WEIGHTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("spikedet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_detect_needs_a_image_and_nothing_else(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    image = next(path for path in sample_images() if path.stem == "bus")
    where = "import spikedet; print(spikedet.__file__)"
    run = [
        subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        for words in (["-c", where], ["-m", "spikedet", "detect", str(image)])
    ]
    assert run[0].stdout.startswith(str(installed)), run[0].stderr
    assert run[1].returncode == 0, run[1].stderr
    found = json.loads((tmp_path / "runs/detect/detections.json").read_text(encoding="utf-8"))
    (by_step,) = found.values()
    (boxes,) = by_step.values()
    assert {"bus", "person"} & {box["class"] for box in boxes}
    assert (tmp_path / "runs/detect/bus.png").is_file()
    assert (installed / f"spikedet/_data/weights/{DEFAULT_WEIGHTS}.md").is_file()
