#!/usr/bin/env python3
"""What an export loses and how fast engines run it, beside the networks and our simulator.

    python benchmarks/export.py --data VOCdevkit/VOC2007 [--split val] [--images 100] [--threads 2] [--json FILE]

First every checkpoint in every format that takes it: the largest difference of the file, AP50:95 on the first images of
the split beside the network's, size, and seconds to write it. yolov8n has random weights, so no AP.
Then milliseconds for one image of 416 px: medians of rounds in which every contender runs once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import CONTENDERS, Run
from subjects import CLASSES, set_rate_
from tables import export_line, export_speed_line, export_speed_table, export_table
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.commands.export import expected_outputs, sample_images
from spikedet.common.environment import versions
from spikedet.common.errors import ConfigError, ExportError
from spikedet.common.files import write_json
from spikedet.common.resources import find_weights
from spikedet.config import ExportConfig
from spikedet.config.export import ExportFormat
from spikedet.conversion import save_spiking, to_spiking
from spikedet.data import DetectionDataset, load_dataset
from spikedet.evaluation.measures import measure
from spikedet.evaluation.predict import predict_dataset
from spikedet.exports import FORMATS, Outputs, Subject
from spikedet.exports.check import difference
from spikedet.exports.formats import require
from spikedet.exports.onnx_model import onnx_model
from spikedet.inference.network import load_network, spiking_graph
from spikedet.models import as_qc, build_detector, load_ann
from spikedet.models.architecture import read_model_yaml

SHIPPED = (
    "tiny-yolo-csp-voc-source",
    "tiny-yolo-csp-voc-qc",
    "tiny-yolo-csp-voc-t8",
    "tiny-yolo-csp-nano-voc-source",
    "tiny-yolo-csp-nano-voc-qc",
    "tiny-yolo-csp-nano-voc-t8",
)
KINDS: tuple[tuple[ExportFormat, str], ...] = (
    ("onnx", "fp32"),
    ("onnx-int8", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "int8"),
    ("spikingjelly", "fp32"),
    ("nir", "fp32"),
    ("fixed-point", "fp32"),
)
RANDOM = "yolov8n.yaml"
SPEED_PX, SPEED_T, SPEED_OF = 320, (4, 8), "tiny-yolo-csp-voc"


def main() -> None:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=SHIPPED, help="files, or names of shipped weights")
    parser.add_argument("--data", default="", help="for AP; without it there is none")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=100, help="of the split, for AP")
    parser.add_argument("--rounds", type=int, default=20, help="0 leaves the speed out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="also write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        print(export_table({"rows": []}), flush=True)
        paths = [find_weights(name) for name in arguments.checkpoints]
        for path in [*paths, *random_checkpoints(Path(folder))]:
            for row in export_rows(path, Path(folder), arguments if path in paths else None):
                rows.append(row)
                print(export_line(row), flush=True)
        speed = speed_rows(arguments.rounds, Path(folder)) if arguments.rounds else []
    print("\n" + export_speed_table({"speed": [], "meta": {"threads": arguments.threads}}))
    for row in speed:
        print(export_speed_line(row), flush=True)
    if arguments.json:
        meta: dict[str, Any] = {
            "speed_of": SPEED_OF,
            "split": arguments.split,
            "images": arguments.images if arguments.data else 0,
        }
        meta |= {"data": Path(arguments.data).name, "threads": arguments.threads, "versions": versions()}
        write_json(Path(arguments.json), {"meta": meta, "rows": rows, "speed": speed})


def export_rows(path: Path, folder: Path, ap: argparse.Namespace | None) -> Iterator[dict[str, Any]]:
    """A checkpoint in every format that takes its stage; AP where ``ap`` says on what."""
    graph, meta = spiking_graph(path)
    images = functools.partial(measured_ap, meta=meta, arguments=ap)
    of_network = images(predictions(load_network(path)))
    stage = "spiking" if meta.spiking else meta.stage
    for to, precision in KINDS:
        again = graph.fixed_point and to in ("nir", "fixed-point")
        if again or stage not in (("qc",) if precision == "int8" else FORMATS[to].stages):
            continue
        out = folder / f"net-{to}-{precision}{FORMATS[to].suffix}"
        config = ExportConfig(checkpoint=str(path), out=str(out), to=to, precision=precision)  # type: ignore[arg-type]
        row = {"network": path.stem, "stage": meta.stage, "format": to + (" int8" if precision == "int8" else "")}
        started = time.perf_counter()
        try:
            FORMATS[to].write(Subject(graph, meta, config), out)
        except (ConfigError, ExportError) as error:
            yield {**row, "refused": str(error).split(";")[0]}
            continue
        seconds, run = time.perf_counter() - started, FORMATS[to].run(out)
        checked = sample_images(config, meta)
        found = difference(run(checked), expected_outputs(config, checked, Subject(graph, meta, config).steps))
        yield {
            **row,
            "seconds": seconds,
            "megabytes": sum(file.stat().st_size for file in folder.glob(f"{out.stem}*")) / 1e6,
            "difference": dataclasses.asdict(found),
            "network_AP": of_network,
            "AP": images(decoded(run)),
        }
        if to == "fixed-point":
            yield from export_rows(out.rename(folder / f"{path.stem}-fixed.safetensors"), folder, ap)


def measured_ap(
    forward: Callable[[Tensor], Mapping[int, Tensor]], *, meta: CheckpointMeta, arguments: argparse.Namespace | None
) -> float | None:
    """AP50:95 in percent at the last time step; None without data."""
    if arguments is None or not arguments.data:
        return None
    dataset = _dataset(arguments.data, arguments.split, meta.class_names)
    dataset = dataclasses.replace(dataset, samples=dataset.samples[: arguments.images])
    found = predict_dataset(forward, dataset, meta.image_size)
    return measure(dataset, found[max(found)]).AP


@functools.cache
def _dataset(data: str, split: str, class_names: tuple[str, ...]) -> DetectionDataset:
    return load_dataset(data, split, class_names=class_names)


def predictions(network: Any) -> Callable[[Tensor], Mapping[int, Tensor]]:
    """Decoded predictions of a network by time step."""
    return lambda images: {t: found.decoded for t, found in network(images).items()}


def decoded(run: Callable[[Tensor], Mapping[int, Outputs]]) -> Callable[[Tensor], Mapping[int, Tensor]]:
    """The same of a file."""

    def forward(images: Tensor) -> dict[int, Tensor]:
        return {t: found.decoded for t, found in run(images).items() if found.decoded is not None}

    return forward


def random_checkpoints(folder: Path) -> Iterator[Path]:
    """yolov8n with clips and random weights that fire: source, QC-ANN and spiking network."""
    architecture, _ = read_model_yaml(RANDOM, "clip")
    torch.manual_seed(0)
    model = build_detector(architecture, CLASSES).eval()
    image = torch.rand(1, 3, SPEED_PX, SPEED_PX)
    thetas = to_spiking(model, 8)
    set_rate_(thetas, image, 0.2)
    for node, layer in thetas.spiking():
        model.get_submodule(node.name).act.set_theta(layer.theta)
    with torch.no_grad():
        for branch in (*model.model[-1].cv2, *model.model[-1].cv3):  # else all scores are 0
            branch[-1].weight.normal_(0, branch[-1].weight[0].numel() ** -0.5)
            branch[-1].bias.fill_(-1.0)
    meta = CheckpointMeta("ann", "yolov8n-clip", architecture, CLASSES, SPEED_PX)
    yield save_checkpoint(folder / "yolov8n-clip-random-source.safetensors", model.state_dict(), meta)
    qc = dataclasses.replace(meta, stage="qc", finetuned=True, T=8)
    yield save_checkpoint(folder / "yolov8n-clip-random-qc.safetensors", as_qc(model, 8).state_dict(), qc)
    spiking = dataclasses.replace(qc, stage="copied", neuron="if")
    yield save_spiking(folder / "yolov8n-clip-random-t8.safetensors", to_spiking(model, 8), spiking)


def speed_rows(rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Milliseconds of an image by contender: raw maps from an image that is there."""
    ann_path, snn_path = find_weights(SPEED_OF + "-source"), plain(find_weights(SPEED_OF + "-qc"), folder)
    (source, _), (graph, meta) = spiking_graph(ann_path), spiking_graph(snn_path)
    image = sample_images(ExportConfig(checkpoint="", out="", images=1), meta)
    runs: dict[tuple[str, int], Run] = {("ANN fp32: torch, compiled", 0): CONTENDERS["ANN fp32, compiled"](source, 0)}
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    ann, qc8 = _onnx(ann_path, "onnx"), _onnx(quantized(ann_path, folder), "onnx-int8")
    runs["ANN fp32: onnxruntime", 0] = _onnxruntime(ann)
    runs["ANN fp32: OpenVINO", 0] = _openvino(ann, exact)
    runs["ANN, OpenVINO's own precision (bf16 where the CPU has it)", 0] = _openvino(ann, {})
    runs["QC-ANN int8: onnxruntime", 0] = _onnxruntime(qc8)
    runs["QC-ANN int8: OpenVINO", 0] = _openvino(qc8, exact)
    for T in SPEED_T:
        runs["spikedet exact", T] = CONTENDERS["native exact"](graph, T)
        runs["spikedet fast", T] = CONTENDERS["native fast"](graph, T)
        runs["spikedet, closed form (delay T)", T] = CONTENDERS["closed form, delay T"](graph, T)
        spiking, unrolled = (_onnx(snn_path, "onnx", t=T, unroll=unroll) for unroll in (False, True))
        runs["spiking network: onnxruntime", T] = _onnxruntime(spiking)
        runs["spiking network: OpenVINO", T] = _openvino(unrolled, exact)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for turn in range(rounds + 2):
        for key, run in runs.items():
            started = time.perf_counter()
            run(image)
            if turn > 1:
                times[key].append((time.perf_counter() - started) * 1e3)
    return [
        {"contender": name, "T": T, "ms": statistics.median(taken), "least": min(taken)}
        for (name, T), taken in times.items()
    ]


def plain(path: Path, folder: Path) -> Path:
    """The spiking network of a QC-ANN, no layer of which waits."""
    model, meta = load_ann(path)
    spiking = dataclasses.replace(meta, stage="copied", neuron="if", T=max(SPEED_T))
    return save_spiking(folder / "plain.safetensors", to_spiking(model, max(SPEED_T)), spiking)


def quantized(source: Path, folder: Path) -> Path:
    """The QC-ANN of a source at 8 levels, without Stage I: its time is that of any other."""
    model, meta = load_ann(source)
    qc = dataclasses.replace(meta, stage="qc", finetuned=True, T=8)
    return save_checkpoint(folder / "qc.safetensors", as_qc(model, 8).state_dict(), qc)


def _onnx(path: Path, to: ExportFormat, **how: Any) -> bytes:
    graph, meta = spiking_graph(path)
    config = ExportConfig(checkpoint=str(path), out="", to=to, **how)
    made: bytes = onnx_model(Subject(graph, meta, config)).SerializeToString()
    return made


def _onnxruntime(model: bytes) -> Run:
    engine = require("onnxruntime")
    options = engine.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = engine.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images.numpy()})


def _openvino(model: bytes, how: Mapping[str, str]) -> Run:
    core = require("openvino").Core()
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY", **how}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return lambda images: request.infer({"image": np.ascontiguousarray(images.numpy())})


if __name__ == "__main__":
    main()
