"""What settings of a few words may be."""

from __future__ import annotations

from typing import Literal

Stage = Literal["ann", "qc", "sfa", "clif", "copied", "coarse", "fine", "joint"]
SPIKING_STAGES = ("copied", "coarse", "fine", "joint")
Neuron = Literal["if", "signed", "asymmetric", "clif"]
Reset = Literal["hard", "soft"]
SpikeWorth = Literal["theta", "theta/D"]
Surrogate = Literal["rectangle", "triangle", "sigmoid", "arctan"]
Precision = Literal["auto", "bf16", "fp32"]
Mode = Literal["exact", "fast"]
BackendName = Literal["auto", "native", "torch"]
Method = Literal["two-stage", "channel-norm"]
TrainingMethod = Literal["conversion", "sfa", "clif"]
Activation = Literal["", "clip", "leaky"]
MaxPoolRule = Literal["count", "or"]
Linear = Literal["spiking", "analog"]
DownloadName = Literal["voc"]
LayoutName = Literal["voc", "yolo", "coco"]
SourceLayout = Literal["voc", "yolo", "coco", "labelme", "csv"]
ChosenLayout = Literal["", SourceLayout]
VideoFormat = Literal["mp4", "webm", "gif"]
