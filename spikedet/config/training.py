"""Settings of source training and Stage I."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from spikedet.common.errors import ConfigError
from spikedet.config.checks import (
    LIMITS,
    Checked,
    Count,
    Fraction,
    ImageSize,
    NotNegative,
    Positive,
    Range,
    Seed,
    TimeSteps,
    Whole,
)
from spikedet.config.choices import Activation, ChosenLayout, Precision, Reset, SpikeWorth, Surrogate, TrainingMethod

Learning = Literal["current-step", "bptt"]
FreezeOut = Literal["", "linear", "cubic"]
Pool = Literal["max", "average"]


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Checked):
    """What source training and Stage I share.

    Attributes:
        data: a folder of images and annotations, recognized by what is there, a data YAML, a COCO JSON file, or
            "synthetic" (the built-in set).
        split: training split, for example "train" or "VOC2007/train+VOC2012/train".
        layout: how the folder is read, where it may be read in several ways: "voc", "yolo", "coco", "labelme" or "csv".
        fractions: of train, val and test, for a dataset without splits.
        strict: refuse boxes that have no size or leave their image, instead of dropping or clipping them.
        skip_bad: leave out broken images and annotations instead of stopping; every image is decoded to find them.
        method: the road to a spiking network: "conversion" trains an ANN, which is converted; "sfa" trains activations
            that are whole numbers of spikes (I-LIF), for spike-driven inference; "clif" trains spiking neurons.
        T: real time steps of sfa (1 unless given) and clif (4 unless given). In Stage I the number of quantization
            levels, time steps of the spiking network to come (8 unless given); a source ANN has none.
        D: of sfa, the most spikes that a neuron sends in one real time step; each takes one sub-step.
        beta: of sfa, the leak: what is left of a membrane potential in the next real time step.
        worth: of sfa, what a spike is worth to the next layer: "theta" (outputs theta S) or "theta/D" (theta S / D).
            Training from weights begins with their network for "theta" alone.
        copies: neurons for each channel of the first layer; together they tell as many times the levels (D of sfa, T of
            Stage I). 2 at 8 levels and 4 at 4 are good values.
        reset: of clif, whether a spike sets the membrane potential to zero ("hard") or takes theta away ("soft").
        surrogate: of clif, the shape of a spike's gradient: "rectangle", "triangle", "sigmoid" or "arctan".
        width: of that shape, in units of theta; its height is 1 / width.
        train_decays: of clif, train d_c and d_v of every layer instead of keeping 0.5 and 0.75.
        learning: of clif, "current-step" (gradients do not pass from a time step to the one before; memory does not
            grow with T) or "bptt" (they do).
        skip_backward: of clif, time steps of each batch without a backward pass, drawn by the seed.
        norm_until: of clif, share of the run after which batch normalization keeps its statistics; unless given 0 where
            training starts from trained weights, and 0.5 from scratch.
        freeze_out: freeze the layers one after the other, the first ones first, at times that grow "linear" or "cubic"
            (FreezeOut); empty trains all to the end.
        freeze_start: of freeze_out, t_0: the first layer is frozen after this share of the run, or after its cube.
        freeze_scaled: of freeze_out, a learning rate that is higher the earlier a layer is frozen.
        epochs: passes over the training images.
        batch: images per step.
        lr: learning rate of the weights (AdamW).
        lr_final: the learning rate at the end, as a fraction of lr (cosine schedule).
        theta_lr_factor: learning rate of the thresholds, as a multiple of lr.
        weight_decay: of the weights; never of thresholds, biases and BN.
        warmup_epochs: epochs of linear warm-up.
        mosaic: probability of mosaic augmentation.
        close_mosaic: final epochs without mosaic.
        held_out: seeded fraction of the training images kept for validation; Stage I takes them from those that
            training has kept, if its images are the same.
        validate_every: epochs between validations on the held-out images.
        patience: stop after this many epochs without a better validation; 0 never stops early.
        distill: weight of a loss against the outputs of a teacher, beside the labels; 0 trains on labels alone.
        teacher: the network that distillation follows: a checkpoint, an ultralytics .pt file or a file of foreign
            weights, with the same output grid; empty is the network that this training starts from.
        precision: of the forward pass: "bf16" autocast, "fp32", or "auto": bf16 where the hardware multiplies it.
        device: "auto", "cpu" or "cuda:0".
        workers: data-loading processes; 0 loads in the training process.
        seed: of everything random.
        resume: go on from the last finished epoch in the output folder.
        out: output folder.
    """

    needs: ClassVar = {
        "method=sfa": ("D", "beta", "worth"),
        "method=clif": ("reset", "surrogate", "width", "train_decays", "learning", "skip_backward", "norm_until"),
        "freeze_out": ("freeze_start", "freeze_scaled"),
    }

    file_only: ClassVar[str] = (
        "beta worth reset surrogate width train_decays learning norm_until freeze_start freeze_scaled "
        "lr_final theta_lr_factor weight_decay validate_every"
    )

    data: str = "synthetic"
    split: str = "train"
    layout: ChosenLayout = ""
    fractions: str = "0.8,0.1,0.1"
    strict: bool = False
    skip_bad: bool = False
    method: TrainingMethod = "conversion"
    T: TimeSteps | None = None
    D: Annotated[int, Range(1, LIMITS["delay"][1])] = 4
    beta: Fraction = 0.25
    worth: SpikeWorth = "theta"
    copies: Count = 1
    reset: Reset = "hard"
    surrogate: Surrogate = "rectangle"
    width: Positive = 1.0
    train_decays: bool = False
    learning: Learning = "current-step"
    skip_backward: Whole = 0
    norm_until: Fraction | None = None
    freeze_out: FreezeOut = ""
    freeze_start: Fraction = 0.8
    freeze_scaled: bool = True
    epochs: Count = 100
    batch: Count = 8
    lr: Positive = 1e-3
    lr_final: Fraction = 0.01
    theta_lr_factor: NotNegative = 10.0
    weight_decay: NotNegative = 5e-4
    warmup_epochs: NotNegative = 3.0
    mosaic: Fraction = 1.0
    close_mosaic: Whole = 10
    held_out: Fraction = 0.1
    validate_every: Count = 1
    patience: Whole = 0
    distill: NotNegative = 0.0
    teacher: str = ""
    precision: Precision = "auto"
    device: str = "auto"
    workers: Whole = 0
    seed: Seed = 0
    resume: bool = False
    out: str = "runs/run"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies > 1 and self.method == "clif":
            raise ConfigError(f"{self.shown('copies')} has no effect with --method clif")
        if self.method == "sfa" and self.time_steps * self.D > (most := LIMITS["T"][1]):
            raise ConfigError(f"--T times --D must be at most {most} sub-steps, got {self.time_steps} x {self.D}")
        if self.skip_backward >= self.time_steps:
            raise ConfigError(
                f"--skip-backward must be below T = {self.time_steps}, got {self.skip_backward}: one step has to learn"
            )
        if self.skip_backward and self.learning == "bptt":
            raise ConfigError("--skip-backward has no effect with learning: bptt")

    @property
    def time_steps(self) -> int:
        """T, or what the method takes unless it is given: real time steps of sfa and clif, levels of conversion."""
        return self.T or {"conversion": 8, "sfa": 1, "clif": 4}[self.method]


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
        theta_levels: weights that come without thresholds start at the ones with the least square error at this many
            quantization levels, on a few training images; 0 keeps theta. With sfa all weights do, at 1.5 D levels.
        weights: a source checkpoint, an ultralytics .pt file or a file of foreign weights to start from; classes that
            it does not have start at random. "auto" is the shipped source of the same model, if there is one; "none"
            trains from scratch.
    """

    basic: ClassVar[str] = "data split fractions method T D model weights epochs batch lr image_size resume out"
    file_only: ClassVar[str] = f"{LoopConfig.file_only} copies theta theta_levels"

    model: str = "tiny-yolo-csp"
    activation: Activation = ""
    image_size: ImageSize = 320
    theta: Positive = 4.0
    theta_levels: Whole = 8
    weights: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "conversion" and self.copies > 1:
            raise ConfigError("copies has no effect without --method sfa; an ANN gets them by spikedet finetune")
        if self.method == "conversion" and self.T is not None:
            raise ConfigError("--T has no effect without --method sfa or clif; an ANN has no time steps")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(LoopConfig):
    """Stage I: QC fine-tuning with trained thresholds and quantization noise.

    Attributes:
        checkpoint: a source (or an earlier Stage I) checkpoint.
        data: as in training; empty takes the checkpoint's.
        split: as in training; empty takes the checkpoint's.
        noise: quantization noise p, the fraction of elements left unquantized in a training forward.
        theta_images: training images on which the mean-square-best initial thresholds are found; 0 keeps theta.
        sparsity: weight of an L1 penalty on firing rates, each weighed by the weights that its spikes meet; 0 is the
            paper's Stage I.
        pool: "average" puts average pooling in place of max-pooling layers before it trains.
        out: output folder; empty is the checkpoint's folder.
    """

    basic: ClassVar[str] = "data method T D copies epochs lr distill teacher sparsity resume out"
    file_only: ClassVar[str] = f"{LoopConfig.file_only} pool"

    needs: ClassVar = {**LoopConfig.needs, "method=conversion": ("noise", "sparsity")}

    checkpoint: str
    data: str = ""
    split: str = ""
    noise: Fraction = 0.1
    theta_images: Whole = 32
    sparsity: NotNegative = 0.0
    pool: Pool = "max"
    epochs: Count = 30
    warmup_epochs: NotNegative = 1.0
    out: str = ""
