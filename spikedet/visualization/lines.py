"""The lines of a plot of AP against t: at most six, chosen by a small table. The results' table has every network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spikedet.evaluation.results import ResultRow, waiting
from spikedet.visualization.figure import BASELINE, MARKERS, colour_of

MOST = 6

CHOSEN = (
    ("ANN", ""),
    ("SNN + joint", "if"),
    ("SNN + joint", "signed"),
    ("SFA, spikes", "if"),
    ("C-LIF, spikes", "clif"),
    ("SNN + coarse + fine", "if"),
    ("SNN, weights copied", "if"),
    ("channel-norm", ""),
    ("QC-ANN", ""),
    ("SNN + coarse", "if"),
    ("clip ANN", ""),
)
"""Network and neuron, the first to be shown first; others come last."""

NEURONS = {"if": "IF", "signed": "signed IF", "clif": "C-LIF"}


@dataclass(frozen=True)
class Series:
    """What the networks of one line have in common.

    Attributes:
        subject: architecture, data and split.
        name: of the network, or the method of another method than ours.
        neuron: "if", "signed" or empty where it does not matter.
        delay, latency, finetuned: as in ``ResultRow``.
        early_T: the T of a network read early; 0 for networks read at their T.
    """

    subject: tuple[str, ...]
    name: str
    neuron: str
    delay: int
    latency: int
    finetuned: bool
    early_T: int

    @property
    def kind(self) -> tuple[str, str]:
        """As in ``CHOSEN``, without how it was trained."""
        known = (name for name, _ in CHOSEN if f"{self.name}, ".startswith(f"{name}, "))
        return next(known, self.name), self.neuron

    @property
    def rank(self) -> tuple[int, ...]:
        """Sorts lines: the table's order, then Stage I, no waiting, read at T, and a large T first."""
        place = CHOSEN.index(self.kind) if self.kind in CHOSEN else len(CHOSEN)
        return (place, not self.finetuned, self.delay, self.latency, self.early_T > 0, -self.early_T)


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        label: what stands at its end.
        colour: how the network was made.
        marker: tells neurons, delays and architectures of one colour apart.
        early: whether networks are read at t < T; else every point is a network read at its T.
        points: ``(t, AP, lowest, highest)`` by rising t: mean and range over seeds; t is 0 for an ANN.
    """

    label: str
    colour: str
    marker: str
    early: bool
    points: tuple[tuple[int, float, float, float], ...]


def chosen_lines(rows: Sequence[ResultRow]) -> tuple[list[Line], int]:
    """The lines to draw, and the number of those that are not drawn.

    Rows without AP, and those on fewer images than others, have no line. Networks that differ in their seed alone share
    one. An architecture gets its share of the lines, at least two; of each kind of network its first line comes first.
    """
    most = max((row.images for row in rows), default=0)
    rows = [row for row in rows if row.AP is not None and row.images == most and (row.stage == "ann" or row.T)]
    found = _series(rows)
    subjects = list(dict.fromkeys(series.subject for series in found))
    share = max(2, MOST // max(len(subjects), 1))
    chosen: list[Series] = []
    for subject in subjects[: MOST // share]:
        members = [series for series in found if series.subject == subject]
        ranked = sorted(members, key=lambda series: (not _is_baseline(series, found), *series.rank))
        kinds = [series.kind for series in ranked]
        rounds = sorted(range(len(ranked)), key=lambda i: kinds[:i].count(kinds[i]))
        chosen += [ranked[i] for i in sorted(rounds[:share])]
    return [_line(series, found[series], chosen) for series in chosen], len(found) - len(chosen)


def _is_baseline(series: Series, found: Mapping[Series, Sequence[ResultRow]]) -> bool:
    """Whether it is the best ANN of its subject: the loss of the others is against it."""
    best = {key: max(row.AP or 0.0 for row in rows) for key, rows in found.items() if key.subject == series.subject}
    anns = [key for key in best if all(row.stage == "ann" for row in found[key])]
    return series in anns and series == max(anns, key=lambda key: (best[key], [-place for place in key.rank]))


def _series(rows: Sequence[ResultRow]) -> dict[Series, list[ResultRow]]:
    """Networks read at their T have a line of their own where it is more than the last points of early ones."""
    early = {_key(row, row.T) for row in rows if row.read_early and row.stage != "qc"}
    found: dict[Series, list[ResultRow]] = {}
    whole: dict[Series, list[ResultRow]] = {}
    for row in rows:
        if (key := _key(row, row.T)) in early:
            found.setdefault(key, []).append(row)
        if not row.read_early or row.stage == "qc":
            whole.setdefault(_key(row), []).append(row)
    alone = {key: members for key, members in whole.items() if any(_key(row, row.T) not in early for row in members)}
    return {**alone, **found}


def _key(row: ResultRow, early_T: int | None = 0) -> Series:
    usual = row.method != "channel-norm" or row.stage == "ann"
    name = row.network.removesuffix(" after Stage I") if usual else row.method
    neuron = {"signed": "signed", "clif": "clif", None: ""}.get(row.neuron, "if") if usual else ""
    subject, finetuned = (row.architecture, row.data, row.split), row.finetuned and usual
    return Series(subject, name, neuron, row.delay or 0, row.latency or 0, finetuned, early_T or 0)


def _line(series: Series, members: Sequence[ResultRow], chosen: Sequence[Series]) -> Line:
    by_t: dict[int, dict[int, float]] = {}
    for row in members:  # of several of one seed the last counts
        by_t.setdefault(row.t or row.T or 0 if row.stage != "ann" else 0, {})[row.seed] = row.AP or 0.0
    values = {t: list(by_seed.values()) for t, by_seed in sorted(by_t.items())}
    points = tuple((t, statistics.fmean(aps), min(aps), max(aps)) for t, aps in values.items())
    colour = BASELINE if series.name == members[0].method else colour_of(series.name)
    alike = [other for other in chosen if other.name == series.name]
    return Line(_label(series, chosen), colour, MARKERS[alike.index(series)], series.early_T > 0, points)


def _label(series: Series, chosen: Sequence[Series]) -> str:
    """The network's name and, on a line of text of its own, what tells it from the other lines."""
    spiking = [other for other in chosen if other.neuron]
    varies = {name: len({getattr(other, name) for other in spiking}) > 1 for name in ("neuron", "finetuned", "early_T")}
    said = [NEURONS[series.neuron]] if series.neuron and varies["neuron"] else []
    said += [waits] if (waits := waiting(series.delay, series.latency)) else []
    said += ["no Stage I"] if series.neuron and not series.finetuned and varies["finetuned"] else []
    said += [f"T = {series.early_T}"] if series.early_T and varies["early_T"] else []
    subjects = zip(series.subject, *(other.subject for other in chosen), strict=True)
    said += [own for own, *others in subjects if len(set(others)) > 1]
    return "\n".join([series.name, *([", ".join(said)] if said else [])])
