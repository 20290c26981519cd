"""Libraries kept off the network and out of the home folder."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path


def quiet_ultralytics() -> None:
    """Keep ultralytics and albumentations off the network and out of the home folder. Idempotent.

    Must run before the first ``import ultralytics``; ``spikedet/__init__.py`` calls it.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        folder = Path(tempfile.gettempdir()) / f"spikedet-{user}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
