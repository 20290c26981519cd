"""See it: detections growing with time, on a web page."""

from __future__ import annotations

from spikedet.config import DemoConfig
from spikedet.demo.page import serve


def demo(config: DemoConfig) -> None:
    """Serve the web page. Raises as ``page.serve``."""
    serve(config)


__all__ = ["demo"]
