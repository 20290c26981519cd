"""Libraries kept off the network and out of the home folder."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from spikedet.common.files import private_folder

TORCHRUN = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
"""Variables by which torchrun says how many processes there are and which one this is."""


def quiet_ultralytics() -> None:
    """Keep ultralytics and albumentations off the network and out of the home folder. Idempotent.

    Must run before the first ``import ultralytics``; ``spikedet/__init__.py`` calls it.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    with suppress(OSError):  # no temporary folder: the command line says so, and --help needs none
        if "YOLO_CONFIG_DIR" not in os.environ:
            os.environ["YOLO_CONFIG_DIR"] = str(private_folder())
        if os.path.expanduser("~") == "~":  # a user without a name and HOME, as in a container; libraries ask for it
            os.environ["HOME"] = str(private_folder())
    for name in TORCHRUN:  # ultralytics reads numbers from them, whatever they hold
        if os.environ.get(name) == "":
            del os.environ[name]
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
