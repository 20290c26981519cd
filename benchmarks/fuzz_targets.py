"""Every kind of file that spikedet reads: one valid file of each, and what is done with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from ultralytics.nn.tasks import DetectionModel

from spikedet import SpikingDetector
from spikedet.checkpoint import load_checkpoint
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.commands.data_convert import data_convert as convert_data
from spikedet.commands.joint import joint
from spikedet.commands.train import train
from spikedet.config import CalibrateConfig, ConvertConfig, DataConvertConfig, JointConfig, TrainConfig
from spikedet.conversion.report import as_text, report
from spikedet.data import load_dataset
from spikedet.data.images import read_image
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic
from spikedet.evaluation import read_results
from spikedet.evaluation.archive import load_predicted
from spikedet.kernels.library import available
from spikedet.models import build_detector, load_ann, load_model_yaml
from spikedet.models.imported import read_ultralytics

ARCHITECTURE: dict[str, Any] = {
    "nc": 4,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]]],
    "head": [[-1, 1, "Conv", [8, 3, 2]], [[-1], 1, "Detect", ["nc"]]],
}


@dataclass(frozen=True)
class Target:
    """Files of one kind, and what is done with them.

    Attributes:
        name: in the table.
        file: the one that is mutated, under the folder of a case.
        read: reads it; the folder of the case and the output folder.
    """

    name: str
    file: str
    read: Callable[[Path, Path], object]


def seeds(folder: Path) -> None:
    """One valid file of every kind; what is compiled at first use is compiled here."""
    available()
    write_synthetic(folder / "voc", SyntheticConfig(train=4, val=2, test=2, image_hw=(64, 64)))
    for layout in ("yolo", "coco"):
        convert_data(DataConvertConfig(data=str(folder / "voc"), to=layout, out=str(folder / layout)))
    (folder / "short.yaml").write_text("data: voc\nnames: [circle, square, triangle, cross]\n", "utf-8")
    (folder / "model.yaml").write_text(yaml.safe_dump(ARCHITECTURE), "utf-8")
    train(train_config(folder, folder))
    convert(ConvertConfig(checkpoint=str(folder / "net/ann.safetensors"), T=2, theta_images=2))
    interrupted(lambda: calibrate(calibrate_config(folder, folder)), "spikedet.commands.calibrate.save_spiking")
    interrupted(lambda: joint(joint_config(folder, folder)), "spikedet.commands.joint.save_spiking")
    model = DetectionModel(dict(ARCHITECTURE), ch=3, nc=4, verbose=False)
    torch.save({"model": model, "train_args": {"imgsz": 64}}, folder / "net.pt")


def interrupted(verb: Callable[[], object], at: str) -> None:
    """Stop a verb where it would write its result: the state that it goes on from stays."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with patch(at, stop), suppress(KeyboardInterrupt):
        verb()


def train_config(home: Path, out: Path, **changes: Any) -> TrainConfig:
    """One epoch on the data in one folder, into another."""
    settings: dict[str, Any] = {
        "image_size": 64,
        "epochs": 1,
        "batch": 4,
        "warmup_epochs": 0,
        "held_out": 0.0,
    } | changes
    return TrainConfig(data=str(home / "voc"), model=str(home / "model.yaml"), out=str(out / "net"), **settings)


def calibrate_config(home: Path, out: Path) -> CalibrateConfig:
    """Coarse calibration of the network in one folder into another, gone on with."""
    checkpoint, data = str(home / "net/copied.safetensors"), str(home / "voc")
    return CalibrateConfig(checkpoint=checkpoint, data=data, images=2, fine=False, resume=True, out=str(out / "net"))


def joint_config(home: Path, out: Path) -> JointConfig:
    """One epoch of joint calibration, likewise."""
    checkpoint, teacher = str(home / "net/copied.safetensors"), str(home / "net/ann.safetensors")
    data, into = str(home / "voc"), str(out / "net")
    return JointConfig(checkpoint=checkpoint, teacher=teacher, data=data, epochs=1, batch=4, resume=True, out=into)


def targets(folder: Path) -> list[Target]:
    """Every kind of file that spikedet reads."""
    image = next((folder / "voc/JPEGImages").glob("train*")).relative_to(folder)
    label = next((folder / "yolo/labels").glob("train*")).relative_to(folder)
    annotation = next((folder / "voc/Annotations").glob("train*")).relative_to(folder)

    def dataset(data: str) -> Callable[[Path, Path], object]:
        return lambda home, out: load_dataset(home / data, "train", skip_bad=False)

    def network(home: Path, out: Path) -> object:
        return SpikingDetector.load(home / "net/copied.safetensors")(home / image)

    def resumed(verb: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
        def gone_on_with(home: Path, out: Path) -> object:
            shutil.copytree(home / "net", out / "net")
            return verb(home, out)

        return gone_on_with

    def trained(home: Path, out: Path) -> object:
        return train(train_config(home, out, epochs=2, resume=True))

    def calibrated(home: Path, out: Path) -> object:
        return calibrate(calibrate_config(home, out))

    def jointly(home: Path, out: Path) -> object:
        return joint(joint_config(home, out))

    def detector(home: Path, out: Path) -> object:
        return build_detector(load_model_yaml(str(home / "model.yaml")), "ab")

    source, state, coco = "net/ann.safetensors", "net/ann-state.safetensors", "coco/annotations/instances_train.json"

    return [
        Target("VOC annotation", str(annotation), dataset("voc")),
        Target("VOC split", "voc/ImageSets/Main/train.txt", dataset("voc")),
        Target("data YAML", "short.yaml", dataset("short.yaml")),
        Target("YOLO labels", str(label), dataset("yolo")),
        Target("YOLO YAML", "yolo/data.yaml", dataset("yolo")),
        Target("YOLO split", "yolo/train.txt", dataset("yolo")),
        Target("COCO JSON", coco, dataset("coco")),
        Target("image", str(image), lambda home, out: read_image(home / image)),
        Target("skipped image", str(image), lambda home, out: load_dataset(home / "voc", "train", skip_bad=True)),
        Target("model YAML", "model.yaml", detector),
        Target("dry run", "model.yaml", lambda home, out: as_text(report(home / "model.yaml"))),
        Target("source checkpoint", source, lambda home, out: load_ann(home / source)),
        Target("spiking checkpoint", "net/copied.safetensors", network),
        Target("calibrated checkpoint", "net/copied.safetensors", calibrated),
        Target("training state", state, resumed(trained)),
        Target("calibration state", "net/coarse-state.safetensors", resumed(calibrated)),
        Target("joint state", "net/joint-state.safetensors", resumed(jointly)),
        Target("detections", source, lambda home, out: load_predicted(home / source, 2)),
        Target("any checkpoint", state, lambda home, out: load_checkpoint(home / state)),
        Target("results", coco, lambda home, out: read_results(home / coco)),
        Target("ultralytics .pt", "net.pt", lambda home, out: read_ultralytics(home / "net.pt")),
    ]
