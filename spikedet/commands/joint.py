"""Joint calibration of a spiking network, from checkpoint to checkpoint."""

from __future__ import annotations

import logging
import operator
import time
from functools import partial
from pathlib import Path

import torch

from spikedet.calibration.finished import OTHER_STATE, calibration_key, is_result
from spikedet.calibration.images import TrainingImages
from spikedet.calibration.joint import JointCalibration, Progress, Teacher
from spikedet.checkpoint import read_meta, require_converted, require_same_classes
from spikedet.checkpoint.ancestry import with_parents
from spikedet.checkpoint.state import load_state, save_state
from spikedet.common.counts import counted
from spikedet.common.digests import file_sha256
from spikedet.common.distributed import barrier, first_says, is_first
from spikedet.common.environment import pick_device, seed_everything
from spikedet.common.errors import CheckpointError, ConfigError, TrainingError
from spikedet.common.memory import keep_freed_memory
from spikedet.config import JointConfig
from spikedet.conversion import load_spiking, require_one_window, save_spiking
from spikedet.data import load_for
from spikedet.models import load_ann
from spikedet.training.distillation import teacher_outputs

logger = logging.getLogger("spikedet")


@keep_freed_memory()
def joint(config: JointConfig) -> Path:
    """Calibrate all layers of one checkpoint's network jointly, on images; returns ``OUT/joint.safetensors``.

    Raises:
        CheckpointError: no spiking network, or a teacher that is no ANN.
        ConfigError: the ANN is not where it was and was not named, or has other classes.
        TrainingError: the loss is no longer finite.
    """
    source = Path(config.checkpoint)
    network, meta = load_spiking(source)
    require_converted(source, meta)
    require_one_window(network, source)
    ann = find_teacher(config)
    require_same_classes([ann], source, "let one teach another:")
    seed_everything(config.seed)
    data, split = meta.training_data(config.data, config.split)
    dataset = load_for(meta, data, split, config).for_training()
    _, drawn_with = meta.held_out(data, split) or (0.0, config.seed)
    rest, held_out = dataset.hold_out(config.held_out, drawn_with)
    out = Path(config.out) if config.out else source.parent
    path, state = out / "joint.safetensors", out / "joint-state.safetensors"
    key = calibration_key(f"{file_sha256(source)} {file_sha256(ann)}", config, dataset)
    if first_says(config.resume and is_result(path, key)):
        logger.info(f"{path}: already calibrated")
        return path
    logger.info(f"joint calibration on {counted(len(rest), 'image')}, {len(held_out)} held out, towards {ann}")
    device = pick_device(config.device)
    images, selection_images = (TrainingImages(part, meta.image_size, device) for part in (rest, held_out))
    run = JointCalibration(network.to(device), teacher(ann, device), images, selection_images, config)
    _train(run, state, key)
    network.load_state_dict(run.progress.best)
    if is_first():
        made = meta.child(
            source,
            stage="joint",
            config={**meta.config, "joint": config.recorded()},
            notes={"held_out_losses": run.progress.losses, "calibration": key},
            seed=config.seed,
        )
        save_spiking(path, network.cpu(), made)
        state.unlink(missing_ok=True)
        logger.info(f"{path}: held-out loss {min(run.progress.losses):.4f}")
    barrier()
    return path


def _train(run: JointCalibration, state: Path, key: str) -> None:
    """Every epoch that is left; after each the state is kept, to go on from."""
    epochs = run.config.epochs
    if first_says(run.config.resume and state.exists()):
        _resume(run, state, key)
        logger.info(f"resumed after epoch {run.progress.epoch} of {epochs}")
    else:
        run.begin()
        logger.info(f"held-out loss {run.progress.losses[0]:.4f} as it is")
    started, first = time.monotonic(), run.progress.epoch

    def keep(loss: float) -> None:
        progress = run.progress
        left = (time.monotonic() - started) / (progress.epoch - first) * (epochs - progress.epoch)
        said = f"loss {loss:.4f}  held out {progress.losses[-1]:.4f}  about {left:.0f} s left"
        logger.info(f"epoch {progress.epoch}/{epochs}  {said}")
        if is_first():
            modules = {"network": run.network.state_dict(), "best": progress.best}
            facts = {"epoch": progress.epoch, "losses": progress.losses, "key": key}
            save_state(state, modules, progress.optimizer, facts)

    try:
        run.run(keep)
    except TrainingError as error:
        good = state if run.progress.epoch else run.config.checkpoint
        raise TrainingError(f"{error}; the last good network is in {good}") from error


def find_teacher(config: JointConfig) -> Path:
    """The ANN that was named, or the source that the network came from, or else its Stage I."""
    if config.teacher:
        return Path(config.teacher)
    stages = {read_meta(path).stage: path for path in with_parents([Path(config.checkpoint)])}
    found = stages.get("ann", stages.get("qc", stages.get("sfa")))
    if found is None:
        raise ConfigError(f"{config.checkpoint}: the ANN it was made from is not where it was; name it with --teacher")
    gained = [held_out_ap(path) for path in (found, stages.get("qc", found))]
    if gained[0] is not None and gained[1] is not None and gained[1] > gained[0]:
        logger.warning(
            f"on the held-out images Stage I is {gained[1] - gained[0]:.1f} points of AP50:95 better than {found}, "
            f"which joint calibration imitates; --teacher {stages['qc']} imitates Stage I instead"
        )
    return found


def held_out_ap(path: Path) -> float | None:
    """AP50:95 in percent on the images that the training of an ANN held out; None where its file does not tell."""
    measured = read_meta(path).notes.get("held_out")
    ap = measured.get("AP") if isinstance(measured, dict) else None
    return float(ap) if isinstance(ap, (int, float)) else None


def teacher(path: Path, device: torch.device) -> Teacher:
    """Outputs of a checkpoint's ANN. Raises CheckpointError if it is none."""
    return partial(teacher_outputs, load_ann(path)[0].to(device))


def _resume(run: JointCalibration, state: Path, key: str) -> None:
    """Take up the state. Raises CheckpointError where it is not of this very calibration."""
    modules, optimizer, facts = load_state(state)
    if not isinstance(facts, dict) or facts.get("key") != key:
        raise CheckpointError(OTHER_STATE.format(state))
    try:
        epoch, losses = operator.index(facts["epoch"]), list(map(float, facts["losses"]))
        run.resume(modules["network"], Progress(epoch, modules["best"], losses, optimizer))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{state}: not a state of this calibration ({error}); go without --resume") from error
