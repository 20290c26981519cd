#!/usr/bin/env python3
"""The web page in headless Chromium: time to the first boxes, the slider, and minutes of webcam.

    python benchmarks/page.py [--weights NETWORK] [--webcam-weights NETWORK] [--minutes 5] [--mode exact]

Frames and memory are noted every five seconds; the server's memory is its resident set. ``--screenshot FILE`` keeps the
page as it was with the first boxes; ``--minutes 0`` leaves the webcam out. Needs playwright and Chromium.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from browser import chromium, served

from spikedet.common.resources import sample_images
from spikedet.data.images import read_image

WAIT_MS = 120_000
PAUSE_S = 5
VIEWPORT = {"width": 1300, "height": 1000}

MOVED = """(move) => {
  const slider = document.querySelector(".growing .clock input");
  const start = performance.now();
  slider.value = move % (Number(slider.max) + 1);
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelector(".growing .row").getBoundingClientRect();
  return performance.now() - start;
}"""
ASKED = """() => performance.getEntriesByType("resource").length"""
WEBCAM = """() => {
  const shown = document.querySelector("#webcam[data-fps], #webcam [data-fps]");
  return shown ? { ...shown.dataset, words: document.querySelector(".webcam .status").textContent } : null;
}"""


@dataclass(frozen=True)
class Sample:
    """The webcam tab at one moment."""

    fps: float
    lag_ms: float
    memory_mib: float


def memory_mib(process: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def watch(page: Any, process: int, minutes: float) -> tuple[list[Sample], str]:
    """Start the camera and note how it goes; what the page says at the end."""
    page.get_by_role("tab", name="Webcam").click()
    page.locator(".webcam button").click()
    page.wait_for_function(f"() => Number(({WEBCAM})()?.fps) > 0", timeout=WAIT_MS)
    samples, end = [], time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        page.wait_for_timeout(1000 * PAUSE_S)
        said = page.evaluate(WEBCAM)
        samples.append(Sample(float(said["fps"]), float(said["lag"]), memory_mib(process)))
    return samples, str(page.evaluate(WEBCAM)["words"])


def webcam_rows(samples: list[Sample]) -> list[tuple[str, str]]:
    """What the minutes of webcam say, in words."""
    third = max(1, len(samples) // 3)
    early, late = (statistics.mean(s.memory_mib for s in part) for part in (samples[:third], samples[-third:]))
    rates, lags = [s.fps for s in samples], [s.lag_ms for s in samples]
    return [
        ("webcam: frames a second, median and least", f"{statistics.median(rates):.1f}, {min(rates):.1f}"),
        ("webcam: lag, median and most", f"{statistics.median(lags):.0f} ms, {max(lags):.0f} ms"),
        ("webcam: lag at the end", f"{lags[-1]:.0f} ms"),
        ("server's memory, first and last third", f"{early:.0f} MiB, {late:.0f} MiB"),
    ]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="as in spikedet demo; those that ship unless given")
    parser.add_argument("--webcam-weights", default="")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--mode", default="exact")
    parser.add_argument("--screenshot", type=Path)
    arguments = parser.parse_args()
    named = {"--weights": arguments.weights, "--webcam-weights": arguments.webcam_weights, "--mode": arguments.mode}
    flags = [word for flag, value in named.items() if value for word in (flag, value)]
    frames = [cv2.resize(read_image(path), (640, 480)) for path in sample_images()]
    with tempfile.TemporaryDirectory() as folder, chromium(frames, Path(folder)) as browser:
        started = time.monotonic()
        with served(flags, Path(folder)) as (url, server):
            page = browser.new_context(viewport=VIEWPORT).new_page()
            page.goto(url, wait_until="domcontentloaded")
            page.locator(".growing img:visible").first.wait_for(timeout=WAIT_MS)
            first_s = time.monotonic() - started
            if arguments.screenshot:
                page.screenshot(path=arguments.screenshot)
            before = page.evaluate(ASKED)
            moves = [page.evaluate(MOVED, move) for move in range(20)]
            asked = page.evaluate(ASKED) - before
            rows = [
                ("from the command to the first boxes", f"{first_s:.1f} s"),
                ("slider: slowest of 20 moves", f"{max(moves):.1f} ms"),
                ("slider: requests to the server", f"{asked}"),
            ]
            if arguments.minutes:
                samples, words = watch(page, server.pid, arguments.minutes)
                rows += webcam_rows(samples)
                print(f"{arguments.minutes:g} minutes of webcam; at the end: {words}\n")
    print("| what | measured |\n| --- | ---: |")
    print("\n".join(f"| {name} | {value} |" for name, value in rows))


if __name__ == "__main__":
    main()
