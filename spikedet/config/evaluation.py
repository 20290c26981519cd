"""Settings of what evaluates, measures, explains and gives away networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikedet.common.errors import ConfigError
from spikedet.config.checks import Checked, Count, Seed, Whole
from spikedet.config.choices import BackendName, ChosenLayout, Mode
from spikedet.config.conversion import TrainedOnConfig


@dataclass(frozen=True, kw_only=True)
class SimulationConfig(Checked):
    """How a converted network is simulated.

    Attributes:
        backend: "native" (compiled, event-driven, CPU), "torch" (dense, any device), or "auto", the faster that works.
        mode: "exact" (float32; backends may differ by a few spikes whose potentials rounding moves across the
            threshold) or "fast" (8-bit or 16-bit weights).
        chunk: time steps simulated together; memory grows with this, not with T. 0 leaves it to the backend.
        device: "auto", "cpu" or "cuda:0".
    """

    file_only: ClassVar[str] = "chunk"

    backend: BackendName = "auto"
    mode: Mode = "exact"
    chunk: Whole = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(SimulationConfig):
    """What is measured, and on which images.

    Attributes:
        checkpoints: files or folders; a folder represents every checkpoint directly in it. Files of spikedet export
            that end in .onnx or .xml are run by their engine.
        data: empty takes the first checkpoint's data.
        split: of the data.
        t: time steps to read out, for example "4,8,20"; empty reads each network at its own T.
        limit: take only the first images of the split; 0 is all.
        batch: images simulated together.
        strict: refuse bad boxes.
        skip_bad: leave out broken images and annotations; as in training.
    """

    checkpoints: tuple[str, ...]
    data: str = ""
    split: str = "val"
    t: str | int = ""
    limit: Whole = 0
    batch: Count = 4
    strict: bool = False
    skip_bad: bool = False


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(MeasureConfig):
    """AP by time step of one or several checkpoints.

    Attributes:
        layout: how the folder is read, as in training; empty takes that of the training on the same data.
        draws: bootstrap draws for the interval of the conversion loss.
        seed: of the bootstrap.
        resume: networks whose detections are there already are not run again.
        detections: folder for the detections of the networks evaluated; empty is OUT/detections.
        out: folder for results.json, table.md and ap_by_t.png.
    """

    basic: ClassVar[str] = "data split t limit batch mode resume out"

    layout: ChosenLayout = ""
    draws: Count = 1000
    seed: Seed = 0
    resume: bool = False
    detections: str = ""
    out: str = "runs/evaluate"


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(MeasureConfig):
    """Synaptic operations that evaluate counted spike by spike, and energy for an image, beside those of the ANNs.

    Attributes:
        checkpoints: files or folders, as in evaluate; of an ANN or a QC-ANN alone the MACs are counted.
        constants: energy of an operation of the float networks: a table under configs/energy, or a YAML file like them.
        quantized: the same for the quantized ANN, and for spiking networks with weights of its kind.
        memory_traffic: add the tables' model of memory traffic.
        results: results.json of an evaluation, or its folder, for AP and operations of the networks; empty looks for
            one in OUT, then for NAME.json beside each checkpoint, and else evaluates the networks first, into OUT.
        out: folder for energy.json, energy.md and the plots; that of an evaluation puts them into its report.
    """

    basic: ClassVar[str] = "data split t limit out"

    checkpoints: tuple[str, ...]
    constants: str = "45nm_float"
    quantized: str = "45nm_int8"
    memory_traffic: bool = False
    results: str = ""
    out: str = "runs/energy"


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(SimulationConfig, TrainedOnConfig):
    """The error of a converted network layer by layer, what it costs, and what to do about it.

    Attributes:
        checkpoint: a converted network.
        qc: its QC-ANN, as the network with copied weights or as Stage I's; empty finds it through the checkpoint.
        source: the ANN that errors are measured against; empty finds it through the checkpoint: the clip ANN with Stage
            I's weights or, without Stage I, the source ANN.
        ann: the source ANN, whose AP begins the chain; empty finds it through the checkpoint.
        images: images, drawn from the split.
        t: time steps to look at, for example "1,2,4"; empty takes powers of two. T is always looked at.
        batch: images simulated together.
        rank_images: how many of the images rank the layers by AP with each one's residual error alone, and without;
            0 leaves that out.
        out: folder for explain.json, explain.md and the plots; that of an evaluation puts them into its report.
    """

    basic: ClassVar[str] = "data split t images out"
    file_only: ClassVar[str] = "chunk rank_images"

    checkpoint: str
    qc: str = ""
    source: str = ""
    ann: str = ""
    images: Count = 64
    t: str | int = ""
    batch: Count = 2
    rank_images: Whole = 16
    out: str = "runs/explain"


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Checked):
    """One self-contained HTML file about an evaluation.

    Attributes:
        run: folder that spikedet evaluate wrote.
        examples: how many of the best and of the worst images to show; 0 shows none and needs no checkpoints or data.
        out: the file; empty is report.html in that folder.
    """

    run: str
    examples: Whole = 4
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishConfig(Checked):
    """A checkpoint made fit to be given away: float16, without this machine's paths, with a model card.

    Attributes:
        checkpoint: any checkpoint.
        out: the file to write; the card stands beside it as .md.
        data: evaluated on; empty takes the checkpoint's.
        split: evaluated on.
        t: time steps to read out; empty is the network's T.
        results: folder for the evaluation's files.
    """

    checkpoint: str
    out: str
    data: str = ""
    split: str = "val"
    t: str | int = ""
    results: str = "runs/publish"


def parse_time_steps(text: str | int) -> tuple[int, ...]:
    """``"4,8,20"`` -> (4, 8, 20), sorted, unique; an empty text is (). Raises ConfigError."""
    try:
        steps = sorted({int(part) for part in str(text).split(",") if part.strip()})
    except ValueError as error:
        raise ConfigError(f"time steps must be whole numbers separated by commas, got {text!r}") from error
    if steps and steps[0] < 1:
        raise ConfigError(f"time steps must be at least 1, got {steps[0]}")
    return tuple(steps)
