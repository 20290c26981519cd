"""The training loop of every stage that trains whole networks: ultralytics' detection trainer, made ours at the edges.

Ultralytics gives mosaic, albumentations, EMA, warm-up, cosine schedule and the loss. Overridden here: the dataset (from
memory), validation (our AP on a held-out slice of the training images), the length of the average, thresholds with a
learning rate of their own, checkpoints and resume (never pickled), and every callback that would reach for the network.

Under torchrun ultralytics shares out the images and torch averages the gradients, the thresholds' among them: every
process has the same weights after every step. Batch normalization sees each process's own part of the batch. A network
that learns step by step runs most of its backward passes before torch can average: its gradients are summed here.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from spikedet.checkpoint.state import finite, load_adam_, save_state
from spikedet.common.distributed import any_says, barrier, copy_from_first_, is_first, rank, size, sum_gradients_
from spikedet.common.environment import pick_device, seed_everything
from spikedet.common.errors import CheckpointError, ConfigError, TrainingError
from spikedet.common.memory import keep_freed_memory
from spikedet.common.progress import make_progress
from spikedet.config import LoopConfig
from spikedet.data import DetectionDataset
from spikedet.evaluation.measures import measure
from spikedet.evaluation.predict import predict_dataset
from spikedet.models import ClipDetector
from spikedet.models.start import AUTO, NONE
from spikedet.training.current_step import set_learning_
from spikedet.training.dataset import AugmentedDataset
from spikedet.training.freeze_out import fix_norms_, freezing
from spikedet.training.resuming import Facts, forget_epochs, load_progress, log_path, state_path
from spikedet.training.workers import require_shared_memory, start_worker, worker_errors

logger = logging.getLogger("spikedet")

METRICS = ("AP", "AP50", "AP75")
HELD_OUT = tuple(f"held_out/{name}" for name in METRICS)

_SEEDS_APART = 1_000_003
"""Between the seeds of two processes, so that they draw different noise and mosaics."""

_AVERAGED = 10
"""The average of the weights spans about the last 1 / 10 of the steps so far."""

EXPLODED = 10.0
"""An epoch's mean loss, as a multiple of the lowest one before it, from which training stops."""

Save = Callable[[ClipDetector, dict[str, float]], None]
"""Called with the averaged network and its held-out measures whenever it is the best so far."""


class TrainingLoop(DetectionTrainer):
    """One training run.

    Args:
        model: the network to train, in place.
        train: images to train on.
        held_out: training images kept for validation; where they have no object, the last network is kept.
        config: the stage's configuration.
        image_size: side of the square input.
        save: receives the best network.
        name: of the stage; its files in the output folder begin with it, so that stages may share a folder.
        made_for: what makes this training the one that a state belongs to, as JSON.
    """

    best_fitness: float | None
    ema: ModelEMA
    metrics: dict[str, float]

    # The name must not end in "Trainer": ultralytics attaches its platform callbacks to classes called so.

    def __init__(
        self,
        model: ClipDetector,
        train: DetectionDataset,
        held_out: DetectionDataset,
        config: LoopConfig,
        image_size: int,
        save: Save,
        name: str,
        made_for: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.sources, self.save_best = config, {"train": train, "val": held_out}, save
        self.made_for = made_for or {}
        self.from_weights = getattr(config, "weights", NONE) not in (NONE, AUTO) or hasattr(config, "checkpoint")
        self.out, self.name, self.state, self.evaluated = Path(config.out), name, state_path(config, name), False
        self.lowest_loss: float | None = None
        self.selects = any((~sample.difficult).any() for sample in held_out.samples)  # else the last network is kept
        device = pick_device(config.device)
        threads = torch.get_num_threads()
        super().__init__(overrides=_overrides(config, image_size, device), _callbacks=defaultdict(list))
        with suppress(OSError):
            self.wdir.rmdir()  # ultralytics' folder for pickled checkpoints stays empty here
        self.csv = log_path(config, name)
        if not config.resume and is_first():
            self.csv.unlink(missing_ok=True)
        torch.set_num_threads(threads)  # ultralytics leaves one core unused on a CPU
        self.callbacks: dict[str, list[Any]] = defaultdict(list)
        self.progress = make_progress()
        self.callbacks["on_train_epoch_start"] = [lambda loop: loop.begin_epoch()]
        self.callbacks["on_train_start"] = [lambda loop: loop.evaluate_start()]
        self.callbacks["on_train_batch_start"] = [lambda loop: loop.begin_batch()]
        self.callbacks["on_train_batch_end"] = [lambda loop: loop.progress.advance(loop.bar)]
        self.bar = self.progress.add_task("batches")
        self.args.workers = config.workers
        self.model = model.to(memory_format=torch.channels_last)  # a sixth faster on a CPU
        self.model.precision = config.precision
        if config.method == "clif":
            set_learning_(self.model, config)
        self.freezing, self.batches = freezing(self.model.model, config), 0
        self.norm_until = _norm_until(config, self.from_weights)
        self.metrics = {}
        # One step of the optimizer for each batch, also where there are fewer images than a batch takes.
        self.batch_size = self.args.batch = self.args.nbs = _batch(config, len(train))
        require_shared_memory(config.workers, self.batch_size, image_size)
        seed_everything(config.seed)
        self.writer = SummaryWriter(str(self.out / "tensorboard" / name)) if is_first() else None
        self.started = time.monotonic()

    # --- data -----------------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict[str, Any]:
        """Names and the two splits by key; the datasets themselves stay in ``self.sources``."""
        names = dict(enumerate(self.sources["train"].class_names))
        return {"train": "train", "val": "val", "nc": len(names), "names": names, "channels": 3, "path": ""}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> AugmentedDataset:
        """The split ``img_path`` behind ultralytics' transforms."""
        source = self.sources[img_path] if len(self.sources[img_path]) else self.sources["train"]
        return AugmentedDataset(
            source, image_size=self.args.imgsz, hyp=self.args, augment=mode == "train", batch=batch or 1
        )

    def _build_train_pipeline(self) -> None:
        """Ultralytics' loaders, for this process's part of the batch, and the network wrapped for several processes.

        Ultralytics itself wraps networks on CUDA devices only.
        """
        self.world_size = size()
        super()._build_train_pipeline()
        self.train_loader.worker_init_fn = start_worker
        if size() > 1 and unwrap_model(self.model).learning is None:
            devices = [self.device] if self.device.type == "cuda" else None
            self.model = DistributedDataParallel(
                self.model, device_ids=devices, find_unused_parameters=True, broadcast_buffers=False
            )
        else:
            copy_from_first_(value.detach() for value in (*self.model.parameters(), *self.model.buffers()))

    # --- optimizer --------------------------------------------------------------------------------------------------

    def build_optimizer(self, model: Any, name: str = "auto", lr: float = 1e-3, **kwargs: Any) -> Any:
        """Ultralytics' groups, with thresholds and decays in one of their own: higher rate, no weight decay."""
        optimizer = super().build_optimizer(model, name, lr, **kwargs)
        thetas = [p for n, p in model.named_parameters() if n.endswith(("log_theta", "logit_decays"))]
        chosen = {id(p) for p in thetas}
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in chosen]
        defaults = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "param_group")}
        rate = lr * self.config.theta_lr_factor
        optimizer.add_param_group(
            {**defaults, "params": thetas, "lr": rate, "weight_decay": 0.0, "param_group": "theta"}
        )
        if self.freezing is not None:
            optimizer.param_groups = self.freezing.by_layer(optimizer.param_groups)
        return optimizer

    def begin_epoch(self) -> None:
        """Seed everything, and count batches from 0."""
        self.batches = 0
        self.progress.reset(self.bar, total=len(self.train_loader))
        seed_epoch(self.train_loader, self.config.seed, self.epoch)

    def begin_batch(self) -> None:
        """Freeze what has been trained for long enough."""
        done = self._done()
        if done >= self.norm_until:
            fix_norms_(self.model)
        if self.freezing is not None:
            self.freezing.freeze_(done)

    def _done(self) -> float:
        """The share of the run that is over, in [0, 1)."""
        return (self.epoch + self.batches / len(self.train_loader)) / self.epochs

    def optimizer_step(self) -> None:
        """Ultralytics' step, with the gradients of all processes and the rates of all layers."""
        if unwrap_model(self.model).learning is not None:
            sum_gradients_(p for p in self.model.parameters() if p.requires_grad)
        if self.freezing is not None:
            done, warmup = self._done(), self._get_warmup_iterations(len(self.train_loader))
            warm = min((self.epoch * len(self.train_loader) + self.batches) / max(warmup, 1), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * warm * self.freezing.factor(group["layer"], done)
        super().optimizer_step()
        self.batches += 1

    # --- validation -------------------------------------------------------------------------------------------------

    def get_validator(self) -> Any:
        """A stand-in: ``validate`` is ours, ultralytics only asks for the names of the measures."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=list(HELD_OUT)))

    def validate(self) -> tuple[dict[str, float], float]:
        """Percent AP of the averaged network on the held-out training images; fitness is AP50:95.

        AP is NaN until it has been measured, and where there is no object to find.
        """
        due = (self.epoch + 1) % self.config.validate_every == 0 or self.epoch + 1 >= self.epochs
        self.evaluated = due or not self.selects
        if not due or not self.selects:
            last = {name: self.metrics[name] for name in HELD_OUT}
            return last, float(self.epoch) if not self.selects else (self.fitness or 0.0)
        values = {f"held_out/{name}": value for name, value in self._held_out_measures().items()}
        return values, values["held_out/AP"]

    def _held_out_measures(self, **settings: Any) -> dict[str, float]:
        """Percent AP by name of the averaged network on the held-out images; settings are those of predict_dataset."""
        network, held_out = self.ema.ema.eval(), self.sources["val"]
        copy_from_first_(network.buffers())
        found = predict_dataset(lambda x: {0: network(x.to(self.device))[0]}, held_out, self.args.imgsz, **settings)
        measures = measure(held_out, found[0])
        return {name: float(getattr(measures, name) or 0.0) for name in METRICS}

    def evaluate_start(self) -> None:
        """Print what the network detects before the first step, where it starts from trained weights.

        Scores from 0.05 only: before training every cell may have a small one.
        """
        if self.start_epoch or not self.from_weights or not self.selects:
            return
        shown = _shown(self._held_out_measures(confidence=0.05))
        logger.info(f"epoch 0/{self.epochs}  before training, held out: {shown}")

    # --- logs, checkpoints, resume ------------------------------------------------------------------------------------

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """One line in the log, the same to TensorBoard and one line for the person watching."""
        super().save_metrics(metrics)
        if self.writer is not None:
            for name, value in metrics.items():
                if math.isfinite(value):
                    self.writer.add_scalar(name, float(value), self.epoch + 1)
        loss = sum(float(v) for k, v in metrics.items() if k.startswith("train/"))
        shown = _shown({name: metrics.get(f"held_out/{name}", math.nan) for name in METRICS})
        elapsed = time.monotonic() - self.started
        left = elapsed / (self.epoch + 1 - self.start_epoch) * (self.epochs - self.epoch - 1)
        logger.info(
            f"epoch {self.epoch + 1}/{self.epochs}  loss {loss:.3f}  held out: {shown}  "
            f"{elapsed:.0f} s, about {left:.0f} s left",
        )

    def save_model(self) -> bool:
        """Keep the best averaged network, then the state to resume from."""
        averaged = self.ema.ema
        measured = {k: v for k, v in self.metrics.items() if k.startswith("held_out/") and math.isfinite(v)}
        if self.evaluated and (self.best_fitness is None or self.fitness >= self.best_fitness):
            self.best_fitness = self.fitness
            self.save_best(averaged, {name.split("/")[1]: value for name, value in measured.items()})
        facts = Facts(
            epoch=self.epoch,
            best_fitness=self.best_fitness,
            updates=self.ema.updates,
            stopper=(self.stopper.best_fitness, self.stopper.best_epoch),
            stopped_at_patience=self.config.patience if self.stop and self.epoch + 1 < self.epochs else 0,
            made_for=self.made_for,
            held_out=measured,
            lowest_loss=self.lowest_loss,
        )
        modules = {"model": unwrap_model(self.model).state_dict(), "ema": averaged.state_dict()}
        save_state(self.state, modules, self.optimizer.state_dict(), asdict(facts))
        return True

    def resume_training(self, ckpt: Any) -> None:
        """Go on after the last finished epoch, if asked to and if there is one."""
        self.metrics |= dict.fromkeys(HELD_OUT, math.nan)
        self.ema.decay = average_decay
        if not self.config.resume:
            return
        if not self.state.exists():
            if is_first():
                forget_epochs(self.csv, 0)
            return
        modules, optimizer, facts = load_progress(self.state, self.made_for)
        try:
            unwrap_model(self.model).load_state_dict(modules["model"])
            self.ema.ema.load_state_dict(modules["ema"])
            load_adam_(self.optimizer, optimizer)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{self.state}: not a state of this training ({reason}); train without --resume"
            ) from error
        self.ema.updates, self.best_fitness, self.lowest_loss = facts.updates, facts.best_fitness, facts.lowest_loss
        self.stopper.best_fitness, self.stopper.best_epoch = facts.stopper
        self.metrics |= {name: value for name, value in facts.held_out.items() if name in HELD_OUT}
        self.start_epoch = facts.epoch + 1
        barrier()  # everyone has read
        if is_first():
            forget_epochs(self.csv, self.start_epoch)
        logger.info(f"resumed after epoch {self.start_epoch} of {self.epochs}")

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if not any_says(self.loss is not None and not bool(torch.isfinite(self.loss).all())):
            self._watch_loss(epoch)
            return False
        raise self._failed(epoch, "the loss is no longer finite")

    def _watch_loss(self, epoch: int) -> None:
        """Stop where an epoch's loss has exploded. Raises TrainingError."""
        loss, lowest = sum(float(part) for part in self.tloss.values()), self.lowest_loss
        if any_says(lowest is not None and loss > EXPLODED * lowest):
            raise self._failed(epoch, f"the loss has exploded, to {loss:.3g} from {lowest:.3g}")
        self.lowest_loss = loss if lowest is None else min(loss, lowest)

    def _failed(self, epoch: int, how: str) -> TrainingError:
        best = self.out / f"{self.name}.safetensors"
        kept = f"the last good network is {best}" if self.best_fitness is not None else "nothing was saved yet"
        return TrainingError(f"epoch {epoch + 1}: {how}; {kept}. Try a lower --lr.")

    def final_eval(self) -> None:
        """Nothing: the best network was evaluated when it was saved."""
        if self.writer is not None:
            self.writer.close()

    @keep_freed_memory()
    def run(self) -> None:
        """Train until the last epoch, early stopping or an error."""
        torch.set_flush_denormal(True)  # denormal gradients are many times slower on a CPU and change nothing
        try:
            with self.progress, worker_errors("--resume goes on after the last finished epoch."):
                self.train()
        finally:
            torch.set_flush_denormal(False)
        if not finite(self.ema.ema.state_dict()):
            raise TrainingError(f"{self.out}: the averaged network is no longer finite; try a lower --lr")


def seed_epoch(loader: Any, seed: int, epoch: int) -> None:
    """Everything random of one epoch, so that an interrupted run goes on as it would have gone on.

    With loading processes of their own, the order of the images is not among it: they have drawn it ahead.
    """
    own_seed = seed + 1 + epoch + rank() * _SEEDS_APART
    seed_everything(own_seed)
    loader.generator.manual_seed(own_seed)
    if loader.num_workers == 0:
        loader.dataset.forget()
        loader.reset()  # the sampler may be in the middle of a permutation


def average_decay(steps: int) -> float:
    """The decay d of the average of the weights w in step t: a[t] = d a[t-1] + (1 - d) w[t], d = t / (t + 10).

    So the average spans about a tenth of the run so far. Ultralytics' own decay is 0.3 after 700 steps: in a short run
    it averages nothing. Polynomial-decay averaging: Shamir and Zhang, "Stochastic gradient descent for non-smooth
    optimization", ICML 2013.
    """
    return steps / (steps + _AVERAGED)


def _shown(measures: dict[str, float]) -> str:
    """AP by name; "-" where it is not known."""
    return "  ".join(f"{name} {value:.1f}" if math.isfinite(value) else f"{name} -" for name, value in measures.items())


def _norm_until(config: LoopConfig, from_weights: bool) -> float:
    """The share of the run after which batch normalization keeps its statistics."""
    if config.norm_until is not None:
        return config.norm_until
    return (0.0 if from_weights else 0.5) if config.method == "clif" else 1.0


def _batch(config: LoopConfig, images: int) -> int:
    """Images of all processes together in one step. Raises ConfigError if they cannot be shared out."""
    batch = min(config.batch, images)
    if batch % size():
        raise ConfigError(f"--batch {batch} cannot be shared by {size()} processes; it is the sum over all of them")
    return batch


def _overrides(config: LoopConfig, image_size: int, device: torch.device) -> dict[str, Any]:
    return {
        "model": "spikedet.yaml",
        "data": "spikedet",
        "device": "cpu" if device.type == "cpu" else str(device.index or 0),  # each process names its own
        "save_dir": str(config.out),
        "exist_ok": True,
        "epochs": config.epochs,
        "batch": config.batch,
        "nbs": config.batch,
        "imgsz": image_size,
        "optimizer": "AdamW",
        "lr0": config.lr,
        "lrf": config.lr_final,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": config.weight_decay,
        "warmup_epochs": config.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "mosaic": config.mosaic,
        "close_mosaic": config.close_mosaic,
        "patience": config.patience or 10**9,
        "seed": config.seed,
        "deterministic": False,
        "amp": False,  # autocast is the model's own: ultralytics' bf16 raises on a CPU
        "plots": False,
        "verbose": False,
        "workers": config.workers,
    }
