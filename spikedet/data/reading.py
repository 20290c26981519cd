"""From a layout's listing to samples: annotations parsed, boxes fitted, broken images refused or left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from spikedet.common.counts import counted
from spikedet.common.errors import DataError
from spikedet.common.progress import track
from spikedet.data.boxes import count_issues, fit_box
from spikedet.data.class_names import check_same_names, checked_class_names, plain_name
from spikedet.data.dataset import BoxIssues, DetectionDataset, Sample
from spikedet.data.images import image_hw, read_image
from spikedet.data.layout import AnnotatedImage, Entry, Layout, Listing, WrittenObject, refuse
from spikedet.data.split_names import known_split, split_parts

MAX_EXAMPLES, MAX_NAMES = 5, 10
MAX_NAMED = 100
"""Classes that an error names."""

Value = TypeVar("Value")
_Read = tuple[Entry, AnnotatedImage | DataError]
_Sizes = Mapping[Path, tuple[int, int] | DataError]


@dataclass(frozen=True)
class Rules:
    """What is to become of what is wrong.

    Attributes:
        strict: a box without area or partly outside its image breaks its annotation; else it is repaired and counted.
        skip_bad: broken images and annotations are left out; else the first one raises.
        skip_unknown: an annotation with an unknown class is a broken one; else it raises, as it is rather the given
            names that are wrong.
        same_hw: an image of another size than its annotation says is broken; else it is used and counted.
    """

    strict: bool = False
    skip_bad: bool = False
    skip_unknown: bool = False
    same_hw: bool = False


@dataclass(frozen=True)
class SplitContent:
    """What was read of one split.

    Attributes:
        samples: the images that can be used.
        issues: boxes dropped and clipped, every one among the examples.
        bad: why images were left out, a reason for every broken file.
        left_out: how many entries of the split are not among the samples.
        other_hw: samples whose annotation was written for another size, a sentence each.
    """

    samples: tuple[Sample, ...]
    issues: BoxIssues
    bad: tuple[str, ...]
    left_out: int
    other_hw: tuple[str, ...] = ()


def load_split(
    layout: Layout,
    split: str,
    class_names: Sequence[str] | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    say: bool = False,
) -> DetectionDataset:
    """One split of a layout as a dataset; boxes that were repaired and images left out are a logged line each.

    Args:
        layout: where it lies.
        split: ``+``-joined parts; an image named by several is taken once.
        class_names: the classes in label order; None takes those of the layout.
        strict: raise at the first box without area or partly outside its image, instead of repairing and counting.
        skip_bad: leave out images that cannot be read or whose annotation is broken (with ``strict``: or has such a
            box). Every image is decoded once to find them; otherwise only headers are read.
        say: log in one line what was recognized.

    Raises:
        DataError: a split or its files are missing or invalid, a class is unknown, or (without ``skip_bad``) an image
            or annotation is broken.
    """
    known = None if class_names is None else checked_class_names(f"{layout.root}: class names", class_names)
    listing = find_split(layout, split)
    rules = Rules(strict, skip_bad, same_hw=strict or skip_bad)
    names, contents = read_splits(layout.root, {split: listing}, known, rules)
    content = contents[split]
    if not names:
        raise DataError(f"{layout.root}: split {split!r} has no object to learn the classes from; give the class names")
    if say:
        say_seen(layout, {split: listing}, names)
    say_notes(layout.root, [listing])
    log_content(layout.root, listing.split, content)
    issues = replace(content.issues, examples=content.issues.examples[:MAX_EXAMPLES])
    return DetectionDataset(layout.name, listing.split, names, content.samples, issues, layout.division)


def find_split(layout: Layout, split: str) -> Listing:
    """The listing of a split, also where the dataset calls it otherwise: ``valid`` is ``val``. Raises DataError."""
    try:
        return layout.listing(split)
    except DataError as error:
        try:
            names = layout.splits()
        except DataError:
            raise error from None
        parts = split_parts(split)
        known = [known_split(part, names) for part in parts]
        if known == parts:
            raise
    return replace(layout.listing("+".join(known)), split=split)


def say_seen(layout: Layout, listings: Mapping[str, Listing], names: Sequence[str]) -> None:
    """Log in one line what was recognized."""
    about = next((listing.about for listing in listings.values()), "")
    *others, last = ((len(listing.entries), split) for split, listing in listings.items())
    images = ", ".join([*(f"{count} {split}" for count, split in others), counted(last[0], f"{last[1]} image")])
    images = counted(next(iter(listings.values())).total, "image") if about else images
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    classes = f"{counted(len(names), 'class', 'classes')} ({shown})"
    text = f"{layout.root}: {layout.seen}: {images}, {classes}" + (f"; {about}" if about else "")
    logging.getLogger("spikedet").info(text)


def say_notes(root: Path, listings: Iterable[Listing]) -> None:
    """Log what is odd about the files of splits, a line for each kind."""
    for note in dict.fromkeys(note for listing in listings for note in listing.notes):
        logging.getLogger("spikedet").warning("%s: %s", root, note)


def log_content(root: Path, split: str, content: SplitContent) -> None:
    """Say once what was repaired and what was left out.

    Raises:
        DataError: nothing was left.
    """
    if content.bad and not content.samples:
        raise DataError(f"{root}: split {split!r} has no image that can be used; first: {content.bad[0]}")
    log, issues = logging.getLogger("spikedet"), content.issues
    if content.left_out:
        total = content.left_out + len(content.samples)
        log.warning("%s, split %s: %d of %d left out; first: %s", root, split, content.left_out, total, content.bad[0])
    if issues.examples:
        repairs = {
            "without area dropped": issues.dropped,
            "clipped to their image": issues.clipped,
            "with swapped corners sorted": issues.swapped,
        }
        found = ", ".join(f"{counted(count, 'box', 'boxes')} {repair}" for repair, count in repairs.items() if count)
        log.warning("%s, split %s: %s; first: %s", root, split, found, issues.examples[0])
    if content.other_hw:
        text = "%s, split %s: the boxes of %d of %d images were written for another size and may be wrong; first: %s"
        log.warning(text, root, split, len(content.other_hw), len(content.samples), content.other_hw[0])


def list_splits(
    layout: Layout, splits: Iterable[str], skip_bad: bool
) -> tuple[dict[str, Listing], dict[str, DataError]]:
    """The splits that can be listed, and why the others cannot; unless bad ones are skipped, the first raises."""
    found = {split: _attempt(partial(find_split, layout, split), skip_bad) for split in splits}
    listings = {split: listing for split, listing in found.items() if isinstance(listing, Listing)}
    return listings, {split: error for split, error in found.items() if isinstance(error, DataError)}


def read_splits(
    root: Path, listings: Mapping[str, Listing], class_names: Sequence[str] | None = None, rules: Rules = Rules()
) -> tuple[tuple[str, ...], dict[str, SplitContent]]:
    """Class names and contents of splits; an image in several splits is decoded once.

    Args:
        root: the dataset's folder, for errors.
        listings: by split.
        class_names: as ``load_split`` takes it; where it is None, the names are () if there are none to be found.
        rules: see ``Rules``.

    Raises:
        DataError: as ``load_split``, or the splits have different classes.
    """
    written = {
        split: [
            (entry, _attempt(entry.read, rules.skip_bad)) for entry in track(listing.entries, "reading annotations")
        ]
        for split, listing in listings.items()
    }
    names = tuple(class_names) if class_names is not None else _common_names(root, listings, written)
    sizes = _image_sizes((entry.image for found in written.values() for entry, _ in found), rules.skip_bad)
    return names, {split: _content(listing, written[split], sizes, names, rules) for split, listing in listings.items()}


def _content(
    listing: Listing, written: Sequence[_Read], sizes: _Sizes, names: Sequence[str], rules: Rules
) -> SplitContent:
    samples, problems, bad, other_hw = list[Sample](), list[tuple[str, str]](), list[str](), list[str]()
    labels_of = _Labels(names)
    for entry, found in written:
        size = sizes[entry.image] if entry.image is not None else None
        labels = None
        if not isinstance(found, DataError):
            if found.image_hw is not None and isinstance(size, tuple) and found.image_hw != size:
                reason = _other_hw(entry, found.image_hw, size)
                if rules.same_hw:
                    size = _attempt(partial(refuse, reason), rules.skip_bad)
                else:
                    other_hw.append(reason)
            labels = _attempt(partial(labels_of, entry, found.objects), rules.skip_unknown)
            if not isinstance(labels, DataError) and isinstance(size, tuple):
                read = partial(_sample, entry, found.objects, labels, size, listing, rules.strict)
                made = _attempt(read, rules.skip_bad)
                if not isinstance(made, DataError):
                    samples.append(made[0])
                    problems += made[1]
                    continue
                labels = made
        bad += [str(reason) for reason in (found, labels, size) if isinstance(reason, DataError)]
    left_out, reasons, other = len(written) - len(samples), tuple(dict.fromkeys(bad)), tuple(dict.fromkeys(other_hw))
    return SplitContent(tuple(samples), count_issues(problems), reasons, left_out, other)


def _other_hw(entry: Entry, annotated_hw: tuple[int, int], image_hw: tuple[int, int]) -> str:
    """Why the boxes of an annotation that was written for another size cannot be trusted."""
    assert entry.image is not None
    (height, width), (read_height, read_width) = annotated_hw, image_hw
    rotated = " (rotated)" if annotated_hw == image_hw[::-1] else ""
    return (
        f"{entry.annotation}: written for {width} x {height} pixels, but {entry.image.name} is read as "
        f"{read_width} x {read_height}{rotated}; correct the size and the boxes, or put the annotated image back"
    )


def _sample(
    entry: Entry,
    objects: Sequence[WrittenObject],
    labels: Sequence[int],
    size_hw: tuple[int, int],
    listing: Listing,
    strict: bool,
) -> tuple[Sample, list[tuple[str, str]]]:
    """A sample, and the kind and text of every box problem. Raises DataError for the first where ``strict``."""
    assert entry.image is not None
    kept, problems = [], []
    for item, label in zip(objects, labels, strict=True):
        box, kind, problem = fit_box(listing.edges(item.numbers, size_hw), size_hw, item.numbers)
        if problem:
            text = f"{entry.annotation}: {item.place} ({item.name}) {problem}"
            if strict:
                raise DataError(f"{text}; correct the annotation, or load without strict")
            problems.append((kind, text))
        if box is not None:
            kept.append((box, label, item.difficult, item.crowd))
    sample = Sample(
        entry.image_id,
        entry.image,
        size_hw,
        np.array([box for box, *_ in kept], np.float32).reshape(-1, 4),
        np.array([label for _, label, *_ in kept], np.int64),
        np.array([difficult for *_, difficult, _ in kept], np.bool_),
        np.array([crowd for *_, crowd in kept], np.bool_),
    )
    return sample, problems


class _Labels:
    """Labels by class name: as it is written or, where no class has this very name, but for case and spaces."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._exact = {name: label for label, name in enumerate(names)}
        times = Counter(map(plain_name, names))
        self._plain = {plain: i for i, name in enumerate(names) if times[plain := plain_name(name)] == 1}

    def __call__(self, entry: Entry, objects: Sequence[WrittenObject]) -> list[int]:
        """The label of each object. Raises DataError for an unknown class."""
        labels = []
        for item in objects:
            label = self._exact.get(item.name)
            label = self._plain.get(plain_name(item.name)) if label is None else label
            if label is None:
                known = ", ".join([*self.names[:MAX_NAMED], *["..."] * (len(self.names) > MAX_NAMED)])
                raise DataError(
                    f"{entry.annotation}: {item.place} has the unknown class {item.name[:80]!r}; known: {known}"
                )
            labels.append(label)
        return labels


def _attempt(action: Callable[[], Value], skip_bad: bool) -> Value | DataError:
    """What ``action`` gives; its DataError too where bad images are skipped."""
    try:
        return action()
    except DataError as error:
        if not skip_bad:
            raise
        return error


def _image_sizes(images: Iterable[Path | None], skip_bad: bool) -> _Sizes:
    """Height and width of every image, from its header; where bad ones are skipped, it is decoded."""
    unique = [image for image in dict.fromkeys(images) if image is not None]
    size_of, label = (_decoded_hw, "decoding images") if skip_bad else (image_hw, "reading sizes")
    return {image: _attempt(partial(size_of, image), skip_bad) for image in track(unique, label)}


def _decoded_hw(image: Path) -> tuple[int, int]:
    height, width = read_image(image).shape[:2]
    return height, width


def _common_names(
    root: Path, listings: Mapping[str, Listing], written: Mapping[str, Sequence[_Read]]
) -> tuple[str, ...]:
    images = [found for pairs in written.values() for _, found in pairs if not isinstance(found, DataError)]
    used = {item.name for image in images for item in image.objects}
    chosen = {split: listing.choose_names(used) for split, listing in listings.items()}
    for names in chosen.values():
        _refuse_alike(root, names)
    first, *others = chosen
    for split in others:
        check_same_names(root, first, chosen[first], split, chosen[split])
    return chosen[first]


def _refuse_alike(root: Path, names: Sequence[str]) -> None:
    """Raise DataError where two class names differ in case or spaces only; it says how to merge them."""
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(plain_name(name), name)) != name:
            merged = ", ".join(dict.fromkeys(map(plain_name, names)))
            raise DataError(
                f"{root}: the classes {other!r} and {name!r} differ in case or spaces only; to merge them, write a "
                f"YAML file with 'data: {root}' and 'names: [{merged}]', and give that file as --data"
            )
