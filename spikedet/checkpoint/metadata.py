"""Checkpoints: one safetensors file with JSON metadata, written atomically, never unpickled.

The metadata says which stage the weights are at, on which data, with which configuration, and which checkpoint they
came from, so that every later command needs no more than the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import torch
from msgspec import Meta
from safetensors.torch import save_file
from torch import Tensor

from spikedet.checkpoint.tensors import UNREADABLE, open_tensors, problem, read_tensors
from spikedet.common.digests import file_sha256
from spikedet.common.environment import versions
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.files import atomic_path
from spikedet.common.objects import given
from spikedet.common.pointers import lfs_pointer
from spikedet.common.typed import typed
from spikedet.config import LIMITS, SPIKING_STAGES, Linear, MaxPoolRule, Neuron, Reset, Stage, TrainingMethod

FORMAT = 3
"""The newest that is read. 2 since converted networks bring their graph, 3 where that has groups of time steps."""
WRITTEN = 2
"""What a checkpoint has unless it needs a newer format: earlier versions read it too."""
MOST_METADATA = 2**20
"""Bytes of the metadata; those of a large network with its calibration have a tenth."""
_KEY = "spikedet"


def _within(name: str) -> Meta:
    least, most = LIMITS[name]
    return Meta(ge=least, le=most)


ClassName = Annotated[str, Meta(max_length=1000)]


class Parent(TypedDict):
    """The checkpoint that another one came from."""

    file: str
    sha256: str
    stage: str


class TrainingImages(TypedDict, total=False):
    """Images that a network was trained on."""

    data: str
    split: str
    held_out: Annotated[float, Meta(ge=0, le=1)]
    seed: Annotated[int, Meta(ge=0)]
    layout: str
    parts: dict[Literal["val", "test"], list[str]]


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint says about itself.

    Attributes:
        stage: ``ann``, ``qc``, ``sfa``, ``clif``, ``copied``, ``coarse``, ``fine`` or ``joint``.
        model: name of the architecture, for tables.
        architecture: the checked model YAML as a mapping; the network is rebuilt from it.
        class_names: in label order.
        image_size: side of the square letterboxed input, pixels.
        finetuned: True once Stage I has run.
        T: time steps the weights were made for; None for a source ANN. Of sfa, sub-steps: real time steps times D.
        method: the road of its training.
        D: of sfa, the most spikes of a neuron in one real time step.
        beta: of sfa, the leak between real time steps.
        worth: factor of the output of every activation: 1, or 1 / D of sfa.
        reset: of clif, how its neurons are reset.
        neuron: ``if``, ``signed``, ``asymmetric`` or ``clif`` for a spiking stage, else None.
        delay: firing delay k of every layer, in steps.
        max_pool: rule for maxima over spikes.
        linear: what convolutions without activation are: ``analog`` (neither clip, levels nor neurons) or ``spiking``.
        data: ``{"data", "split", "held_out", "seed"}`` of the training images: where they are, the fraction of them
            that no training so far has seen, and the seed that drew it. ``"layout"`` where the user chose one, and
            ``"parts"`` where images without splits were divided: digests of the paths of the images of val and test.
        config: the settings of every stage so far, by stage.
        parent: ``{"file", "sha256", "stage"}`` of the checkpoint this one came from.
        graph: layers of a converted network and how they are connected, see ``conversion.stored_graph``; None for
            others, and for files of format 1, whose graph is made from the architecture again.
        credits: notices of other projects' weights that this network was trained from.
        notes: measured facts worth keeping, for example AP on the held-out slice.
        seed: of the stage that wrote the file.
        versions: packages and git revision.
        format: version of this layout.
    """

    stage: Stage
    model: str
    architecture: dict[str, Any]
    class_names: Annotated[tuple[ClassName, ...], Meta(min_length=1, max_length=100_000)]
    image_size: Annotated[int, _within("image_size")]
    finetuned: bool = False
    T: Annotated[int, _within("T")] | None = None
    method: TrainingMethod = "conversion"
    D: Annotated[int, _within("T")] | None = None
    beta: Annotated[float, Meta(ge=0, le=1)] | None = None
    worth: Annotated[float, Meta(gt=0, le=1)] = 1.0
    reset: Reset = "hard"
    neuron: Neuron | None = None
    delay: Annotated[int, _within("delay")] = 0
    max_pool: MaxPoolRule = "count"
    linear: Linear = "spiking"
    data: TrainingImages = field(default_factory=TrainingImages)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    parent: Parent | None = None
    graph: dict[str, Any] | None = None
    credits: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    seed: Annotated[int, _within("seed")] = 0
    versions: dict[str, str] = field(default_factory=versions)
    format: int = WRITTEN

    def __post_init__(self) -> None:
        if self.method == "sfa" and not (self.D and self.T and self.T % self.D == 0):
            raise ValueError(f"sfa has T sub-steps in groups of D, got T = {self.T} and D = {self.D}")

    @property
    def spiking(self) -> bool:
        """True for a converted network."""
        return self.stage in SPIKING_STAGES

    @property
    def real_steps(self) -> int:
        """Real time steps of a network that was trained over time; 1 for others."""
        return (self.T or 1) // (self.D or 1) if self.method != "conversion" else 1

    @property
    def latency(self) -> int | None:
        """Most steps L within which ``convert --latency`` let single layers wait; None where it did not."""
        return self.config.get("convert", {}).get("latency") or None

    def training_data(self, data: str, split: str) -> tuple[str, str]:
        """Data and split for a later stage: what is asked for, else (where empty) what this one was trained on.

        Of a dataset of another name, or where no split is known, it is ``train`` unless one is asked for.

        Raises:
            ConfigError: neither says which images.
        """
        found = data or self.data.get("data")
        if not found:
            raise ConfigError(
                f"{self.model}: its checkpoint names no training images; give --data, and --split unless it is train"
            )
        other = data and not self._trained_on(data)
        return found, split or ("" if other else self.data.get("split")) or "train"

    def held_out(self, data: str, split: str) -> tuple[float, int] | None:
        """Fraction and seed of the images that no training so far has seen, for ``DetectionDataset.hold_out``.

        None for other images than those trained on (by the names of data and split), or where nothing is known.
        """
        trained = self.config.get("train", {})
        known = self.data if "seed" in self.data else typed(TrainingImages, trained, self.model, CheckpointError)
        if not self._trained_on(data) or split != self.data.get("split") or not {"held_out", "seed"} <= known.keys():
            return None
        return known["held_out"], known["seed"]

    def _trained_on(self, data: str) -> bool:
        """Whether a dataset has the name of the one trained on; shipped weights know no more of theirs."""
        return Path(data).resolve().name == Path(self.data.get("data", "")).name

    def evaluation_data(self, data: str, split: str) -> str:
        """The data that a network is evaluated on: what is asked for, else what it was trained on, another split of it.

        Raises:
            ConfigError: no data are known, or they are one file that has been trained on.
        """
        found, trained_on = self.training_data(data, split)[0], self.data.get("split")
        if not data and found.endswith(".json") and split != trained_on:
            raise ConfigError(f"{found}: one COCO file is one split, and it was trained on; give --data for {split!r}")
        return found

    def child(self, parent: Path, **changes: Any) -> CheckpointMeta:
        """The metadata of a checkpoint made from this one, which is stored at ``parent``."""
        link: Parent = {"file": str(parent.resolve()), "sha256": file_sha256(parent), "stage": self.stage}
        return dataclasses.replace(self, parent=link, versions=versions(), **changes)


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], meta: CheckpointMeta, *, half: bool = False, keep: bool = False
) -> Path:
    """Write tensors and metadata atomically.

    Args:
        path: ``*.safetensors``.
        tensors: state dict; must be finite.
        meta: see ``CheckpointMeta``.
        half: store floating-point tensors as float16 (they are read back as float32).
        keep: leave a file alone that holds this network already, so that what was made from it still knows it.

    Raises:
        CheckpointError: a tensor holds NaN or infinity, or the metadata are not valid; nothing is written.
    """
    typed(CheckpointMeta, dataclasses.asdict(meta), f"{path}: not saved", CheckpointError)
    text = json.dumps(dataclasses.asdict(meta))
    if len(text) > MOST_METADATA:
        raise CheckpointError(
            f"{path}: not saved: its metadata has {len(text)} bytes; expected at most {MOST_METADATA}"
        )
    stored = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        value = value.half() if half and value.is_floating_point() else value
        if wrong := problem(name, value):
            raise CheckpointError(f"{path}: {wrong}; not saved, the last good file stays")
        stored[name] = value.contiguous().clone()
    if not (keep and holds(Path(path), stored, meta)):
        with atomic_path(Path(path)) as temporary:
            save_file(stored, temporary, metadata={_KEY: text})
    return Path(path)


def holds(path: Path, tensors: Mapping[str, Tensor], meta: CheckpointMeta) -> bool:
    """Whether a file has the same tensors and is of the same network; how and when it was made may differ."""
    try:
        there = read_meta(path)
        with open_tensors(path) as file:
            known = set(file.keys()) == set(tensors)
            equal = known and all(torch.equal(file.get_tensor(name), value) for name, value in tensors.items())
    except (CheckpointError, *UNREADABLE):
        return False
    same = {name: getattr(there, name) for name in ("config", "versions", "notes", "format", "graph")}
    return equal and there == dataclasses.replace(meta, **same)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointMeta]:
    """Read a checkpoint; floating-point tensors come back as float32.

    Raises:
        CheckpointError: missing, truncated, not ours, newer than this version, or with NaN in its weights.
    """
    path = Path(path)
    meta = read_meta(path)
    try:
        tensors = read_tensors(path)
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy or train it again") from error
    for name, tensor in tensors.items():
        if wrong := problem(name, tensor):
            raise CheckpointError(f"{path}: {wrong}; use an earlier checkpoint")
    return tensors, meta


def read_meta(path: Path) -> CheckpointMeta:
    """The metadata alone. Raises CheckpointError like ``load_checkpoint``."""
    path = Path(path)
    if (network := given(path)) is not None:
        return network.meta
    if not path.is_file() or path.suffix in _FOREIGN:
        raise CheckpointError(f"{path}: {_no_checkpoint(path)}")
    try:
        with open_tensors(path) as file:
            text = (file.metadata() or {}).get(_KEY)
    except UNREADABLE as error:
        problem = lfs_pointer(path) or f"not a whole safetensors file ({error}); was it copied completely?"
        raise CheckpointError(f"{path}: {problem}") from error
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one of spikedet's; train or convert a model first")
    if len(text) > MOST_METADATA:
        raise CheckpointError(f"{path}: its metadata has {len(text)} bytes; expected at most {MOST_METADATA}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be understood ({error})") from error
    written = values.get("format", 0) if isinstance(values, dict) else 0
    if isinstance(written, int) and written > FORMAT:
        raise CheckpointError(
            f"{path}: written in format {written}, this version reads up to {FORMAT}; upgrade spikedet"
        )
    if isinstance(values, dict) and values.get("max_pool") == "gate":
        raise CheckpointError(
            f"{path}: its maxima have the rule 'gate', which no longer exists; expected 'count' or 'or'; convert its "
            "ANN again with one of them"
        )
    return typed(CheckpointMeta, values, f"{path}: its metadata is not valid", CheckpointError)


def is_foreign(path: Path) -> bool:
    """Whether a file is whole safetensors without our metadata: weights that another project wrote."""
    try:
        with open_tensors(path) as file:
            return _KEY not in (file.metadata() or {})
    except UNREADABLE:
        return False


_EXPORTED = "an exported file, which spikedet evaluate and detect run; here name the checkpoint that it came from"
_FOREIGN = {
    ".onnx": _EXPORTED,
    ".xml": _EXPORTED,
    ".pt": "an ultralytics file; import it with spikedet convert {0} --T 8 (ReLU, LeakyReLU), or start from its "
    "weights with spikedet train --from MODEL.yaml --activation clip --weights {0}",
    ".yaml": "a model without weights; train it with spikedet train --from {0} --activation clip, or see "
    "spikedet convert {0} --dry-run",
}


def _no_checkpoint(path: Path) -> str:
    """What a path is instead, and what to do."""
    if path.suffix in _FOREIGN:
        return _FOREIGN[path.suffix].format(path)
    if path.is_dir():
        inside = [found.name for found in sorted(path.glob("*.safetensors")) if not found.stem.endswith("-state")]
        return f"a folder; name one of its checkpoints: {', '.join(inside) or 'there is none in it'}"
    return "no such checkpoint; expected a .safetensors file written by spikedet"


def require_there(path: Path, *, or_folder: bool = False) -> None:
    """Raise CheckpointError where nothing is at the path of a checkpoint, or of a folder of them."""
    if path.exists() or given(path) is not None:
        return
    if path.suffix == ".pt":
        raise CheckpointError(f"{path}: no such checkpoint; expected a .pt file written by ultralytics")
    folder = ", or a folder of such files" if or_folder and not path.suffix else ""
    raise CheckpointError(f"{path}: {_no_checkpoint(path)}{folder}")


def require_converted(path: Path, meta: CheckpointMeta) -> None:
    """Raise CheckpointError where a spiking network was trained as it is, so that no ANN is behind it."""
    if meta.neuron == "clif":
        raise CheckpointError(
            f"{path}: C-LIF neurons do not repeat the activations of an ANN, so there is no conversion error to "
            "explain or to calibrate; train it further with spikedet finetune --method clif"
        )


def require_same_classes(paths: Sequence[Path], reference: Path, what: str) -> tuple[str, ...]:
    """The class names of the reference; a ConfigError naming the first of the checkpoints that has others."""
    names = read_meta(reference).class_names
    for path in paths:
        if read_meta(path).class_names != names:
            raise ConfigError(f"{path}: its classes are not those of {reference}; {what} networks of one task together")
    return names
