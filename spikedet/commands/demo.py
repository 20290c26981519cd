"""See it: detections growing with time, on a web page."""

from __future__ import annotations

from spikedet.config import DemoConfig
from spikedet.demo.page import serve
from spikedet.demo.window import open_window


def demo(config: DemoConfig) -> None:
    """Serve the web page, or open the window. Raises as ``page.serve`` and ``window.open_window``."""
    (open_window if config.window else serve)(config)
