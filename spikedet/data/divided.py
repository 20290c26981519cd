"""A dataset without splits as one with train, val and test: divided by a seed, or as an earlier training divided it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.dataset import Division
from spikedet.data.division import PARTS, SEED, digest, divide
from spikedet.data.layout import Entry, Layout, Listing, broken_entry
from spikedet.data.loose import LooseLayout, names_in
from spikedet.data.split_names import split_parts, usual_split

Digests = Mapping[str, Sequence[str]]
"""Of the paths of the images of val and test, as a checkpoint keeps them; every other image is of train."""


class DividedLayout(Layout):
    """The only split of a layout, in parts.

    Args:
        base: the layout.
        split: its only split.
        fractions: of train, val and test.
        trained: the parts of an earlier training, whose images they are if all of them are here.
        same: whether that training was on this dataset by its name, so that missing images are an error.
    """

    def __init__(
        self, base: Layout, split: str, fractions: Sequence[float], trained: Digests | None = None, same: bool = False
    ) -> None:
        super().__init__(base.kind, base.seen, base.root, base.name)
        self.base, self.split, self.fractions = base, split, fractions
        self._trained, self._same = trained or {}, same

    def splits(self) -> list[str]:
        """The parts that have images."""
        return [part for part in PARTS if self.division[part]]

    def listing(self, split: str) -> Listing:
        """Parts are ``train``, ``val``, ``test``, or the name of the whole."""
        if not any(usual_split(part) in PARTS for part in split_parts(split)):
            return self._whole if split == self.split else self.base.listing(split)
        entries: list[Entry] = []
        for part in split_parts(split):
            name = usual_split(part)
            if name not in PARTS:
                raise DataError(f"{self.root}: no split {part!r}; available: {', '.join(self.splits())}")
            if not self._parts[name]:
                raise DataError(f"{self.root}: too few images for a part {name!r}; add images, or change --fractions")
            entries += self._parts[name]
        return replace(
            self._whole,
            split=split,
            entries=tuple(entries),
            choose_names=self._class_names,
            about=self.counts(),
            total=len(self._whole.entries),
        )

    def _class_names(self, used: set[str]) -> tuple[str, ...]:
        """The names that all parts use; a layout of no fixed form finds them itself."""
        choose = self._whole.choose_names
        return choose(used) if isinstance(self.base, LooseLayout) else choose(used | self._names_in_all)

    @cached_property
    def _names_in_all(self) -> set[str]:
        return names_in(self._whole.entries)

    @cached_property
    def division(self) -> Division:
        """The images of each part, by their paths within the folder."""
        return {part: tuple(self._name(entry) for entry in entries) for part, entries in self._parts.items()}

    def counts(self) -> str:
        """The parts in words."""
        parts = ", ".join(f"{len(self._parts[part])} {part}" for part in PARTS)
        source = "as in training" if self._known else f"seed {SEED}"
        remark = "" if self._known else self._drawn[1]
        return f"no split files: {parts}, {source}" + (f"; {remark}" if remark else "")

    @cached_property
    def _whole(self) -> Listing:
        return self.base.listing(self.split)

    @cached_property
    def _known(self) -> bool:
        """Whether the parts of the earlier training are those of these images."""
        here = {digest(self._name(entry)) for entry in self._whole.entries}
        digests = {value for part in self._trained.values() for value in part}
        return bool(digests) and (self._same or digests <= here)

    @cached_property
    def _drawn(self) -> tuple[Division, str]:
        images = {self._name(entry): entry.image for entry in self._whole.entries if entry.image is not None}
        return divide(images, self.fractions)

    @cached_property
    def _parts(self) -> dict[str, list[Entry]]:
        """Entries of each part; those without an image are in train, so that they are not lost."""
        parts: dict[str, list[Entry]] = {part: [] for part in PARTS}
        drawn = {} if self._known else self._drawn[0]
        digests = {part: [*map(digest, names)] for part, names in drawn.items()} or self._trained
        part_of = {value: part for part, values in digests.items() for value in values}
        left = dict(part_of)
        for entry in self._whole.entries:
            value = digest(self._name(entry))
            parts[part_of.get(value, "train")].append(entry)
            left.pop(value, None)
        for value, part in left.items():  # none of a draw
            reason = (
                f"{self.root}: an image that the network's split has in {part!r} is not here any more ({value}); "
                "split.json beside the checkpoint names it: put it back, or skip it with --skip-bad"
            )
            parts[part].append(broken_entry(f"missing:{value}", None, self.root, reason))
        return parts

    def _name(self, entry: Entry) -> str:
        """The image's path within the folder, which says nothing of the folder's name."""
        return entry.image_id if entry.image is None else Path(os.path.relpath(entry.image, self.root)).as_posix()
