"""Source training and Stage I: two configurations of one loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.config import FinetuneConfig, LoopConfig, TrainConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.transforms import to_input
from spikedet.environment import seed_everything
from spikedet.errors import CheckpointError
from spikedet.models import ClipDetector, activations, as_clip, as_qc, build_detector, load_model_yaml
from spikedet.quantization import mean_square_best_theta
from spikedet.training.loop import TrainingLoop


def train(config: TrainConfig) -> Path:
    """Train a source ANN with clip activations; returns ``OUT/ann.safetensors``."""
    seed_everything(config.seed)
    dataset = load_dataset(config.data, config.split, strict=config.strict)
    architecture = load_model_yaml(config.model)
    model = build_detector(architecture, dataset.class_names, theta=config.theta, theta_per=config.theta_per)
    meta = CheckpointMeta(
        stage="ann",
        model=Path(config.model).stem,
        architecture=architecture,
        class_names=dataset.class_names,
        image_size=config.image_size,
        data={"data": _absolute(config.data), "split": config.split},
        config={"train": dataclasses.asdict(config)},
        seed=config.seed,
    )
    return _run(model, dataset, config, meta)


def finetune(config: FinetuneConfig) -> Path:
    """Stage I: fine-tune a QC-ANN for ``config.T`` time steps; returns ``OUT/qc.safetensors``."""
    seed_everything(config.seed)
    source = Path(config.checkpoint)
    model, meta = load_ann(source)
    data = {"data": _absolute(config.data) or meta.data["data"], "split": config.split or meta.data["split"]}
    dataset = load_dataset(data["data"], data["split"], class_names=meta.class_names, strict=config.strict)
    if config.theta_images:
        set_mean_square_best_thetas_(model, dataset.draw(config.theta_images, config.seed), meta.image_size, config.T)
    meta = meta.child(
        source,
        stage="qc",
        finetuned=True,
        T=config.T,
        data=data,
        config={**meta.config, "finetune": dataclasses.asdict(config)},
        seed=config.seed,
    )
    return _run(as_qc(model, config.T, config.noise), dataset, config, meta)


def load_ann(path: Path) -> tuple[ClipDetector, CheckpointMeta]:
    """A source ANN or QC-ANN as the clip ANN with its weights, in eval mode.

    Raises:
        CheckpointError: the checkpoint is a spiking network, or its tensors do not fit its architecture.
    """
    tensors, meta = load_checkpoint(path)
    if meta.spiking:
        raise CheckpointError(f"{path}: a converted network (stage {meta.stage}); expected a source ANN or a QC-ANN")
    per_channel = any(v.numel() > 1 for k, v in tensors.items() if k.endswith("log_theta"))
    model = build_detector(meta.architecture, meta.class_names, theta_per="channel" if per_channel else "layer")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors do not fit its architecture ({str(error)[:200]})") from error
    return model.eval(), meta


@torch.no_grad()
def set_mean_square_best_thetas_(
    model: ClipDetector, pictures: DetectionDataset, image_size: int, T: int, batch: int = 16
) -> None:
    """Set every threshold, in place, to the mean-square-best one for T levels on a few training pictures."""
    model.eval()
    inputs = to_input([pictures.read_image(i) for i in range(len(pictures))], image_size)
    for _, activation in list(activations(model)):
        # One layer at a time, so that memory holds one layer's pre-activations.
        seen: list[Tensor] = []
        hook = activation.register_forward_pre_hook(_collector(seen))
        for part in inputs.split(batch):
            model(part)
        hook.remove()
        activation.set_theta(mean_square_best_theta(torch.cat(seen), T, theta_max=activation.theta))


def _collector(seen: list[Tensor]):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].detach())

    return hook


def _run(model: ClipDetector, dataset: DetectionDataset, config: LoopConfig, meta: CheckpointMeta) -> Path:
    rest, held_out = dataset.hold_out(config.held_out, config.seed)
    path = Path(config.out) / f"{meta.stage}.safetensors"
    print(f"{meta.model}: {len(rest)} pictures to train on, {len(held_out)} held out, output {path}", flush=True)

    def save(network: ClipDetector, measures: dict[str, float]) -> None:
        clip = as_clip(network)
        save_checkpoint(path, clip.state_dict(), dataclasses.replace(meta, notes={"held_out": measures}))

    TrainingLoop(model, rest, held_out, config, meta.image_size, save).run()
    return path


def _absolute(data: str) -> str:
    """Paths are kept absolute so that later stages find the data from any folder; set names stay as they are."""
    return str(Path(data).resolve()) if data and Path(data).exists() else data
