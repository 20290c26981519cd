"""Settings of exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from spikedet.config.checks import Checked, Count, Fraction

ExportFormat = Literal["onnx", "onnx-int8", "openvino", "spikingjelly", "nir", "fixed-point"]
ExportPrecision = Literal["fp32", "int8"]
ExportBoxes = Literal["", "all", "nms"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Checked):
    """A network in a file for other engines, checked against the network before the file is written.

    Attributes:
        checkpoint: any checkpoint; a QC checkpoint is its QC-ANN.
        to: format of the file.
        out: the file to write.
        t: time steps that a spiking network gives outputs at, for example "2,4,8"; empty is the network's T.
        unroll: of ONNX, write the neurons' time steps one after the other instead of as Scan, for engines without it.
        boxes: output boxes instead of the head's raw maps: "all" cells, or "nms", after non-maximum suppression.
        confidence: with nms, lowest score kept.
        iou: with nms, overlap above which the weaker box of a class is dropped.
        precision: of openvino; "int8" takes a QC-ANN, as onnx-int8 does.
        data: images for the check; empty takes synthetic scenes, which need no data.
        split: of the data.
        images: number of images for the check.
    """

    file_only: ClassVar[str] = "iou"
    needs: ClassVar = {"boxes": ("confidence", "iou"), "data": ("split",)}

    checkpoint: str
    out: str
    to: ExportFormat = "onnx"
    t: str | int = ""
    unroll: bool = False
    boxes: ExportBoxes = ""
    confidence: Fraction = 0.25
    iou: Fraction = 0.7
    precision: ExportPrecision = "fp32"
    data: str = ""
    split: str = "val"
    images: Count = 4

    @property
    def eight_bits(self) -> bool:
        """Whether the file is a network of 8 bits."""
        return self.to == "onnx-int8" or self.precision == "int8"
