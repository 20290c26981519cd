"""A window of OpenCV's, and what is in the way of one."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import cv2
import numpy as np
import numpy.typing as npt

from spikedet.common.errors import ConfigError
from spikedet.video.opencv import quiet_opencv, quiet_stderr

ESCAPE = 27
NO_KEY = 255
_PROBE = "import cv2; cv2.namedWindow('spikedet'); cv2.destroyAllWindows()"


class ScreenWindow:
    """Shows images on the screen and takes keys.

    Raises:
        ConfigError: there is no screen, or OpenCV was built without windows.
    """

    def __init__(self, title: str) -> None:
        if problem := _problem():
            raise ConfigError(f"no window here: {problem}. `spikedet demo` without --window serves a web page instead")
        quiet_opencv()
        self._title = title.encode(errors="replace").decode()  # bytes that are no UTF-8 crash OpenCV
        self._fitted = False
        with quiet_stderr():  # Qt misses fonts that nothing here needs
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(self, image_rgb: npt.NDArray[np.uint8]) -> None:
        """Show an image, uint8 ``[H, W, 3]``."""
        if not self._fitted:
            cv2.resizeWindow(self._title, image_rgb.shape[1], image_rgb.shape[0])
            self._fitted = True
        cv2.imshow(self._title, np.ascontiguousarray(image_rgb[..., ::-1]))

    def key(self, wait_ms: int) -> str:
        """The key that is pressed within the time, "" for none, "q" also for Escape and a closed window."""
        code = cv2.waitKey(wait_ms) & 0xFF
        if code == ESCAPE or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return "" if code == NO_KEY else chr(code)

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()


def _problem() -> str:
    """Why no window can be opened; "" if one can. Tried out in another process, since OpenCV's Qt aborts its own."""
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if gui and gui.group(1) == "NONE":
        return "cv2 is opencv-python-headless, which has none"
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no screen (DISPLAY is not set)"
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=False)
    return "OpenCV cannot open one on this screen" if probe.returncode else ""
