"""``spikedet data check``: every annotation read, every image decoded; what is wrong, and what there is."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikedet.commands.data_convert import refuse_within
from spikedet.common.counts import counted
from spikedet.common.errors import DataError
from spikedet.common.files import write_json
from spikedet.common.markdown import aligned
from spikedet.config import DataCheckConfig
from spikedet.data.boxes import repeated_boxes
from spikedet.data.layout import Listing
from spikedet.data.reading import MAX_EXAMPLES, Rules, SplitContent, list_splits, read_splits, say_seen
from spikedet.data.sources import find_layout
from spikedet.data.statistics import SplitStatistics, split_statistics

logger = logging.getLogger("spikedet")

MAX_ROWS = 200
"""Classes that the printed table has a row for."""


@dataclasses.dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes:
        data: as the user named it.
        layout: ``voc``, ``yolo``, ``coco``, ``labelme`` or ``csv``.
        class_names: in label order.
        splits: numbers of every split that could be read.
        dropped, clipped, swapped: by split, boxes without area, that leave their image, and with sorted corners.
        issues: those boxes, each once.
        remarks: what is odd but harmless: objects and ids that are there twice, labels without an image.
        bad: what cannot be used or has boxes for an image of another size, a sentence for each file, each once.
    """

    data: str
    layout: str
    class_names: tuple[str, ...]
    splits: dict[str, SplitStatistics]
    dropped: dict[str, int]
    clipped: dict[str, int]
    swapped: dict[str, int]
    issues: tuple[str, ...]
    remarks: tuple[str, ...]
    bad: tuple[str, ...]


def data_check(config: DataCheckConfig) -> DataReport:
    """Check a dataset, print what there is, and write ``report.json``.

    Raises:
        DataError: something is broken; raised at the end, when everything is printed and written.
    """
    layout, known = find_layout(config.data, layout=config.layout, fractions=config.fractions)
    out = Path(config.out)
    refuse_within(out, layout.root)
    listings, unlisted = list_splits(layout, [config.split] if config.split else layout.splits(), skip_bad=True)
    broken = [str(error) for error in unlisted.values()]
    class_names, contents = _read(layout.root, listings, known, config.strict, broken)
    if listings:
        say_seen(layout, listings, class_names)
    remarks = [text for listing in listings.values() for text in (*listing.notes, *listing.remarks())]
    remarks += [text for content in contents.values() for text in repeated_boxes(content.samples, class_names)]
    bad = [*broken, *(reason for content in contents.values() for reason in content.bad)]
    report = DataReport(
        data=config.data,
        layout=layout.kind,
        class_names=class_names,
        splits={split: split_statistics(content.samples, class_names) for split, content in contents.items()},
        dropped={split: content.issues.dropped for split, content in contents.items()},
        clipped={split: content.issues.clipped for split, content in contents.items()},
        swapped={split: content.issues.swapped for split, content in contents.items()},
        issues=tuple(dict.fromkeys(text for content in contents.values() for text in content.issues.examples)),
        remarks=tuple(dict.fromkeys(remarks)),
        bad=tuple(dict.fromkeys(bad)),
    )
    write_json(out / "report.json", dataclasses.asdict(report))
    logger.info(report_text(report))
    logger.info(f"written: {out / 'report.json'}")
    if report.bad:
        raise DataError(
            f"{config.data}: {counted(len(report.bad), 'bad file')}, listed above and in {out / 'report.json'}"
        )
    return report


def report_text(report: DataReport) -> str:
    """The report as a person reads it: bad files, repaired boxes, remarks, a table with a column for each split."""
    lines = [f"bad: {reason}" for reason in report.bad]
    lines += [*_examples("repaired", report.issues, "boxes"), *_examples("remark", report.remarks, "remarks")]
    classes, bad = counted(len(report.class_names), "class", "classes"), counted(len(report.bad), "bad file")
    remarks = f", {counted(len(report.remarks), 'remark')}" if report.remarks else ""
    lines.append(f"{report.data}: {report.layout} layout, {classes}, {bad}{remarks}")
    rows = [["-" if value is None else str(value) for value in row] for row in _rows(report)]
    return "\n".join([*lines, aligned(rows, 1)])


def _examples(kind: str, texts: Sequence[str], things: str) -> list[str]:
    more = len(texts) - MAX_EXAMPLES
    last = [f"{kind}: {more} more {things}, all in report.json"] if more > 0 else []
    return [*(f"{kind}: {text}" for text in texts[:MAX_EXAMPLES]), *last]


def _read(
    root: Path, listings: Mapping[str, Listing], known: Sequence[str] | None, strict: bool, broken: list[str]
) -> tuple[tuple[str, ...], dict[str, SplitContent]]:
    """Class names and contents. Where the splits differ in their classes, that is added to ``broken``."""
    if not listings:
        return tuple(known or ()), {}
    rules = Rules(strict, skip_bad=True, skip_unknown=True, same_hw=True)
    try:
        return read_splits(root, listings, known, rules)
    except DataError as error:
        every = dict.fromkeys(name for listing in listings.values() for name in listing.choose_names(set()))
        if not every:
            raise
        broken.append(str(error))
    return read_splits(root, listings, tuple(every), rules)


def _rows(report: DataReport) -> list[list[Any]]:
    """Name and one value for each split."""
    found, names = report.splits, report.class_names
    rows: list[list[Any]] = [["", *found], ["images", *(s.images for s in found.values())]]
    rows.append(["without objects", *(s.without_objects for s in found.values())])
    rows.append(["objects", *(sum(s.objects_by_class.values()) for s in found.values())])
    rows += [[f"  {name}", *(s.objects_by_class[name] for s in found.values())] for name in names[:MAX_ROWS]]
    if more := names[MAX_ROWS:]:
        others = [sum(s.objects_by_class[name] for name in more) for s in found.values()]
        rows.append([f"  {len(more)} more classes, all in report.json", *others])
    for name in ("difficult", "small", "medium", "large"):
        rows.append([name, *(getattr(s, name) for s in found.values())])
    rows.append(["median side, px", *(s.median_side_px for s in found.values())])
    rows.append(["boxes dropped", *report.dropped.values()])
    rows.append(["boxes clipped", *report.clipped.values()])
    rows.append(["corners sorted", *report.swapped.values()])
    return rows
