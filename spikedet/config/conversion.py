"""Settings of conversion, Stage II, joint calibration, and of the quickstart that runs all stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikedet.config.checks import (
    Checked,
    Count,
    Delay,
    Fraction,
    NotNegative,
    Positive,
    Seed,
    TimeSteps,
    Whole,
)
from spikedet.config.choices import Activation, Linear, MaxPoolRule, Method, Mode, Neuron, Precision


@dataclass(frozen=True, kw_only=True)
class TrainedOnConfig(Checked):
    """Images for what is done to a trained network.

    Attributes:
        data: empty takes the checkpoint's training data.
        split: empty takes the checkpoint's training split.
        skip_bad: skip broken images and annotations, as in training; holds for every stage that runs.
        seed: of everything random, in every stage that runs.
    """

    data: str = ""
    split: str = ""
    skip_bad: bool = False
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(TrainedOnConfig):
    """Stage II: layer-wise calibration of initial potential and weights.

    Attributes:
        checkpoint: a converted network with copied weights.
        images: calibration images, drawn from the training split; a fifth is held out for early stopping.
        fine: also the fine calibration (weights, bias and u[0] by BPTT), after the coarse one.
        train_weights: let the fine calibration change weights and biases.
        train_potential: let the fine calibration change u[0].
        epochs: passes over the calibration images per layer.
        patience: epochs without a better held-out error before a layer stops.
        batch: images per step.
        lr: Adam's step, relative to the root mean square of a layer's weights (bias and u[0]: to theta).
        crop: output positions per side in a training step; larger maps are cropped at random.
        early: weight of the rates' error after half of the window, beside that after all of it: spikes that come on
            time leave the next layer less error. 0 is the paper's Stage II.
        sparsity: weight of an L1 penalty on a layer's firing rate, in units of the mean square of its theta; 0 is the
            paper's Stage II.
        precision: "fp32", "bf16" or "auto", of the convolutions in training steps; held-out errors and the spikes kept
            are always fp32.
        memory_budget_gb: cached spike trains above this go to disk.
        resume: continue an interrupted calibration of the same network at its current layer.
        out: output folder; empty is the checkpoint's folder.
    """

    basic: ClassVar[str] = "data images epochs early fine resume out"
    file_only: ClassVar[str] = "patience train_weights train_potential memory_budget_gb"

    needs: ClassVar = {"fine": ("sparsity",)}

    checkpoint: str
    images: Count = 64
    fine: bool = True
    train_weights: bool = True
    train_potential: bool = True
    epochs: Count = 12
    patience: Whole = 4
    batch: Count = 8
    lr: Positive = 2e-3
    crop: Count = 20
    early: NotNegative = 0.0
    sparsity: NotNegative = 0.0
    precision: Precision = "fp32"
    memory_budget_gb: Positive = 4.0
    resume: bool = False
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class JointConfig(TrainedOnConfig):
    """Joint calibration: all layers at once, towards the outputs of the ANN; after Stage II, and not in the paper.

    Attributes:
        checkpoint: a spiking network, calibrated or not.
        teacher: the ANN whose outputs are the target (labels are not used), or a QC-ANN that represents its clip ANN;
            empty finds the source through the checkpoint, or else its clip ANN.
        epochs: passes over the images.
        batch: images per step.
        lr: Adam's step, relative to the root mean square of a layer's weights (bias and u[0]: to theta).
        mosaic: share of the images that are combined from four; reduces overfitting over many epochs.
        held_out: seeded fraction of the images that chooses the best epoch, taken from those that training has kept.
        sparsity: weight of an L1 penalty on firing rates, each weighed by the weights that its spikes meet.
        precision: of the forward pass in means: "bf16" autocast, "fp32", or "auto": bf16 where the hardware multiplies
            it. For held-out losses always fp32.
        mode: "exact" or "fast", of the simulation in training.
        device: "auto", "cpu" or "cuda:0".
        resume: continue from the last finished epoch in the output folder.
        out: output folder; empty is the checkpoint's folder.
    """

    basic: ClassVar[str] = "data epochs batch lr sparsity resume out"
    file_only: ClassVar[str] = "mosaic"

    checkpoint: str
    teacher: str = ""
    epochs: Count = 4
    batch: Count = 16
    lr: Positive = 5e-4
    mosaic: Fraction = 0.0
    held_out: Fraction = 0.1
    sparsity: NotNegative = 0.0
    precision: Precision = "auto"
    mode: Mode = "exact"
    device: str = "auto"
    resume: bool = False
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(TrainedOnConfig):
    """Conversion of a source or QC network into a spiking one, with Stage I and Stage II when asked.

    Attributes:
        checkpoint: a source ANN or a QC-ANN.
        T: time steps; for a QC-ANN its own T unless given.
        method: "two-stage", or "channel-norm", the Spiking-YOLO baseline: thresholds are each channel's largest
            activation on theta_images images, membranes start at zero.
        neuron: "if" (the paper's) or "signed" (may take back a spike; lowest latency); with "if" LeakyReLU layers get
            "asymmetric" ones, "signed" does not convert them. Convolutions without activation: see linear.
        linear: what convolutions without activation become: "analog" (no neurons: pointwise ones are folded into the
            layers that read them, others are currents, counted as MACs) or "spiking" (asymmetric IF neurons of slope 1,
            whatever the other layers have).
        delay: firing delay of every layer, in steps.
        latency: most steps L that layers may wait for, one step after the other where that mends the outputs most, on
            theta_images training images (held-out ones first); 0 leaves all delays as they are. Not for sfa and clif.
        max_pool: what a maximum over spikes is: "count" (the growth of the largest spike count, exact in rates) or
            "or" (a spike wherever one is in the window).
        theta_images: images for the thresholds of a source without Stage I (mean-square-best, or channel-norm's; 0
            keeps its thetas), and for the choice of the layers that wait.
        dry_run: only print, layer by layer, what the model (a checkpoint, a model YAML or an ultralytics .pt file)
            would be converted to, and which layers cannot spike.
        activation: in a dry run of a model YAML or .pt file, in place of its own, as in training.
        resume: continue an interrupted conversion at its first unfinished stage.
        finetune: run Stage I first.
        finetune_epochs: epochs of Stage I.
        calibrate: run Stage II afterwards.
        images: calibration images.
        epochs: epochs of fine calibration per layer.
        joint: run the joint calibration last.
        joint_epochs: epochs of the joint calibration.
        out: output folder; empty is the checkpoint's folder.
    """

    basic: ClassVar[str] = (
        "data T neuron delay latency max_pool linear finetune finetune_epochs calibrate images joint joint_epochs "
        "dry_run out"
    )

    needs: ClassVar = {
        "finetune": ("finetune_epochs",),
        "calibrate": ("images", "epochs"),
        "joint": ("joint_epochs",),
        "dry_run": ("activation",),
    }

    checkpoint: str
    T: TimeSteps | None = None
    method: Method = "two-stage"
    neuron: Neuron = "if"
    linear: Linear = "analog"
    delay: Delay = 0
    latency: Whole = 0
    max_pool: MaxPoolRule = "count"
    theta_images: Whole = 32
    dry_run: bool = False
    activation: Activation = ""
    resume: bool = False
    finetune: bool = False
    finetune_epochs: Count = 30
    calibrate: bool = False
    images: Count = 64
    epochs: Count = 12
    joint: bool = False
    joint_epochs: Count = 4
    out: str = ""


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig(Checked):
    """Every stage on the built-in synthetic set with the nano network.

    Attributes:
        out: output folder.
        epochs: of source training.
        finetune_epochs: of Stage I.
        T: time steps converted for.
        images: calibration images.
        joint_epochs: of the joint calibration.
        seed: of every stage.
    """

    file_only: ClassVar[str] = "epochs finetune_epochs joint_epochs images"

    out: str = "runs/quickstart"
    epochs: Count = 90
    finetune_epochs: Count = 25
    T: TimeSteps = 8
    images: Count = 64
    joint_epochs: Count = 10
    seed: Seed = 0
