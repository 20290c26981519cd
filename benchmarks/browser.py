"""The web page as a visitor meets it: a server process, and headless Chromium whose camera plays images."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
START_S = 120


@contextmanager
def served(arguments: Sequence[str], temporary: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running ``spikedet demo``: its address and its process. ``temporary`` takes what is uploaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "spikedet", "demo", *arguments, "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{port}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxies the environment names
    try:
        for _ in range(10 * START_S):
            with contextlib.suppress(OSError):
                direct.open(url, timeout=1).close()
                break
            if server.poll() is not None:
                raise RuntimeError(f"the page has not started: {server.communicate()[0]}")
            time.sleep(0.1)
        yield url, server
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def chromium(frames_rgb: Sequence[npt.NDArray[np.uint8]], temporary: Path) -> Iterator[Any]:
    """Chromium, started by playwright; its camera plays the frames ``[H, W, 3]`` over and over."""
    from playwright.sync_api import sync_playwright

    camera = temporary / "camera.mjpeg"
    camera.write_bytes(b"".join(cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for frame in frames_rgb))
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        )
        yield started
        started.close()
