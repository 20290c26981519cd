"""One frozen, self-checking dataclass per stage. Field docs become the CLI's help; a YAML file can set any field."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from spikedet.errors import ConfigError

Stage = Literal["ann", "qc", "copied", "coarse", "fine", "joint"]
SPIKING_STAGES = ("copied", "coarse", "fine", "joint")
Neuron = Literal["if", "signed", "asymmetric"]
Precision = Literal["bf16", "fp32"]
Mode = Literal["exact", "fast"]
BackendName = Literal["auto", "native", "torch"]
ThetaScope = Literal["channel", "layer"]
PotentialScope = Literal["channel", "neuron"]
Method = Literal["two-stage", "channel-norm"]
Activation = Literal["", "clip", "leaky"]
MaxPoolRule = Literal["count", "gate", "or"]
Pool = Literal["max", "average"]
DownloadName = Literal["voc"]
LayoutName = Literal["voc", "yolo", "coco"]
VideoFormat = Literal["mp4", "webm", "gif"]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(ok: bool, name: str, expected: str, value: Any) -> None:
    if not ok:
        raise ConfigError(f"{_flag(name)} must be {expected}, got {value!r}")


LIMITS = {"image_size": (1, 8192), "T": (1, 32767), "delay": (0, 1000), "seed": (0, 2**63)}
"""Least and most; a checkpoint beyond them is damaged rather than ambitious. Spikes are counted in 16 bits."""


class Checked:
    """Range checks shared by the stage configurations, by field name."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            name, value = item.name, getattr(self, item.name)
            if name in _POSITIVE and value is not None:
                _check(value > 0, name, "positive", value)
            elif name in _NOT_NEGATIVE and value is not None:
                _check(value >= 0, name, "zero or more", value)
            elif name in _FRACTIONS:
                _check(0 <= value <= 1, name, "between 0 and 1", value)
            elif name in _CHOICES:
                _check(value in get_args(_CHOICES[name]), name, f"one of {get_args(_CHOICES[name])}", value)
            elif name == "image_size":
                _check(value >= 32 and value % 32 == 0, name, "a multiple of 32", value)
            if name in LIMITS and value is not None:
                _check(value <= LIMITS[name][1], name, f"at most {LIMITS[name][1]}", value)
            elif name in _RANGES:
                least, most = _RANGES[name]
                _check(least <= value <= most, name, f"between {least} and {most}", value)


_POSITIVE = frozenset(
    {
        "epochs",
        "finetune_epochs",
        "joint_epochs",
        "batch",
        "lr",
        "theta",
        "T",
        "images",
        "passes",
        "crop",
        "draws",
        "surrogate_width",
        "memory_budget_gb",
        "validate_every",
        "train",
        "val",
        "test",
        "every",
    }
)
_NOT_NEGATIVE = frozenset(
    {"warmup_epochs", "close_mosaic", "weight_decay", "theta_lr_factor", "delay", "patience", "limit", "theta_images"}
    | {"distill", "sparsity", "early"}
    | {"workers", "seed", "chunk", "stable_steps", "pictures", "rank_images", "frames"}
)
_RANGES = {"side": (64, 1024), "port": (1, 65535)}
_FRACTIONS = frozenset(["held_out", "noise", "mosaic", "mixup", "confidence", "iou", "lr_final"])
_CHOICES: dict[str, Any] = {
    "neuron": Neuron,
    "precision": Precision,
    "theta_per": ThetaScope,
    "potential_per": PotentialScope,
    "method": Method,
    "max_pool": MaxPoolRule,
    "activation": Activation,
    "pool": Pool,
    "name": DownloadName,
    "to": LayoutName,
    "mode": Mode,
    "backend": BackendName,
    "video_format": VideoFormat,
}


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Checked):
    """What source training and Stage I share.

    Attributes:
        data: a folder in VOC, YOLO or COCO layout, a data YAML, a COCO JSON file, or "synthetic" (the built-in set).
        split: training split, for example "train" or "VOC2007/train+VOC2012/train".
        strict: refuse boxes that have no size or leave their picture, instead of dropping or clipping them.
        skip_bad: leave out broken pictures and annotations instead of stopping; every picture is decoded to find them.
        epochs: passes over the training pictures.
        batch: pictures per step.
        lr: learning rate of the weights (AdamW).
        lr_final: the learning rate at the end, as a fraction of lr (cosine schedule).
        theta_lr_factor: learning rate of the thresholds, as a multiple of lr.
        weight_decay: of the weights; never of thresholds, biases and BN.
        warmup_epochs: epochs of linear warm-up.
        mosaic: probability of mosaic augmentation.
        close_mosaic: final epochs without mosaic.
        mixup: probability of mixup augmentation.
        held_out: seeded fraction of the training pictures kept for validation.
        validate_every: epochs between validations on the held-out pictures.
        patience: stop after this many epochs without a better validation; 0 never stops early.
        precision: bf16 autocast of the forward pass, or fp32.
        device: "auto", "cpu" or "cuda:0".
        workers: data-loading processes; 0 loads in the training process.
        seed: of everything random.
        resume: go on from the last finished epoch in the output folder.
        out: output folder.
    """

    data: str = "synthetic"
    split: str = "train"
    strict: bool = False
    skip_bad: bool = False
    epochs: int = 100
    batch: int = 8
    lr: float = 1e-3
    lr_final: float = 0.01
    theta_lr_factor: float = 10.0
    weight_decay: float = 5e-4
    warmup_epochs: float = 3.0
    mosaic: float = 1.0
    close_mosaic: int = 10
    mixup: float = 0.0
    held_out: float = 0.1
    validate_every: int = 1
    patience: int = 0
    precision: Precision = "bf16"
    device: str = "auto"
    workers: int = 0
    seed: int = 0
    resume: bool = False
    out: str = "runs/run"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """Source ANN training.

    Attributes:
        model: name under configs/models, the path of a model YAML, or one of ultralytics' by its file name, for example
            yolov8n.yaml.
        activation: "clip" (ReLU) or "leaky" (LeakyReLU), clipped, in place of the model's own; empty keeps ReLU and
            LeakyReLU models as they are.
        image_size: side of the square input, a multiple of 32.
        theta: initial clip threshold.
        theta_per: one trained threshold per channel or per layer.
        weights: a source checkpoint, or an ultralytics .pt file, to start from; what does not fit (another number of
            classes) starts at random.
    """

    model: str = "tiny-yolo"
    activation: Activation = ""
    image_size: int = 320
    theta: float = 4.0
    theta_per: ThetaScope = "channel"
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(LoopConfig):
    """Stage I: QC fine-tuning with trained thresholds and quantization noise.

    Attributes:
        checkpoint: a source (or an earlier Stage I) checkpoint.
        data: as in training; empty takes the checkpoint's.
        split: as in training; empty takes the checkpoint's.
        T: time steps of the spiking network to come, the number of quantization levels.
        noise: quantization noise p, the fraction of elements left unquantized in a training forward.
        theta_images: training pictures on which the mean-square-best initial thresholds are found; 0 keeps theta.
        distill: weight of a loss against the teacher's answers, beside the labels; 0 is the paper's Stage I.
        teacher: the network that distillation follows; empty is the checkpoint, with clip activations.
        sparsity: weight of an L1 penalty on firing rates, each weighed by the weights that its spikes meet; 0 is the
            paper's Stage I.
        pool: "average" puts average pooling in place of max-pooling layers before it trains.
        spiking_forward: answer with the firing rates of the spiking network itself (gradients stay those of the QC
            activation, BN keeps its statistics); not in the paper.
        neuron: of the spiking network in spiking_forward.
        delay: firing delay of the spiking network in spiking_forward.
        out: output folder; empty is the checkpoint's folder.
    """

    checkpoint: str
    data: str = ""
    split: str = ""
    T: int = 8
    noise: float = 0.1
    theta_images: int = 32
    distill: float = 0.0
    sparsity: float = 0.0
    teacher: str = ""
    pool: Pool = "max"
    spiking_forward: bool = False
    neuron: Neuron = "if"
    delay: int = 0
    epochs: int = 30
    warmup_epochs: float = 1.0
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(Checked):
    """Stage II: layer-wise calibration of initial potential and weights.

    Attributes:
        checkpoint: a converted network with copied weights.
        data: empty takes the checkpoint's training data.
        split: empty takes the checkpoint's.
        skip_bad: leave out broken pictures and annotations; as in training.
        images: calibration pictures, drawn from the training split; a fifth is held out for early stopping.
        fine: also the fine calibration (weights, bias and u[0] by BPTT), after the coarse one.
        train_weights: let the fine calibration change weights and biases.
        train_potential: let the fine calibration change u[0].
        potential_per: one u[0] per channel, or one per neuron; the latter ties the network to its input size.
        passes: times all layers are calibrated, each pass from the result of the one before.
        epochs: passes over the calibration pictures per layer.
        patience: epochs without a better held-out error before a layer stops.
        batch: pictures per step.
        lr: Adam's step, relative to the root mean square of a layer's weights (bias and u[0]: to theta).
        crop: output positions per side in a training step; larger maps are cropped at random.
        surrogate_width: width of the rectangular surrogate, in units of theta.
        early: weight of the rates' error after half of the window, beside that after all of it: spikes that come on
            time leave the next layer less error. 0 is the paper's Stage II.
        sparsity: weight of an L1 penalty on a layer's firing rate, in units of the mean square of its theta; 0 is the
            paper's Stage II.
        precision: of the convolutions in training steps; held-out errors and the spikes kept are always fp32.
        memory_budget_gb: cached spike trains above this go to disk.
        resume: go on with the layer that an interrupted calibration of the same network was in.
        seed: of the draw and the crops.
        out: output folder; empty is the checkpoint's folder.
    """

    checkpoint: str
    data: str = ""
    split: str = ""
    skip_bad: bool = False
    images: int = 64
    fine: bool = True
    train_weights: bool = True
    train_potential: bool = True
    potential_per: PotentialScope = "channel"
    passes: int = 1
    epochs: int = 12
    patience: int = 4
    batch: int = 8
    lr: float = 2e-3
    crop: int = 20
    surrogate_width: float = 1.0
    early: float = 0.0
    sparsity: float = 0.0
    precision: Precision = "fp32"
    memory_budget_gb: float = 4.0
    resume: bool = False
    seed: int = 0
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class JointConfig(Checked):
    """Joint calibration: all layers at once, towards the answers of the ANN; after Stage II, and not in the paper.

    Attributes:
        checkpoint: a spiking network, calibrated or not.
        teacher: the ANN whose answers are the target, or a QC-ANN that stands for its clip ANN; empty finds the source
            through the checkpoint, or else its clip ANN.
        data: empty takes the checkpoint's training data; labels are not used.
        split: empty takes the checkpoint's.
        skip_bad: leave out broken pictures and annotations; as in training.
        epochs: passes over the pictures.
        batch: pictures per step.
        lr: Adam's step, relative to the root mean square of a layer's weights (bias and u[0]: to theta).
        mosaic: share of the pictures that are put together from four; keeps many epochs from learning them by heart.
        held_out: seeded fraction of the pictures that chooses the best epoch.
        sparsity: weight of an L1 penalty on firing rates, each weighed by the weights that its spikes meet.
        precision: bf16 autocast of the forward pass in means, or fp32; for held-out losses always fp32.
        mode: "exact" or "fast", of the simulation in training.
        device: "auto", "cpu" or "cuda:0".
        resume: go on from the last finished epoch in the output folder.
        seed: of everything random.
        out: output folder; empty is the checkpoint's folder.
    """

    checkpoint: str
    teacher: str = ""
    data: str = ""
    split: str = ""
    skip_bad: bool = False
    epochs: int = 4
    batch: int = 16
    lr: float = 5e-4
    mosaic: float = 0.0
    held_out: float = 0.1
    sparsity: float = 0.0
    precision: Precision = "bf16"
    mode: Mode = "exact"
    device: str = "auto"
    resume: bool = False
    seed: int = 0
    out: str = ""


_OF_STAGES = {"finetune": ("finetune_epochs",), "calibrate": ("images", "epochs"), "joint": ("joint_epochs",)}
"""Settings of ``ConvertConfig`` that belong to one stage."""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(Checked):
    """Conversion of a source or QC network into a spiking one, with Stage I and Stage II when asked.

    Attributes:
        checkpoint: a source ANN or a QC-ANN.
        T: time steps; for a QC-ANN its own T unless given.
        method: "two-stage", or "channel-norm", the Spiking-YOLO baseline: thresholds are each channel's largest
            activation on theta_images pictures, membranes start at zero.
        neuron: "if" (the paper's) or "signed" (may take back a spike; lowest latency); with "if" LeakyReLU layers get
            "asymmetric" ones, "signed" does not convert them.
        delay: firing delay of every layer, in steps.
        max_pool: what a maximum over spikes is: "count" (the growth of the largest spike count, exact in rates),
            "gate" (the leader's spikes) or "or".
        theta_images: pictures for the thresholds of a source without Stage I (mean-square-best, or channel-norm's); 0
            keeps its thetas.
        dry_run: only say, layer by layer, what would become of the model (a checkpoint, a model YAML or an
            ultralytics .pt file), and which layers cannot spike.
        activation: of a model YAML or .pt file in a dry run, as in training.
        resume: in Stage I and II, go on where they were interrupted.
        finetune: run Stage I first.
        finetune_epochs: epochs of Stage I.
        calibrate: run Stage II afterwards.
        images: calibration pictures.
        epochs: epochs of fine calibration per layer.
        joint: run the joint calibration last.
        joint_epochs: epochs of it.
        data: empty takes the checkpoint's training data.
        split: empty takes the checkpoint's.
        skip_bad: leave out broken pictures and annotations in every stage that runs; as in training.
        seed: of every stage that runs.
        out: output folder; empty is the checkpoint's folder.
    """

    checkpoint: str
    T: int | None = None
    method: Method = "two-stage"
    neuron: Neuron = "if"
    delay: int = 0
    max_pool: MaxPoolRule = "count"
    theta_images: int = 32
    dry_run: bool = False
    activation: Activation = ""
    resume: bool = False
    finetune: bool = False
    finetune_epochs: int = 30
    calibrate: bool = False
    images: int = 64
    epochs: int = 12
    joint: bool = False
    joint_epochs: int = 4
    data: str = ""
    split: str = ""
    skip_bad: bool = False
    seed: int = 0
    out: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = {item.name: item.default for item in fields(self)}
        for stage, names in _OF_STAGES.items():
            for name in names:
                if not getattr(self, stage) and getattr(self, name) != defaults[name]:
                    raise ConfigError(f"{_flag(name)} has no effect without {_flag(stage)}")


@dataclass(frozen=True, kw_only=True)
class SimulationConfig(Checked):
    """How a converted network is simulated.

    Attributes:
        backend: "native" (compiled, event-driven, CPU), "torch" (dense, any device), or "auto", the faster that works.
        mode: "exact" (float32, the spikes of the definition) or "fast" (8-bit or 16-bit weights).
        chunk: time steps simulated together; memory grows with this, not with T. 0 leaves it to the backend.
        device: "auto", "cpu" or "cuda:0".
    """

    backend: BackendName = "auto"
    mode: Mode = "exact"
    chunk: int = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SimulationConfig):
    """AP by time step of one or several checkpoints.

    Attributes:
        checkpoints: files or folders; a folder stands for every checkpoint directly in it.
        data: empty takes the first checkpoint's data.
        split: the split that is judged.
        t: time steps to read out, for example "4,8,20"; empty reads each network at its own T.
        limit: judge only the first pictures of the split; 0 is all.
        batch: pictures simulated together.
        draws: bootstrap draws for the interval of the conversion loss.
        strict: refuse bad boxes.
        skip_bad: leave out broken pictures and annotations; as in training.
        seed: of the bootstrap.
        resume: networks whose detections are there already are not run again.
        detections: folder for the detections of the networks judged; empty is OUT/detections.
        out: folder for results.json, table.md and ap_by_t.png.
    """

    checkpoints: tuple[str, ...]
    data: str = ""
    split: str = "val"
    t: str | int = ""
    limit: int = 0
    batch: int = 4
    draws: int = 1000
    strict: bool = False
    skip_bad: bool = False
    seed: int = 0
    resume: bool = False
    detections: str = ""
    out: str = "runs/evaluate"


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(SimulationConfig):
    """Synaptic operations, counted spike by spike, and energy for a picture; MACs and energy of the ANNs beside them.

    Attributes:
        checkpoints: files or folders, as in evaluate; of an ANN or a QC-ANN alone the MACs are counted.
        data: pictures that spikes are counted on; empty takes the first checkpoint's data.
        split: of the data.
        t: time steps to read out, for example "2,4,8"; empty reads each network at its own T.
        limit: count on the first pictures of the split only; 0 is all.
        batch: pictures simulated together.
        constants: energy of an operation of the float networks: a table under configs/energy, or a YAML file like them.
        quantized: the same for the quantized ANN, and for spiking networks with weights of its kind.
        image_every_step: count the convolution of the image in every time step, not once, as it is computed.
        memory_traffic: add the tables' model of memory traffic.
        results: results.json of an evaluation, or its folder, for the AP of the networks; empty looks for one in OUT,
            then for NAME.json beside each checkpoint.
        strict: refuse bad boxes.
        skip_bad: leave out broken pictures and annotations; as in training.
        out: folder for energy.json, energy.md and the plots; that of an evaluation puts them into its report.
    """

    checkpoints: tuple[str, ...]
    data: str = ""
    split: str = "val"
    t: str | int = ""
    limit: int = 0
    batch: int = 4
    constants: str = "45nm_float"
    quantized: str = "45nm_int8"
    image_every_step: bool = False
    memory_traffic: bool = False
    results: str = ""
    strict: bool = False
    skip_bad: bool = False
    out: str = "runs/energy"


DEFAULT_WEIGHTS = "tiny-yolo-voc-t8"
"""The shipped network that detects where none is named: 20 VOC classes, T = 8."""
DEFAULT_FAMILY = f"tiny-yolo-voc-source,tiny-yolo-voc-qc,{DEFAULT_WEIGHTS}"
"""The same after the shipped networks that it came from, to be looked at side by side."""
DEFAULT_WEBCAM = "tiny-yolo-nano-voc-t8"
"""The shipped network that is fast enough for a camera."""


@dataclass(frozen=True, kw_only=True)
class DetectConfig(SimulationConfig):
    """Boxes on pictures, videos and cameras.

    Attributes:
        source: a picture, a video, a folder of them (subfolders too), a camera's index, or an address (rtsp, http).
        weights: any spikedet checkpoint, or the name of one that ships with the package.
        t: time step to read out, or several ("2,4,8"); empty is the network's T.
        confidence: lowest score drawn and written.
        iou: overlap above which non-maximum suppression drops the weaker box.
        stable_steps: stop a picture once its boxes have stayed the same for this many steps; 0 never stops early.
        every: of a video, look at each n-th frame only.
        frames: of a video or camera, stop after looking at this many frames; 0 goes on to the end, or until Ctrl-C.
        track: follow boxes through a video by ByteTrack; needs the package trackers.
        video_format: of drawn videos; "gif" is for short ones.
        save_json: also write results.json in COCO's results format, with results_images.json to read it by.
        save_txt: also write labels/NAME.txt in YOLO's label format.
        out: folder for the drawn pictures and videos and detections.json.
    """

    source: str
    weights: str = DEFAULT_WEIGHTS
    t: str | int = ""
    confidence: float = 0.25
    iou: float = 0.7
    stable_steps: int = 0
    every: int = 1
    frames: int = 0
    track: bool = False
    video_format: VideoFormat = "mp4"
    save_json: bool = False
    save_txt: bool = False
    out: str = "runs/detect"


@dataclass(frozen=True, kw_only=True)
class GrowConfig(SimulationConfig):
    """Boxes growing with time on one picture: a strip and an animation, one row per network.

    Attributes:
        source: a picture.
        weights: spikedet checkpoints or names of shipped ones, separated by commas; each is shown after those it came
            from, as far as they are there.
        t: time steps to show, for example "1,2,4,8"; empty is all of them, or 8 where they are many.
        confidence: lowest score drawn.
        iou: overlap above which non-maximum suppression drops the weaker box.
        layer: also plot the spikes and membrane potentials of this layer of the last of the weights.
        out: folder for strip.png, growing.gif and raster.png.
    """

    source: str
    weights: str = DEFAULT_FAMILY
    t: str | int = ""
    confidence: float = 0.25
    iou: float = 0.7
    layer: str = ""
    out: str = "runs/grow"


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(SimulationConfig):
    """The error of a converted network layer by layer, what it costs, and what to do about it.

    Attributes:
        checkpoint: a converted network.
        qc: its QC-ANN, as the network with copied weights or as Stage I's; empty finds it through the checkpoint.
        source: the ANN that errors are measured against; empty finds it through the checkpoint: the clip ANN with Stage
            I's weights or, without Stage I, the source ANN.
        data: empty takes the checkpoint's training data.
        split: empty takes the checkpoint's training split.
        skip_bad: leave out broken pictures and annotations; as in training.
        images: pictures, drawn from the split.
        t: time steps to look at, for example "1,2,4"; empty takes powers of two. T is always looked at.
        batch: pictures simulated together.
        rank_images: how many of the pictures rank the layers by AP with each one's residual error alone, and without;
            0 leaves that out.
        seed: of the draw.
        out: folder for explain.json, explain.md and the plots; that of an evaluation puts them into its report.
    """

    checkpoint: str
    qc: str = ""
    source: str = ""
    data: str = ""
    split: str = ""
    skip_bad: bool = False
    images: int = 64
    t: str | int = ""
    batch: int = 2
    rank_images: int = 16
    seed: int = 0
    out: str = "runs/explain"


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Checked):
    """One self-contained HTML file about an evaluation.

    Attributes:
        run: folder that spikedet evaluate wrote.
        pictures: how many of the best and of the worst pictures to show; 0 shows none.
        out: the file; empty is report.html in that folder.
    """

    run: str
    pictures: int = 4
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class DemoConfig(SimulationConfig):
    """Detections growing with time, live: a web page, or a window with --window.

    Attributes:
        weights: spikedet checkpoints or names of shipped ones, separated by commas; the last one is the one to show.
        webcam_weights: the network of the webcam tab and of the window; empty is the last of the others, or the shipped
            nano network where those are the shipped ones.
        window: a window on this machine instead of the page.
        source: of the window: a camera's index, an address (rtsp, http) or a video file.
        out: folder for the pictures that the window saves.
        confidence: lowest score drawn.
        iou: overlap above which non-maximum suppression drops the weaker box.
        host: address to listen on; 0.0.0.0 lets others in.
        port: of the web page.
    """

    weights: str = DEFAULT_FAMILY
    webcam_weights: str = ""
    window: bool = False
    source: str | int = "0"
    out: str = "runs/demo"
    confidence: float = 0.25
    iou: float = 0.7
    host: str = "127.0.0.1"
    port: int = 7860

    @property
    def live(self) -> str:
        """The network that looks at a camera."""
        last = DEFAULT_WEBCAM if self.weights == DEFAULT_FAMILY else self.weights.split(",")[-1]
        return self.webcam_weights or last


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig(Checked):
    """The built-in synthetic set, written as a VOC-layout folder.

    Attributes:
        out: the folder to write.
        train: training pictures.
        val: validation pictures.
        test: test pictures.
        side: height and width, pixels.
        seed: same seed, same pictures.
    """

    out: str
    train: int = 256
    val: int = 64
    test: int = 64
    side: int = 160
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PublishConfig(Checked):
    """A checkpoint made fit to be given away: float16, without this machine's paths, with a model card.

    Attributes:
        checkpoint: any checkpoint.
        out: the file to write; the card stands beside it as .md.
        data: judged on; empty takes the checkpoint's.
        split: judged on.
        t: time steps to read out; empty is the network's T.
        results: folder for the evaluation's files.
    """

    checkpoint: str
    out: str
    data: str = ""
    split: str = "val"
    t: str | int = ""
    results: str = "runs/publish"


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(Checked):
    """The official PASCAL VOC2007 and VOC2012 archives (2.8 GB), fetched and unpacked; needs a network.

    Attributes:
        name: what to fetch; "voc" is all there is.
        out: VOCdevkit is made in this folder.
    """

    name: DownloadName = "voc"
    out: str = "data"


@dataclass(frozen=True, kw_only=True)
class DataCheckConfig(Checked):
    """Every annotation read and every picture decoded; what is wrong, and what there is.

    Attributes:
        data: a folder in VOC, YOLO or COCO layout, a data YAML, or a COCO JSON file.
        split: the split to check; empty checks every split found.
        strict: boxes that have no size or leave their picture count as errors.
        out: folder for report.json and data.png.
    """

    data: str
    split: str = ""
    strict: bool = False
    out: str = "runs/data-check"


@dataclass(frozen=True, kw_only=True)
class DataConvertConfig(Checked):
    """A dataset written anew in another layout, all splits.

    Attributes:
        data: a folder in VOC, YOLO or COCO layout, a data YAML, or a COCO JSON file.
        to: the layout to write.
        out: the folder to write; it must not exist or be empty.
        skip_bad: leave out broken pictures and annotations; as in training.
        link: hard-link the pictures instead of copying them; a change to one is then a change to both.
    """

    data: str
    to: LayoutName
    out: str
    skip_bad: bool = False
    link: bool = False


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig(Checked):
    """Every stage on the built-in synthetic set with the nano network.

    Attributes:
        out: output folder.
        epochs: of source training.
        finetune_epochs: of Stage I.
        T: time steps converted for.
        images: calibration pictures.
        joint_epochs: of the joint calibration.
        seed: of every stage.
    """

    out: str = "runs/quickstart"
    epochs: int = 90
    finetune_epochs: int = 25
    T: int = 8
    images: int = 64
    joint_epochs: int = 10
    seed: int = 0


def parse_time_steps(text: str | int) -> tuple[int, ...]:
    """``"4,8,20"`` -> (4, 8, 20), sorted, unique; an empty text is (). Raises ConfigError."""
    try:
        steps = sorted({int(part) for part in str(text).split(",") if part.strip()})
    except ValueError as error:
        raise ConfigError(f"time steps must be whole numbers separated by commas, got {text!r}") from error
    if steps and steps[0] < 1:
        raise ConfigError(f"time steps must be at least 1, got {steps[0]}")
    return tuple(steps)
