"""Datasets without a fixed form: images and annotations found by what is there, and the splits that folders name.

The reader of each layout says which images have which annotations (``Found``); what is here is the same for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from spikedet.common.counts import counted
from spikedet.common.errors import DataError
from spikedet.config import SourceLayout
from spikedet.data.layout import AnnotatedImage, Box, Entry, Layout, Listing, broken_entry, refuse, unique_entries
from spikedet.data.lookup import Lookup
from spikedet.data.pairs import Pair, folder_of, pair, split_of
from spikedet.data.split_lists import ListedImage, split_lists
from spikedet.data.split_names import in_usual_order, split_parts
from spikedet.data.walk import Tree

Edges = Callable[[Box, tuple[int, int]], Box]


@dataclass(frozen=True)
class Found:
    """What the reader of a layout has found.

    Attributes:
        kind: the layout.
        seen: in words, for example ``"VOC XML beside images"``.
        entries: the images that are of the dataset, each once, by their paths, in order.
        edges: as ``Listing`` has it.
        class_names: in label order; None for those that the annotations use.
        notes: what is odd though it can be read, a sentence for each kind.
        stray: reasons why annotations belong to no image, each for a broken entry of its split.
    """

    kind: SourceLayout
    seen: str
    entries: Sequence[Entry]
    edges: Edges
    class_names: tuple[str, ...] | None = None
    notes: Sequence[str] = ()
    stray: Sequence[tuple[str, Path, str]] = ()


class LooseLayout(Layout):
    """A dataset without a fixed form.

    Args:
        root: its folder.
        found: its images.
        parts: by split, the entries; "" is the only one where there are no splits.
    """

    def __init__(self, root: Path, found: Found, parts: Mapping[str, tuple[Entry, ...]]) -> None:
        super().__init__(found.kind, found.seen, root)
        self.found, self.parts = found, parts

    def splits(self) -> list[str]:
        """The splits; none where the dataset has no splits."""
        return in_usual_order(split for split in self.parts if split)

    def listing(self, split: str) -> Listing:
        """Parts are splits; "" is every image of a dataset without splits."""
        entries: list[Entry] = []
        for part in split_parts(split):
            if part not in self.parts:
                raise DataError(f"{self.root}: no split {part!r}; available: {', '.join(self.splits()) or 'none'}")
            entries += self.parts[part]
        return Listing(split, unique_entries(entries), self._class_names, self.found.edges, notes=self.found.notes)

    def _class_names(self, used: set[str]) -> tuple[str, ...]:
        """The names that all splits use, so that they are the same for each."""
        names = self.found.class_names
        return tuple(sorted(used | names_in(self.found.entries))) if names is None else names


def names_in(entries: Iterable[Entry]) -> set[str]:
    """The class names that annotations use; of a broken one, none: whoever reads its split is told."""
    names = set()
    for entry in entries:
        with suppress(DataError):
            names |= {written.name for written in entry.read().objects}
    return names


def loose_layout(tree: Tree, images: Sequence[str], found: Found) -> LooseLayout:
    """The layout with its splits: those of split files, else those that folders name, else none.

    Each annotation is read once, for its own split or for the class names of all.

    Raises:
        DataError: some images are in folders of splits and others in none, or a file and a folder contradict.
    """
    found = replace(found, entries=[replace(entry, read=cache(entry.read)) for entry in found.entries])
    lists, more = split_lists(tree, Lookup(images), {entry.annotation for entry in found.entries})
    notes = [*found.notes, *more]
    parts, left = _listed(tree, found, lists) if lists else (_by_folder(tree, found), [])
    if left:
        notes.append(f"{len(left)} annotated images are in no split file and are not used; first: {left[0]}")
    elif list(parts) in (["train"], ["trainval"]):
        parts = {"": next(iter(parts.values()))}
    return LooseLayout(tree.root, replace(found, notes=notes), parts)


def paired(
    tree: Tree,
    images: Sequence[str],
    annotations: Sequence[str],
    read: Callable[[Path], AnnotatedImage],
    *,
    what: str,
    background: bool = False,
) -> tuple[list[Entry], list[str], str]:
    """Images with an annotation file each.

    Args:
        tree: the folder.
        images: relative paths, sorted.
        annotations: relative paths.
        read: reads one annotation file.
        what: the annotation files in words, for notes: "an XML file".
        background: whether an image without annotation, in a folder of annotated ones, is one without objects.

    Returns:
        The entries, notes, and where the annotations lie: "beside images" or "in labels".

    Raises:
        DataError: a folder's path names two splits.
    """
    pairs, lone = pair(images, annotations)
    annotated = {folder_of(found.image) for found in pairs if found.annotation or found.problem}
    entries, without, unused = [], [], []
    for found in pairs:
        if found.annotation or found.problem:
            entries.append(_entry(tree, found, read))
        elif background and folder_of(found.image) in annotated:
            without.append(found.image)
            image = tree.root / found.image
            entries.append(Entry(found.image, image, image, partial(AnnotatedImage, ()), found.split))
        else:
            unused.append(found.image)
    notes = []
    if without:
        notes.append(f"{counted(len(without), 'image')} without {what}: taken as without objects; first: {without[0]}")
    if unused:
        notes.append(f"{counted(len(unused), 'image')} without {what}: not used; first: {unused[0]}")
    if lone:
        notes.append(f"{counted(len(lone), 'annotation file')} without an image; first: {lone[0]}")
    return entries, notes, _place(pairs)


def _entry(tree: Tree, found: Pair, read: Callable[[Path], AnnotatedImage]) -> Entry:
    annotation = tree.root / (found.annotation or found.image)
    reader = partial(refuse, f"{tree.root}: {found.problem}") if found.problem else partial(read, annotation)
    return Entry(found.image, tree.root / found.image, annotation, reader, found.split)


def named_entry(tree: Tree, image: str, path: str, split: str, content: AnnotatedImage, problem: str) -> Entry:
    """An image that a file about many images names; the split of its folder is the file's, if both have one."""
    own, file = split_of(folder_of(image)), tree.root / path
    if split and own not in ("", split):
        problem = problem or f"{file}: it is of the split {split!r}, the folder of {image} of {own!r}; move the image"
    return Entry(image, tree.root / image, file, partial(refuse, problem) if problem else lambda: content, split or own)


def note_unnamed(images: Sequence[str], named: Container[str], what: str) -> list[str]:
    """A note about the images that no such file names."""
    left = [image for image in images if image not in named]
    return [f"{counted(len(left), 'image')} that no {what} names: not used; first: {left[0]}"] if left else []


def _place(pairs: Sequence[Pair]) -> str:
    """Where annotations lie beside their images' folders, in words."""
    beside = sum(folder_of(found.image) == folder_of(found.annotation) for found in pairs if found.annotation)
    places = Counter(folder_of(found.annotation) for found in pairs if found.annotation)
    if beside == sum(places.values()):
        return "beside images"
    folders = [folder or "." for folder, _ in places.most_common(3)]
    return f"in {', '.join(sorted(folders))}{' and others' if len(places) > len(folders) else ''}"


def _by_folder(tree: Tree, found: Found) -> dict[str, tuple[Entry, ...]]:
    parts: dict[str, list[Entry]] = {}
    for entry in found.entries:
        parts.setdefault(entry.split, []).append(entry)
    for split, annotation, reason in found.stray:
        parts.setdefault(split, []).append(broken_entry(reason, None, annotation, reason))
    if len(parts) > 1 and "" in parts:
        raise DataError(
            f"{tree.root}: {len(parts['']):d} annotated images are in no folder of a split, such as "
            f"{parts[''][0].image_id}, and others are ({', '.join(in_usual_order(filter(None, parts)))}); "
            "move them into one, or out of the dataset"
        )
    return {split: tuple(entries) for split, entries in parts.items()}


def _listed(
    tree: Tree, found: Found, lists: dict[str, list[ListedImage]]
) -> tuple[dict[str, tuple[Entry, ...]], list[str]]:
    """The entries of split files, and the images that none of them names."""
    known = {entry.image_id: entry for entry in found.entries}
    parts, listed = {}, set()
    for split, lines in lists.items():
        entries = []
        for line in lines:
            entry = known.get(line.image)
            if entry is None:
                reason = (
                    line.problem or f"{line.where}: image {line.image} has no annotation; add it, or remove the line"
                )
                image = tree.root / line.image if line.image else None
                entries.append(broken_entry(line.image or line.where, image, line.file, reason))
                continue
            if entry.split and entry.split != split and split != "trainval":
                raise DataError(
                    f"{line.where}: image {line.image} lies in a folder of the split {entry.split!r}; move it"
                )
            entries.append(entry)
            listed.add(line.image)
        parts[split] = unique_entries(entries)
    left = [image for image in known if image not in listed]
    return parts, left
