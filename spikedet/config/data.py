"""Settings of what fetches, checks and rewrites datasets."""

from __future__ import annotations

from dataclasses import dataclass

from spikedet.config.checks import Checked
from spikedet.config.choices import ChosenLayout, DownloadName, LayoutName


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(Checked):
    """The official PASCAL VOC2007 and VOC2012 archives (2.8 GB), fetched and unpacked; needs a network.

    Attributes:
        name: what to fetch; "voc" is all there is.
        out: VOCdevkit is made in this folder.
    """

    name: DownloadName = "voc"
    out: str = "data"


@dataclass(frozen=True, kw_only=True)
class DataCheckConfig(Checked):
    """Every annotation read and every image decoded; what is wrong, and what there is.

    Attributes:
        data: a folder of images and annotations, recognized by what is there, a data YAML, or a COCO JSON file.
        split: the split to check; empty checks every split found.
        layout: how the folder is read, where it may be read in several ways: "voc", "yolo", "coco", "labelme" or "csv".
        fractions: of train, val and test, for a dataset without splits.
        strict: boxes that have no size or leave their image count as errors.
        out: folder for report.json.
    """

    data: str
    split: str = ""
    layout: ChosenLayout = ""
    fractions: str = "0.8,0.1,0.1"
    strict: bool = False
    out: str = "runs/data-check"


@dataclass(frozen=True, kw_only=True)
class DataConvertConfig(Checked):
    """Write a dataset in another layout, all splits.

    Attributes:
        data: a folder of images and annotations, recognized by what is there, a data YAML, or a COCO JSON file.
        to: the layout to write.
        out: the folder to write; it must not exist or be empty.
        skip_bad: skip broken images and annotations, as in training, and missing splits.
        layout: how the folder is read, where it may be read in several ways: "voc", "yolo", "coco", "labelme" or "csv".
        fractions: of train, val and test, for a dataset without splits.
    """

    data: str
    to: LayoutName
    out: str
    skip_bad: bool = False
    layout: ChosenLayout = ""
    fractions: str = "0.8,0.1,0.1"
