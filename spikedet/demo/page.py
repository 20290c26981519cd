"""The web page: images with a slider over t, the browser's camera, video files, and the table of the weights."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.common.resources import find_weights, sample_images
from spikedet.config import DemoConfig
from spikedet.data.images import read_image
from spikedet.demo.growing import as_html
from spikedet.demo.table import table_markdown
from spikedet.demo.uploads import MAX_UPLOAD, uploaded_image
from spikedet.demo.video import annotated
from spikedet.demo.webcam import make_look, webcam_html
from spikedet.inference.comparison import Member, load_family, look
from spikedet.visualization import plot_ap_by_t

logger = logging.getLogger("spikedet")

if TYPE_CHECKING:
    import gradio

INTRODUCTION = (
    "A spiking detector gives its first boxes early and improves with every step: move **t** and watch its boxes grow. "
    "The networks beside it are those that it came from."
)


def serve(config: DemoConfig) -> None:
    """Build the page and serve it until Ctrl-C.

    Raises:
        ConfigError: gradio is not installed, or the port cannot be used.
        CheckpointError: the weights cannot be used.
    """
    page = build(config)
    try:
        page.launch(
            server_name=config.host,
            server_port=config.port,
            max_file_size=MAX_UPLOAD,
            footer_links=[],
            css=asset("page.css"),
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ConfigError(f"{config.host}:{config.port} cannot be used; choose another --port or --host") from error
    logger.info(f"spikedet demo: open http://{config.host}:{config.port} (Ctrl-C ends it)")
    page.block_thread()


def build(config: DemoConfig) -> gradio.Blocks:
    """The page, with its networks loaded. Raises as ``serve``."""
    gr = import_gradio()
    weights = [name for name in config.weights.split(",") if name]
    members = load_family(weights, config)
    webcam = members[-1] if config.live == weights[-1] else load_family([config.live], config)[-1]
    with gr.Blocks(title="spikedet", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(f"# spikedet\n{INTRODUCTION}")
        with gr.Tab("Image"):
            _image_tab(gr, page, members, config)
        with gr.Tab("Webcam"):
            _webcam_tab(gr, webcam)
        with gr.Tab("Video"):
            _video_tab(gr, members, config)
        with gr.Tab("Table") as tab:
            _table_tab(gr, tab, [find_weights(name) for name in weights])
    return page


def _image_tab(gr: Any, page: Any, members: list[Member], config: DemoConfig) -> None:
    samples = sample_images()
    with gr.Row():
        upload = gr.File(label="An image", file_types=["image"], type="filepath", height=120, elem_id="image-upload")
        with gr.Column():
            confidence = gr.Slider(0.05, 0.95, config.confidence, step=0.05, label="confidence", elem_id="confidence")
            stable = gr.Slider(0, 8, 0, step=1, label="early exit: stop after this many equal outputs (0: never)")
    with gr.Row():
        buttons = [gr.Button(path.stem, size="sm") for path in samples]
    chosen = gr.State(str(samples[0]) if samples else None)
    result = gr.HTML("", js_on_load=asset("growing.js"), css_template=asset("growing.css"), elem_id="growing")

    def show(path: str | None, least: float, stable_steps: float) -> str:
        with sentences(gr):
            image = uploaded_image(path)
            return as_html(image, look(image, members, confidence=least, stable_steps=int(stable_steps)))
        raise AssertionError("unreachable")

    inputs = [chosen, confidence, stable]
    show_now = {"fn": show, "inputs": inputs, "outputs": result, "concurrency_limit": 2}
    upload.upload(lambda path: path, upload, chosen, queue=False).then(**show_now)
    for button, path in zip(buttons, samples, strict=True):
        button.click(lambda path=str(path): path, None, chosen, queue=False).then(**show_now)
    for setting in (confidence, stable):
        setting.release(**show_now)
    page.load(**show_now)


def _webcam_tab(gr: Any, member: Member) -> None:
    T = member.detector.T or 1
    with gr.Row():
        gr.Slider(1, T, T, step=1, label="t", interactive=True, elem_id="webcam-t")
        gr.Slider(0.05, 0.95, 0.25, step=0.05, label="confidence", interactive=True, elem_id="webcam-confidence")
        gr.Slider(0, 8, 0, step=1, label="early exit", interactive=True, elem_id="webcam-stable")
    look_at = make_look(member)

    def look(request: Any) -> dict[str, Any]:
        return look_at(request)

    gr.HTML(
        webcam_html(member.detector.meta.image_size),
        js_on_load=asset("webcam.js"),
        css_template=asset("webcam.css"),
        server_functions=[look],
        elem_id="webcam",
    )


def _video_tab(gr: Any, members: list[Member], config: DemoConfig) -> None:
    titles = [member.title for member in members]
    longest = max(member.detector.T or 1 for member in members)
    with gr.Row():
        upload = gr.File(label="A video", file_types=["video", ".gif"], height=120, elem_id="video-upload")
        with gr.Column():
            chosen = gr.Dropdown(titles, value=titles[-1], label="network", elem_id="video-network")
            t = gr.Slider(1, longest, longest, step=1, label="t", elem_id="video-t")
            confidence = gr.Slider(0.05, 0.95, config.confidence, step=0.05, label="confidence")
            stable = gr.Slider(0, 8, 0, step=1, label="early exit: stop after this many equal outputs (0: never)")
    with gr.Row():
        start = gr.Button("Start", variant="primary", elem_id="video-start")
        cancel = gr.Button("Cancel", elem_id="video-cancel")
    status = gr.HTML("", elem_id="video-status")
    result = gr.Video(label="With boxes", interactive=False, autoplay=True, height=480, elem_id="video-result")

    def work(path: str | None, title: str, steps: float, least: float, equal: float) -> Iterator[tuple[Any, Any]]:
        member = members[titles.index(title)]
        t_read = min(int(steps), member.detector.T or 1)
        with sentences(gr), tempfile.TemporaryDirectory(prefix="spikedet-demo-") as folder:
            written = Path(folder) / "boxes.webm"
            for seen in annotated(member, path, written, t=t_read, confidence=least, stable_steps=int(equal)):
                yield seen.as_html(), str(written) if seen.finished else gr.skip()

    inputs = [upload, chosen, t, confidence, stable]
    run = start.click(work, inputs, [status, result], concurrency_limit=1, show_progress="hidden")
    stopped = "<div>Cancelled; nothing was kept.</div>"
    cancelled = cancel.click(None, None, None, cancels=[run], queue=False)
    cancelled.then(lambda: (stopped, None), None, [status, result], queue=False)  # after the run's last word


def _table_tab(gr: Any, tab: Any, weights: list[Path]) -> None:
    text, rows = table_markdown(weights)
    gr.Markdown(text, elem_id="table")
    if not rows:
        return
    image = gr.Image(label="AP by time step", interactive=False, elem_id="table-plot")

    def draw() -> Any:
        with tempfile.TemporaryDirectory(prefix="spikedet-demo-") as folder:
            plot = Path(folder) / "ap_by_t.png"
            plot_ap_by_t(rows, plot)
            return read_image(plot)

    tab.select(draw, None, image)  # when it is looked at: the first boxes do not wait for it


@contextmanager
def sentences(gr: Any) -> Iterator[None]:
    """Our errors as messages on the page instead of stack traces."""
    try:
        yield
    except SpikedetError as error:
        raise gr.Error(str(error), print_exception=False) from None


def asset(name: str) -> str:
    """A script or style sheet of the page."""
    return files("spikedet.demo").joinpath("assets", name).read_text(encoding="utf-8")


def import_gradio() -> Any:
    """Gradio, its telemetry off. Raises ConfigError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import gradio
    except ImportError as error:
        raise ConfigError(f"the web page needs gradio ({error}); pip install gradio") from error
    return gradio
