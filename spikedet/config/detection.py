"""Settings of what shows boxes: files, strips, the page and the window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from spikedet.config.checks import Count, Fraction, Range, Whole
from spikedet.config.choices import VideoFormat
from spikedet.config.evaluation import SimulationConfig

DEFAULT_WEIGHTS = "tiny-yolo-csp-voc-t8"
"""The shipped network that detects where none is named: 20 VOC classes, T = 8."""
DEFAULT_FAMILY = f"tiny-yolo-csp-voc-source,tiny-yolo-csp-voc-qc,{DEFAULT_WEIGHTS}"
"""The same after the shipped networks that it came from, to be looked at side by side."""
DEFAULT_WEBCAM = "tiny-yolo-csp-nano-voc-t8"
"""The shipped network that is fast enough for a camera."""


@dataclass(frozen=True, kw_only=True)
class DrawnConfig(SimulationConfig):
    """Which boxes are shown.

    Attributes:
        confidence: lowest score drawn, and written into files.
        iou: overlap above which non-maximum suppression drops the weaker box.
    """

    file_only: ClassVar[str] = "chunk iou"

    confidence: Fraction = 0.25
    iou: Fraction = 0.7


@dataclass(frozen=True, kw_only=True)
class DetectConfig(DrawnConfig):
    """Boxes on images, videos and cameras.

    Attributes:
        source: images, videos, folders of them (subfolders too), a camera's index, or an address (rtsp, http).
        weights: any spikedet checkpoint, a file of spikedet export (.onnx, .xml), or the name of a shipped checkpoint.
        t: time step to read out, or several ("2,4,8"); empty is the network's T.
        stable_steps: stop an image once boxes and scores have stayed the same for this many steps; 0 never stops early.
        every: of a video, look at each n-th frame only.
        frames: of a video or camera, stop after looking at this many frames; 0 goes on to the end, or until Ctrl-C.
        track: follow boxes through a video by ByteTrack; needs the package trackers.
        video_format: of drawn videos; "gif" is for short ones.
        save_json: also write results.json in COCO's results format, with results_images.json to read it by.
        save_txt: also write labels/NAME.txt in YOLO's label format.
        with_labels: the source is a dataset, as --data of other commands; draw its labels too, left of the detections.
        split: of that dataset.
        out: folder for the drawn images and videos and detections.json.
    """

    needs: ClassVar = {"with_labels": ("split",)}
    basic: ClassVar[str] = "weights t confidence stable_steps track save_json save_txt mode out"

    source: tuple[str, ...]
    weights: str = DEFAULT_WEIGHTS
    t: str | int = ""
    stable_steps: Whole = 0
    every: Count = 1
    frames: Whole = 0
    track: bool = False
    video_format: VideoFormat = "mp4"
    save_json: bool = False
    save_txt: bool = False
    with_labels: bool = False
    split: str = "val"
    out: str = "runs/detect"

    def __post_init__(self) -> None:
        if isinstance(self.source, str):
            object.__setattr__(self, "source", (self.source,))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class GrowConfig(DrawnConfig):
    """Boxes growing with time on one image: a strip and an animation, one row per network.

    Attributes:
        source: an image.
        weights: spikedet checkpoints or names of shipped ones, separated by commas; each is shown after those it came
            from, as far as they are there.
        t: time steps to show, for example "1,2,4,8"; empty is all of them, or 8 where they are many.
        layer: also plot the spikes and membrane potentials of this layer of the last of the weights.
        out: folder for strip.png, growing.gif and raster.png.
    """

    source: str
    weights: str = DEFAULT_FAMILY
    t: str | int = ""
    layer: str = ""
    out: str = "runs/grow"


@dataclass(frozen=True, kw_only=True)
class DemoConfig(DrawnConfig):
    """Detections growing with time, live: a web page, or a window with --window.

    Attributes:
        weights: spikedet checkpoints or names of shipped ones, separated by commas; the last one is the one to show.
        webcam_weights: the network of the webcam tab and of the window; empty is the last of the others, or the shipped
            nano network where those are the shipped ones.
        window: a window on this machine instead of the page.
        source: of the window: a camera's index, an address (rtsp, http) or a video file.
        out: folder for the images that the window saves.
        host: address to listen on; 0.0.0.0 lets others in.
        port: of the web page.
        auth: file whose first line is the password of the page; else the environment variable SPIKEDET_PASSWORD.
        public_url: address at which a proxy shows the page, with its sub-path.
    """

    basic: ClassVar[str] = "weights window source host port mode"

    weights: str = DEFAULT_FAMILY
    webcam_weights: str = ""
    window: bool = False
    source: str | int = "0"
    out: str = "runs/demo"
    host: str = "127.0.0.1"
    port: Annotated[int, Range(1, 65535)] = 7860
    auth: str = ""
    public_url: str = ""

    @property
    def live(self) -> str:
        """The network that looks at a camera."""
        last = DEFAULT_WEBCAM if self.weights == DEFAULT_FAMILY else self.weights.split(",")[-1]
        return self.webcam_weights or last
