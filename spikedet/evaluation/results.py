"""``results.json``: one row per evaluated network, and the Markdown tables made from the rows.

The file is ``{"meta": {...}, "rows": [...]}``; a row's keys are the fields of ``ResultRow``, AP in percent to four
decimals, null where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.files import MAX_LIST_BYTES, write_json
from spikedet.common.markdown import decimal, plain_text, table
from spikedet.common.typed import typed
from spikedet.config import Neuron, Stage
from spikedet.costs.counts import OperationCounts
from spikedet.data.text import read_bounded

AP_FIELDS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "VOC07", "VOC_area", "loss", "loss_ci95", "per_class")
STEP_FIELDS = ("delay", "T", "t", "L")
MORE_COLUMNS = {"latency": "latency asked for", "max_pool": "max-pool", "linear": "linear layers"}
MORE_COLUMNS |= {"calibrated": "trained", "calibration_images": "calibration images"}
"""By field; the last two only where rows could not be told apart without them."""
Steps = Annotated[int, Meta(ge=1)]
TABLE_APS = {"AP50:95": "AP", **{name: name for name in ("AP50", "AP75", "AP_S", "AP_M", "AP_L", "VOC07")}}


@dataclass(frozen=True, kw_only=True, repr=False)
class ResultRow:
    """One network on one split. The AP fields are those of ``APMeasures``: ``ResultRow(..., **vars(measures))``.

    Attributes:
        method: how the network was made.
        model: the architecture's name.
        stage: ``ann``, ``qc`` (quantizing activations), ``sfa`` (integer activations), ``clif``, or a spiking network
            with ``copied`` weights, after ``coarse``, after coarse and ``fine``, or after ``joint`` calibration.
        finetuned: True with the weights of Stage I; an ``ann`` then has clip activations.
        neuron: ``if``, ``signed``, ``asymmetric`` or ``clif``; None for a network that does not spike.
        delay: firing delay k in steps.
        D: of method ``sfa``, the most spikes of a neuron in one real time step, T real steps times D; optional in the
            file.
        T, t, L: window converted for, steps read out (1 to T), and end-to-end latency, in steps.
        spikes_per_image: mean number of spikes per image.
        data, split, images, seed: what it was evaluated on and the seed that made it.
        loss, loss_ci95: points of AP50:95 below the better ANN, and the bootstrap interval ``(low, high)``.
        per_class: the measures by class name; optional in the file.
        stage1_T: levels of the Stage I that made the weights, if one did; optional in the file.
        stage1_options: what that Stage I, or the training of another method, did beyond the paper's; without either,
            ``from scratch`` if training started from no weights; for example
            ``distilled, sparsity 5``, or empty; optional in the file.
        calibration_images: images that Stage II saw, if it ran; optional in the file.
        calibrated: what was trained after coarse calibration, for example ``W, u[0], jointly``; optional in the file.
        max_pool: what represents maxima, a rule over spikes or ``average``; optional in the file.
        linear: ``analog`` where linear layers send no spikes; optional in the file.
        latency: most steps L within which ``convert --latency`` let single layers wait, beyond ``delay``; optional in
            the file.
        activation: ``leaky`` for clipped LeakyReLU, None for clipped ReLU; optional in the file.
        checkpoint, parent: SHA-256 of the file that was evaluated, and of the one it was made from; optional.
        operations: what the spikes did in t steps, for ``spikedet energy``; optional in the file.

    Raises:
        ValueError: more steps are read out than the network was converted for.
    """

    method: str = "two-stage"
    model: str
    stage: Stage
    finetuned: bool
    neuron: Neuron | None = None
    delay: Annotated[int, Meta(ge=0)] | None = None
    T: Steps | None = None
    D: Steps | None = None
    t: Steps | None = None
    L: Steps | None = None
    spikes_per_image: float | None = None
    data: str
    split: str
    images: int
    seed: int
    AP: float | None = None
    AP50: float | None = None
    AP75: float | None = None
    AP_S: float | None = None
    AP_M: float | None = None
    AP_L: float | None = None
    VOC07: float | None = None
    VOC_area: float | None = None
    loss: float | None = None
    loss_ci95: tuple[float, float] | None = None
    per_class: dict[str, dict[str, float | None]] | None = None
    stage1_T: int | None = None
    stage1_options: str | None = None
    calibration_images: int | None = None
    calibrated: str | None = None
    max_pool: str | None = None
    linear: str | None = None
    latency: Steps | None = None
    activation: str | None = None
    checkpoint: str | None = None
    parent: str | None = None
    operations: OperationCounts | None = None

    def __post_init__(self) -> None:
        if self.t is not None and (self.T is None or self.t > self.T):
            raise ValueError(f"t must not exceed T, got t={self.t} and T={self.T}")

    def __repr__(self) -> str:
        """What tells rows apart, in one line: ``evaluate`` returns a list of them, which notebooks print."""
        network = ", ".join(part for part in (self.network, self.neuron, self.waiting) if part)
        steps = f" at t = {self.t} of T = {self.T}" if self.read_early else f" at T = {self.T}" if self.T else ""
        loss = "" if self.loss is None else f", loss {decimal(self.loss)}"
        return f"<{network}{steps}: AP50:95 {decimal(self.AP)}{loss} on {self.data} {self.split}>"

    @property
    def architecture(self) -> str:
        """The model and, unless it is clipped ReLU, its activation."""
        return architecture_name(self.model, self.activation)

    @property
    def network(self) -> str:
        """What a table calls it, for example ``SNN + coarse + fine``."""
        name = network_name(self.stage, self.finetuned, self.method)
        return f"{name}, {self.stage1_options}" if self.stage1_options and not self.finetuned else name

    @property
    def stage1(self) -> str:
        """What a table says of Stage I: ``no``, or its levels where they are known, and its options."""
        known = f"T = {self.stage1_T}" if self.stage1_T else "yes"
        return ", ".join([known, *([self.stage1_options] if self.stage1_options else [])]) if self.finetuned else "no"

    @property
    def spiking(self) -> bool:
        """True for a converted network."""
        return self.neuron is not None

    @property
    def waiting(self) -> str:
        """How layers wait before they fire, see ``waiting``."""
        return waiting(self.delay, self.latency)

    @property
    def read_early(self) -> bool:
        """True where fewer steps are read than the network was converted for."""
        return self.t is not None and self.t != self.T


def architecture_name(model: str, activation: str | None) -> str:
    """What tables call an architecture: the model and, unless it is clipped ReLU, its activation."""
    return f"{model}, {activation}" if activation else model


def waiting(delay: int | None, latency: int | None) -> str:
    """What tables say of firing delays, for example ``delay 2`` or ``latency 16``; empty where no layer waits."""
    named = {"delay": delay, "latency": latency}
    return ", ".join(f"{name} {steps}" for name, steps in named.items() if steps)


METHODS = {"sfa": "SFA", "clif": "C-LIF"}
"""Methods whose networks fire in training already, as tables call them."""


def network_name(stage: str, finetuned: bool, method: str = "two-stage") -> str:
    """What tables and images call a network of this stage and method, that has been through Stage I or not."""
    if stage == "ann":
        return "clip ANN after Stage I" if finetuned else "ANN"
    if stage == "copied" and method in METHODS:
        return f"{METHODS[method]}, spikes"
    names = {
        "qc": "QC-ANN",
        "sfa": "SFA, integers",
        "clif": "C-LIF, trained",
        "copied": "SNN, weights copied",
        "coarse": "SNN + coarse",
        "joint": "SNN + joint",
    }
    return names.get(stage, "SNN + coarse + fine")


_KEYS = [field.name for field in fields(ResultRow)]
OPTIONAL_KEYS = ("D", *_KEYS[_KEYS.index("per_class") :])
"""Left out of the file where there is nothing to say."""


@dataclass(frozen=True)
class _File:
    """The whole file."""

    meta: dict[str, Any]
    rows: list[ResultRow]


def write_results(path: Path, meta: Mapping[str, Any], rows: Sequence[ResultRow]) -> Path:
    """Write ``results.json`` in one step and return its path.

    Args:
        path: the file; its folder is made.
        meta: JSON-ready facts about the run: versions, config, seed, command.
        rows: in the order of the table.

    Raises:
        SpikedetError: if it cannot be written.
    """
    return write_json(path, {"meta": dict(meta), "rows": [_to_json(row) for row in rows]})


def read_results(path: Path) -> tuple[dict[str, Any], list[ResultRow]]:
    """Read ``(meta, rows)``; keys that this version does not know are left out.

    Raises:
        DataError: naming the file, if it is no such file, a key is missing or a value is invalid.
    """
    content = read_bounded(Path(path), "results", MAX_LIST_BYTES)
    found = typed(_File, content, f"{path}: not the results of spikedet evaluate", DataError)
    return found.meta, found.rows


def markdown_table(rows: Sequence[ResultRow]) -> str:
    """Markdown: networks read at their T first, then those read out early, each under a sentence saying which.

    Rows of different methods, models, activations, data, splits or seeds get tables of their own. AP in percent.
    """
    groups: dict[tuple[Any, ...], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault((row.method, row.architecture, row.data, row.split, row.images, row.seed), []).append(row)
    parts = []
    for (method, architecture, data, split, images, seed), members in groups.items():
        subject = f"{architecture} on {data} {split} ({images} images), method {method}, seed {seed}; AP in percent."
        subject = plain_text(subject)
        full = [row for row in members if not row.read_early]
        early = [row for row in members if row.read_early]
        if full:
            parts.append(f"Converted for T and read at T. {subject}\n\n{_table(full)}")
        if early:
            parts.append(f"Converted for T, read out early at t < T. {subject}\n\n{_table(early)}")
    return "\n".join(parts)


def _table(rows: Sequence[ResultRow]) -> str:
    words = ["network", "Stage I", "neuron"]
    more = [name for name in MORE_COLUMNS if _needed(name, rows)]
    words += [MORE_COLUMNS[name] for name in more]
    numbers = ["delay", "T", "t", "L", "spikes per image", *TABLE_APS, "loss [95 %]"]
    return table(words + numbers, (_cells(row, more) for row in rows), len(words)) + "\n"


def _needed(name: str, rows: Sequence[ResultRow]) -> bool:
    """Whether a table has this column of ``MORE_COLUMNS``."""
    if name in ("latency", "max_pool", "linear"):
        return any(getattr(row, name) for row in rows)
    values: dict[tuple[Any, ...], set[Any]] = {}
    for row in rows:
        made = (row.network, row.stage1, row.neuron, row.max_pool, row.linear)
        alike = (*made, row.waiting, row.T, row.t, row.L)
        values.setdefault(alike, set()).add(getattr(row, name))
    return any(len(found) > 1 for found in values.values())


def _cells(row: ResultRow, more: Sequence[str]) -> list[str]:
    steps = ["-" if value is None else str(value) for value in (getattr(row, name) for name in STEP_FIELDS)]
    spikes = "-" if row.spikes_per_image is None else f"{row.spikes_per_image:,.1f}"
    loss = decimal(row.loss)
    if row.loss_ci95 is not None:
        loss += f" [{decimal(row.loss_ci95[0])}, {decimal(row.loss_ci95[1])}]"
    aps = [decimal(getattr(row, name)) for name in TABLE_APS.values()]
    words = [row.network, row.stage1, row.neuron or "-", *(str(getattr(row, name) or "-") for name in more)]
    return [*map(plain_text, words), *steps, spikes, *aps, loss]


def _to_json(row: ResultRow) -> dict[str, Any]:
    content = asdict(row)
    content |= {name: _rounded(content[name]) for name in AP_FIELDS}
    return {name: value for name, value in content.items() if value is not None or name not in OPTIONAL_KEYS}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return None if value is None else round(float(value), 4)


def find_results(run: Path) -> Path:
    """The results file of an evaluation's folder, or of the folder that it lies in."""
    for path in (run, run / "results.json", run / "results" / "results.json"):
        if path.is_file():
            return path
    raise ConfigError(f"{run}: no results.json here; make it with spikedet evaluate CHECKPOINT --out {run}")
