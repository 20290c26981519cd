"""The tables of README and docs, as pure functions of published rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from spikedet.evaluation import ResultRow
from spikedet.evaluation.results import network_name as stage_name

LOSS = "loss [95 % interval]"
SHOWN = ("copied", "fine", "joint")
WORDS = ("model", "network", "Stage I", "neuron", "max-pool")
NARROW_HEAD = ("network", "T", "AP50:95", "AP50", LOSS)
HEAD = ("network", "Stage I", "neuron", "T", "t", "L", "spikes per image", "AP50:95", "AP50", "AP75", LOSS)
MODELS_HEAD = ("model", "network", "neuron", "T", "spikes per image", "AP50:95", "AP50", LOSS)
POOLS_HEAD = ("network", "max-pool", "T", "spikes per image", "AP50:95", "AP50", LOSS)


def table(rows: Sequence[ResultRow], head: Sequence[str] = HEAD) -> str:
    """The source and the spiking networks read at their own T, under a line that says what it is.

    QC-ANNs, coarse calibration and early readings are in docs/results. The networks of one model stand together.
    """
    shown = [row for row in rows if not row.read_early and (row.stage in SHOWN or not row.finetuned)]
    models = list(dict.fromkeys(row.architecture for row in shown))
    shown.sort(key=lambda row: models.index(row.architecture))
    first = shown[0]
    subject = "" if "model" in head else f"{first.architecture} on "
    lines = [
        f"{subject}{first.data} {first.split} ({first.images} images), converted for T and read at T, AP in %.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "".join(" --- |" if name in WORDS else " ---: |" for name in head),
    ]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row)[name] for name in head)} |" for row in shown)])


def cells(row: ResultRow) -> dict[str, str]:
    """One row's cells, by what stands above them."""
    neuron: str = row.neuron or "-"
    neuron += f", {row.waiting}" if row.waiting else ""
    interval = f" [{row.loss_ci95[0]:.1f}, {row.loss_ci95[1]:.1f}]" if row.loss_ci95 else ""
    aps = {"AP50:95": row.AP, "AP50": row.AP50, "AP75": row.AP75}
    return {
        "model": row.architecture,
        "network": row.network,
        "Stage I": row.stage1,
        "neuron": neuron,
        "max-pool": row.max_pool or "-",
        **{name: str(getattr(row, name) or "-") for name in ("T", "t", "L")},
        "spikes per image": f"{row.spikes_per_image / 1e6:.2f} M" if row.spikes_per_image else "-",
        **{name: f"{value:.1f}" if value is not None else "-" for name, value in aps.items()},
        LOSS: f"{row.loss:.1f}{interval}" if row.loss is not None else "-",
    }


def network_name(row: ResultRow) -> str:
    """What was done to make a network, in the paper's words, for a table with T across."""
    if row.stage == "ann":
        return stage_name(row.stage, row.finetuned)
    if row.method == "channel-norm":
        return "Spiking-YOLO baseline (channel norm)"
    if row.stage == "qc":
        return "QC-ANN"
    if row.D is not None:  # sfa
        name = f"SFA, T x D = {(row.T or 1) // row.D} x {row.D}"
        return f"{name}, delay {row.delay}" if row.spiking else f"{name}, integers"
    if row.method == "clif":
        return "C-LIF" if row.spiking else "C-LIF, trained"
    later = {"copied": [], "coarse": ["Stage II, coarse only"], "fine": ["Stage II"]}
    later["joint"] = [*(["Stage II"] if row.calibration_images else []), "joint"]
    stages = [*(["Stage I"] if row.finetuned else []), *later[row.stage]]
    name = " + ".join(stages) or "weights copied"
    extra = [*(["signed IF"] if row.neuron == "signed" else []), *([row.waiting] if row.waiting else [])]
    return ", ".join([name, *extra])


def names_of(rows: Sequence[ResultRow]) -> list[str]:
    """``network_name`` of each, with how it was trained where another network of its name and T was trained otherwise.

    Of Stage I runs that follow each other the QC-ANNs and clip ANNs keep one name.
    """
    made: defaultdict[tuple[str, int | None], set[str | None]] = defaultdict(set)
    for row in rows:
        if row.neuron or not row.finetuned:
            made[network_name(row), row.T].add(row.stage1_options)
    differ = {name for (name, _), options in made.items() if len(options) > 1}
    names = zip(rows, map(network_name, rows), strict=True)
    return [f"{name} ({row.stage1_options})" if row.stage1_options and name in differ else name for row, name in names]


def pivot(rows: list[ResultRow]) -> str:
    """AP50:95 / AP50 of every network (down) by time step (across); a table for each number of images.

    Networks are read at their own T; only the baseline, made for no T in particular, is read earlier. The clip ANN of
    a Stage I stands at its T if there are several T. Of Stage I runs that follow each other the last one's is shown.
    """
    parts, several = [], len({row.stage1_T for row in rows if row.stage == "ann" and row.finetuned}) > 1
    for images in sorted({row.images for row in rows}, reverse=True):
        shown = [r for r in rows if r.images == images and (not r.read_early or r.method == "channel-norm")]
        steps = sorted({row.t for row in shown if row.t and row.stage != "qc"})
        lines: dict[str, dict[int, str]] = {}
        for row, name in zip(shown, names_of(shown), strict=True):
            cell = f"{row.AP:.1f} / {row.AP50:.1f}" if row.AP is not None and row.AP50 is not None else "-"
            own = row.stage1_T if row.stage == "ann" else row.t
            columns = steps if row.stage == "ann" and not (several and row.finetuned) else [own]
            lines.setdefault(name, {}).update({column: cell for column in columns if column in steps})
        first = shown[0]
        head = f"{first.model} on {first.data} {first.split} ({images} images), AP50:95 / AP50 in %."
        titles = "| network |" + "".join(f" T = {t} |" for t in steps)
        body = [f"| {name} |" + "".join(f" {row.get(t, '-')} |" for t in steps) for name, row in lines.items() if row]
        parts.append("\n".join([head, "", titles, f"| --- |{' ---: |' * len(steps)}", *body]))
    return "\n\n".join(parts)


SHORT = (
    ("plain IF, all layers wait", "if", 8, 8),
    ("plain IF, all layers wait", "if", 4, 4),
    ("signed IF", "signed", 8, 0),
    ("signed IF", "signed", 4, 0),
    ("plain IF", "if", 20, 0),
)
"""Spiking networks of the short table: name, neuron, T and firing delay."""


def short(rows: Sequence[ResultRow]) -> str:
    """The source ANN and a few spiking networks, each after its last calibration, for README."""
    whole = max(row.images for row in rows)
    rows = [row for row in rows if row.images == whole and not row.latency and not row.read_early]
    chosen = [("ANN", next(row for row in rows if row.stage == "ann" and not row.finetuned))]
    for name, neuron, T, delay in SHORT:
        same = [row for row in rows if row.finetuned and row.stage in SHOWN and row.method == "two-stage"]
        same = [row for row in same if (row.neuron, row.T, row.delay or 0) == (neuron, T, delay)]
        chosen += [(name, row) for row in sorted(same, key=lambda row: SHOWN.index(row.stage))[-1:]]
    head = ("network", "T", "L", "AP50:95", "AP50", "loss")
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * 5}"]
    for name, row in chosen:
        made = {**cells(row), "network": name, "loss": "-" if row.loss is None else f"{row.loss:.1f}"}
        lines.append(f"| {' | '.join(made[title] for title in head)} |")
    return "\n".join(lines)


def versus_paper(rows: list[ResultRow], paper: Sequence[Mapping[str, Any]]) -> str:
    """The paper's figures and ours at the same T, one line for each of the paper's."""
    lines = ["| network | T | paper: AP50:95 | AP50 | ours: AP50:95 | AP50 |", f"| --- |{' ---: |' * 5}"]
    for row in paper:
        ours = [r for r in rows if network_name(r) == row["network"] and (r.t or r.T) == row["T"] and r.stage != "qc"]
        mine = [f"{ours[0].AP:.1f}", f"{ours[0].AP50:.1f}"] if ours else ["-", "-"]
        lines.append(f"| {row['network']} | {row['T']} | {row['AP']} | {row['AP50']} | {mine[0]} | {mine[1]} |")
    return "\n".join(lines)


def seeds_table(
    rows: list[ResultRow], joules: Mapping[str, float] | None = None, seconds: Mapping[str, float] | None = None
) -> str:
    """Mean and spread over seeds of spiking networks that differ in nothing else; of source ANNs if they differ in it.

    Coarse calibrations, and the integers of SFA, are left out.

    Args:
        rows: of one split.
        joules: by checkpoint, what an image costs, for one more column.
        seconds: by checkpoint, how long the network was trained, for one more column.
    """
    groups: dict[tuple[Any, ...], list[ResultRow]] = {}
    several = len({row.seed for row in rows if row.stage == "ann" and not row.finetuned}) > 1
    for row, name in zip(rows, names_of(rows), strict=True):
        shown = row.stage in SHOWN or (several and row.stage == "ann" and not row.finetuned)
        if shown and not row.read_early:
            groups.setdefault((name, row.T), []).append(row)
    more = {"mJ per image": (joules, 1e3), "training, min": (seconds, 1 / 60)}
    columns = {head: (known, factor) for head, (known, factor) in more.items() if known is not None}
    heads = ["network", "T", "seeds", "L", "spikes per image", "AP50:95", "AP50", "loss", *columns]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for (name, T), members in groups.items():
        spikes = [row.spikes_per_image for row in members if row.spikes_per_image]
        made = [str(members[0].L or "-"), f"{statistics.fmean(spikes) / 1e6:.2f} M" if spikes else "-"]
        made += [_spread([value for r in members if (value := getattr(r, key)) is not None]) for key in SPREADS]
        made += [
            _spread([factor * known[r.checkpoint] for r in members if r.checkpoint and r.checkpoint in known])
            for known, factor in columns.values()
        ]
        lines.append(f"| {name} | {T or '-'} | {len(members)} | {' | '.join(made)} |")
    return "\n".join(lines)


def joules_by_checkpoint(report: Mapping[str, Any]) -> dict[str, float]:
    """Of a report of `spikedet energy`, what an image costs its spiking networks in the first constants."""
    digests = report["meta"]["checkpoints"].values()
    spiking = [row for row in report["rows"] if row["spent"] and row["constants"] == report["rows"][0]["constants"]]
    return {digest: row["joules"] for digest, row in zip(digests, spiking, strict=True)}


def memory_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Peak memory of one training step by T, of each way to learn."""
    steps = sorted({row["T"] for row in rows})
    lines = [f"| learning, peak MiB |{''.join(f' T = {T} |' for T in steps)}", f"| --- |{' ---: |' * len(steps)}"]
    for learning in dict.fromkeys(row["learning"] for row in rows):
        found = {row["T"]: row["bytes"] for row in rows if row["learning"] == learning}
        cells = [f" {found[T] / 2**20:.0f} |" if T in found else " - |" for T in steps]
        lines.append(f"| {learning} |{''.join(cells)}")
    return "\n".join(lines)


def learning_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Seconds and AP of each way to leave out a part of the backward pass."""
    lines = ["| backward pass | s | saved, % | AP50:95 | AP50 |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        saved = 100 * (1 - row["seconds"] / rows[0]["seconds"])
        lines.append(f"| {row['way']} | {row['seconds']:.0f} | {saved:.1f} | {row['AP']:.1f} | {row['AP50']:.1f} |")
    return "\n".join(lines)


def models_table(rows: Sequence[ResultRow]) -> str:
    """Several models under each other."""
    return table(rows, MODELS_HEAD)


def pools_table(rows: Sequence[ResultRow]) -> str:
    """One model with several rules for maxima."""
    return table(rows, POOLS_HEAD)


SPREADS = ("AP", "AP50", "loss")


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}" if values else "-"


def kill_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What kills did to each verb."""
    lines = ["| verb | runs | kills | alone, s | lost work per kill, s | identical |", f"| --- |{' ---: |' * 5}"]
    for row in rows:
        cells = [row["verb"], row["runs"], row["kills"], f"{row['alone_s']:.1f}", f"{row['lost_s']:.1f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['identical']} of {row['runs']} |")
    return "\n".join(lines)


def fuzz_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How cases of each kind of file ended, and all of them."""
    kinds = sorted({kind for row in rows for kind in row["outcomes"]})
    lines = [f"| file | cases | {' | '.join(kinds)} |", f"| --- | ---: |{' ---: |' * len(kinds)}"]
    total = {kind: sum(row["outcomes"].get(kind, 0) for row in rows) for kind in kinds}
    for row in [*rows, {"file": "all", "outcomes": total}]:
        counts = [row["outcomes"].get(kind, 0) for kind in kinds]
        lines.append(f"| {row['file']} | {' | '.join(map(str, [sum(counts), *counts]))} |")
    return "\n".join(lines)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Commands in one process and in several: seconds, speed over the first row of the command, and what came out."""
    head = ("command", "processes x threads", "seconds", "times the speed", "result")
    lines = [f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | --- |"]
    first: dict[str, float] = {}
    for row in rows:
        speed = first.setdefault(row["command"], row["seconds"]) / row["seconds"]
        shape = f"{row['processes']} x {row['threads']}"
        lines.append(f"| {row['command']} | {shape} | {row['seconds']:.1f} | {speed:.2f} | {row['result']} |")
    return "\n".join(lines)


def exit_rule(row: Mapping[str, Any]) -> str:
    """What a rule of benchmarks/early_exit.py looks at besides the number of outputs."""
    return "boxes the same" if row["score"] >= 1 else f"boxes the same, scores within {row['score']}"


def exit_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """AP against the mean number of steps: every image at the same t, then the rules."""
    lines = ["| an image is left | mean t | AP50:95 | AP50 |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        rule = (
            f"{exit_rule(row)} for {row['steps']} step{'s' * (row['steps'] > 1)}"
            if row["steps"]
            else f"at t = {row['t']}"
        )
        lines.append(f"| {rule} | {row['mean_t']:.1f} | {row['AP']:.1f} | {row['AP50']:.1f} |")
    return "\n".join(lines)


def first_table(text: str) -> str:
    """The first table of a Markdown text, with the line that says what it is."""
    head, _, rest = text.partition("\n| ")
    rows = ["| " + rest.partition("\n\n")[0]]
    return "\n".join([head.strip().splitlines()[-1], "", *rows])


SPEED_HEAD = ("simulator", "px", "batch", "T", "ms", "x ANN", "x bound", "peak MiB")


def speed_line(row: dict[str, Any]) -> str:
    """One row of the simulator benchmark, in the order of ``SPEED_HEAD``."""
    numbers = [f"{row['ms']:.1f}", f"{row['ratio']:.2f}"]
    numbers += ["-" if row["over_bound"] is None else f"{row['over_bound']:.2f}"]
    numbers += ["-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"]
    return f"| {' | '.join(map(str, [row['simulator'], row['px'], row['batch'], row['T'] or '-', *numbers]))} |"


def speed_table(published: dict[str, Any], *, whole: bool) -> str:
    """Times of the simulator benchmark; one image of 320 px at T = 20 unless ``whole``."""
    meta, rows = published["meta"], published["rows"]
    if not whole:
        rows = [row for row in rows if row["px"] == 320 and row["batch"] == 1 and row["T"] in (0, 20)]
    lines = [
        f"{meta['network']}, {meta['threads']} threads; firing rate {100 * meta['rate']:.1f} % at T = 20.",
        "",
        f"| {' | '.join(SPEED_HEAD)} |",
        f"| --- |{' ---: |' * (len(SPEED_HEAD) - 1)}",
    ]
    return "\n".join([*lines, *map(speed_line, rows)])


EXPORT_HEAD = ("network", "stage", "format", "boxes, px", "scores", "spikes", "AP network", "AP file", "MB", "seconds")
EXPORT_SPEED_HEAD = ("what runs", "T", "ms")


def export_line(row: Mapping[str, Any]) -> str:
    """A file beside its network, in the order of ``EXPORT_HEAD``."""
    first = [row["network"], row["stage"], row["format"]]
    if "refused" in row:
        return f"| {' | '.join([*first, 'refused: ' + row['refused'].replace('|', '/'), *['-'] * 6])} |"
    found = row["difference"]
    spikes = "-" if found["spikes"] is None else str(found["spikes"])
    aps = ["-" if row[name] is None else f"{row[name]:.1f}" for name in ("network_AP", "AP")]
    numbers = [f"{found['boxes_px']:.2g}", f"{found['scores']:.2g}", spikes, *aps]
    numbers += [f"{row[name]:.1f}" for name in ("megabytes", "seconds")]
    return f"| {' | '.join([*first, *numbers])} |"


def export_table(published: Mapping[str, Any]) -> str:
    """Every network in every format: largest differences, AP, size, time to write."""
    head = [f"| {' | '.join(EXPORT_HEAD)} |", f"| --- | --- | --- |{' ---: |' * (len(EXPORT_HEAD) - 3)}"]
    return "\n".join([*head, *map(export_line, published["rows"])])


def export_speed_line(row: Mapping[str, Any]) -> str:
    """A contender, in the order of ``EXPORT_SPEED_HEAD``."""
    return f"| {row['contender']} | {row['T'] or '-'} | {row['ms']:.1f} |"


def export_speed_table(published: Mapping[str, Any]) -> str:
    """Milliseconds of one image by engine."""
    meta = published["meta"]
    lines = [
        f"{meta.get('speed_of', 'tiny-yolo')}, one image, {meta['threads']} threads, medians.",
        "",
        f"| {' | '.join(EXPORT_SPEED_HEAD)} |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*lines, *map(export_speed_line, published["speed"])])
