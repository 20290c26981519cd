"""A folder for what visitors send: private, and removed whatever ends the process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikedet.common.errors import SpikedetError

_KEEPER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
"""Waits for the end of its input, which comes with the end of the server, and removes the folder."""


@contextmanager
def upload_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can open; it is removed when the block ends.

    A small process of its own removes it where the server is killed and cannot.

    Raises:
        SpikedetError: there is no temporary folder that can be written to.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="spikedet-demo-"))
    except OSError as error:
        raise SpikedetError(f"no temporary folder for uploads ({error.strerror}); set TMPDIR to one") from error
    command = [sys.executable, "-I", "-S", "-c", _KEEPER, str(folder)]
    keeper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        keeper.communicate()
