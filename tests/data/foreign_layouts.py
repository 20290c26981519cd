"""One annotated set of images written as people have it: the layouts of labelling tools and exports, all with the same
boxes. What is written here is what the documentation shows."""

from __future__ import annotations

import csv
import json
import os
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voc_writer import object_xml

from spikedet.data.sources import load_dataset

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotated:
    """An image, its split, and its objects as pixel edges x0, y0, x1, y1."""

    file: Path
    split: str
    image_hw: tuple[int, int]
    objects: tuple[tuple[str, Box], ...]

    @property
    def stem(self) -> str:
        return self.file.stem


def annotated(root: Path, splits: Sequence[str] = ("train", "val", "test")) -> list[Annotated]:
    """The images of a dataset; difficult objects, which most formats cannot mark, are left out."""
    found = []
    for split in splits:
        dataset = load_dataset(root, split)
        for sample in dataset.samples:
            rows = zip(sample.boxes_xyxy.tolist(), sample.labels.tolist(), sample.difficult.tolist(), strict=True)
            objects = tuple((dataset.class_names[label], tuple(box)) for box, label, difficult in rows if not difficult)
            found.append(Annotated(sample.image_path, split, sample.image_hw, objects))
    return found


def class_names(images: Iterable[Annotated]) -> list[str]:
    return sorted({name for image in images for name, _ in image.objects})


def put(root: Path, folder: str, image: Annotated) -> Path:
    """The image in a folder: the same file where that can be, else a copy."""
    target = root / folder / image.file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(image.file.resolve(), target)
    except OSError:
        shutil.copyfile(image.file, target)
    return target


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def lines(path: Path, content: Iterable[str]) -> None:
    text(path, "".join(f"{line}\n" for line in content))


# --- one image -------------------------------------------------------------------------------------------------------


def voc_xml(image: Annotated) -> str:
    """labelImg's, whose path is of another machine."""
    height, width = image.image_hw
    objects = (
        object_xml(name, [f"{v:g}" for v in (x0 + 1, y0 + 1, x1, y1)]) for name, (x0, y0, x1, y1) in image.objects
    )
    return (
        f"<annotation><folder>x</folder><filename>{image.file.name}</filename><path>C:\\me\\x\\{image.file.name}</path>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )


def yolo_text(image: Annotated, names: Sequence[str]) -> str:
    height, width = image.image_hw
    rows = []
    for name, (x0, y0, x1, y1) in image.objects:
        fractions = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        rows.append(f"{names.index(name)} {' '.join(f'{value:.9f}' for value in fractions)}\n")
    return "".join(rows)


def labelme_json(image: Annotated) -> str:
    height, width = image.image_hw
    shapes = [
        {"label": name, "points": [[x1, y0], [x0, y1]], "shape_type": "rectangle", "flags": {}, "group_id": None}
        for name, (x0, y0, x1, y1) in image.objects
    ]
    content = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": f"..\\{image.file.name}"}
    return json.dumps(content | {"imageData": None, "imageHeight": height, "imageWidth": width})


def coco_json(images: Sequence[Annotated], names: Sequence[str], form: str = "bbox") -> str:
    """``form`` is how boxes are given: "bbox", "polygon" or "rle"."""
    content: dict[str, list[object]] = {
        "info": [],
        "images": [
            {"id": n, "file_name": image.file.name, "height": image.image_hw[0], "width": image.image_hw[1]}
            for n, image in enumerate(images)
        ],
        "annotations": [],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
    }
    for number, image in enumerate(images):
        for name, (x0, y0, x1, y1) in image.objects:
            item = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": names.index(name) + 1}
            if form == "polygon":
                item["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            elif form == "rle":
                item["segmentation"] = {"size": list(image.image_hw), "counts": runs(image.image_hw, (x0, y0, x1, y1))}
            else:
                item["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            content["annotations"].append(item | {"iscrowd": 0})
    return json.dumps(content)


def runs(image_hw: tuple[int, int], box: Box) -> list[int]:
    """COCO's run lengths of a box, column by column."""
    height = image_hw[0]
    x0, y0, x1, y1 = (int(v) for v in box)
    found = [x0 * height + y0]
    for _ in range(x0, x1):
        found += [y1 - y0, height - (y1 - y0)]
    return found[:-1]


def csv_table(path: Path, images: Iterable[Annotated]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"])
        for image in images:
            for name, box in image.objects or (("", ("", "", "", "")),):
                cells = [f"{v:g}" if v != "" else "" for v in box]
                writer.writerow([image.file.name, image.image_hw[1], image.image_hw[0], name, *cells])


# --- whole layouts ---------------------------------------------------------------------------------------------------

ROBOFLOW = {"train": "train", "val": "valid", "test": "test"}


def of(images: Sequence[Annotated], split: str) -> list[Annotated]:
    return [image for image in images if image.split == split]


def labelimg(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        text(put(root, "", image).with_suffix(".xml"), voc_xml(image))


def kangaroo(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "images", image)
        text(root / "annots" / f"{image.stem}.xml", voc_xml(image))


def year_without_splits(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "JPEGImages", image)
        text(root / "Annotations" / f"{image.stem}.xml", voc_xml(image))


def cvat_voc(root: Path, images: Sequence[Annotated]) -> None:
    year_without_splits(root, images)
    lines(root / "ImageSets/Main/default.txt", (image.stem for image in images))


def roboflow_voc(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        text(put(root, ROBOFLOW[image.split], image).with_suffix(".xml"), voc_xml(image))


def split_lists(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "Images", image)
        text(root / "XML" / f"{image.stem}.xml", voc_xml(image))
    for split, name in (("train", "train"), ("val", "validation"), ("test", "testing")):
        lines(root / "sets" / f"{name}.txt", (image.file.name for image in of(images, split)))


def year(root: Path, images: Sequence[Annotated]) -> None:
    year_without_splits(root, images)
    for split in ("train", "val", "test"):
        lines(root / f"ImageSets/Main/{split}.txt", (image.stem for image in of(images, split)))


def labelimg_yolo(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        text(put(root, "", image).with_suffix(".txt"), yolo_text(image, names))
    lines(root / "classes.txt", names)


def label_studio(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        put(root, "images", image)
        text(root / "labels" / f"{image.stem}.txt", yolo_text(image, names))
    lines(root / "classes.txt", names)


def split_then_images(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        put(root, f"{ROBOFLOW[image.split]}/images", image)
        text(root / ROBOFLOW[image.split] / "labels" / f"{image.stem}.TXT", yolo_text(image, names))
    lines(root / "classes.txt", names)


def images_then_split(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        put(root, f"images/{image.split}", image)
        text(root / "labels" / image.split / f"{image.stem}.txt", yolo_text(image, names))
    text(root / "data.yaml", f"nc: {len(names)}\nnames: {json.dumps(names)}\n")


def darknet(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        text(put(root, "obj_train_data", image).with_suffix(".txt"), yolo_text(image, names))
    lines(root / "obj.names", names)
    lines(root / "obj.data", [f"classes = {len(names)}", "train = data/train.txt", "names = data/obj.names"])
    for split, name in ROBOFLOW.items():
        lines(root / f"{name}.txt", (f"/home/me/data/obj_train_data/{image.file.name}" for image in of(images, split)))


def roboflow_darknet(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        text(put(root, ROBOFLOW[image.split], image).with_suffix(".txt"), yolo_text(image, names))
    for folder in ROBOFLOW.values():
        lines(root / folder / "_darknet.labels", names)


def ultralytics(root: Path, images: Sequence[Annotated]) -> None:
    names = class_names(images)
    for image in images:
        put(root, f"images/{image.split}", image)
        text(root / "labels" / image.split / f"{image.stem}.txt", yolo_text(image, names))
    text(root / "data.yaml", f"train: images/train\nval: images/val\ntest: images/test\nnames: {json.dumps(names)}\n")


def coco_above(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "photos", image)
    text(root / "result.json", coco_json(images, class_names(images)))


def coco_masks(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, f"{image.split}", image)
    for split, form in (("train", "polygon"), ("val", "rle"), ("test", "bbox")):
        text(root / f"{split}.json", coco_json(of(images, split), class_names(images), form))


def roboflow_coco(root: Path, images: Sequence[Annotated]) -> None:
    for split, folder in ROBOFLOW.items():
        for image in of(images, split):
            put(root, folder, image)
        text(root / folder / "_annotations.coco.json", coco_json(of(images, split), class_names(images)))


def cvat_coco(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "images/default", image)
    text(root / "annotations/instances_default.json", coco_json(images, class_names(images)))


def coco(root: Path, images: Sequence[Annotated]) -> None:
    for split in ("train", "val", "test"):
        for image in of(images, split):
            put(root, f"{split}2017", image)
        content = coco_json(of(images, split), class_names(images))
        text(root / f"annotations/instances_{split}2017.json", content)


def labelme(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        text(put(root, "", image).with_suffix(".json"), labelme_json(image))


def labelme_folders(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, f"{image.split}/images", image)
        text(root / image.split / "annotations" / f"{image.stem}.json", labelme_json(image))


def tensorflow(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, f"images/{image.split}", image)
    for split in ("train", "val", "test"):
        csv_table(root / "data" / f"{split}_labels.csv", of(images, split))


def roboflow_csv(root: Path, images: Sequence[Annotated]) -> None:
    for split, folder in ROBOFLOW.items():
        for image in of(images, split):
            put(root, folder, image)
        csv_table(root / folder / "_annotations.csv", of(images, split))


def one_table(root: Path, images: Sequence[Annotated]) -> None:
    for image in images:
        put(root, "pictures", image)
    csv_table(root / "boxes.csv", images)


@dataclass(frozen=True)
class Foreign:
    """A layout: how it is read, whether it has splits, who writes it, and the function that does."""

    kind: str
    split: bool
    source: str
    write: Callable[[Path, Sequence[Annotated]], None]


LAYOUTS = {
    layout.write.__name__: layout
    for layout in (
        Foreign("voc", False, "labelImg, Pascal VOC", labelimg),
        Foreign("voc", False, "Many public sets: images and annotations in sister folders", kangaroo),
        Foreign("voc", False, "VOC folders without ImageSets", year_without_splits),
        Foreign("voc", False, "CVAT, PASCAL VOC", cvat_voc),
        Foreign("voc", True, "Roboflow, Pascal VOC", roboflow_voc),
        Foreign("voc", True, "VOC XML with split files anywhere", split_lists),
        Foreign("voc", True, "PASCAL VOC", year),
        Foreign("yolo", False, "labelImg, YOLO", labelimg_yolo),
        Foreign("yolo", False, "Label Studio, YOLO", label_studio),
        Foreign("yolo", True, "YOLO by split, then images and labels", split_then_images),
        Foreign("yolo", True, "YOLO images and labels, then by split", images_then_split),
        Foreign("yolo", True, "Darknet, and CVAT's YOLO", darknet),
        Foreign("yolo", True, "Roboflow, YOLO Darknet", roboflow_darknet),
        Foreign("yolo", True, "ultralytics", ultralytics),
        Foreign("coco", False, "One COCO file above its images", coco_above),
        Foreign("coco", True, "A COCO file for each split, with polygons and run lengths", coco_masks),
        Foreign("coco", True, "Roboflow, COCO", roboflow_coco),
        Foreign("coco", False, "CVAT, COCO", cvat_coco),
        Foreign("coco", True, "COCO", coco),
        Foreign("labelme", False, "LabelMe", labelme),
        Foreign("labelme", True, "LabelMe, by split", labelme_folders),
        Foreign("csv", True, "TensorFlow's tutorials", tensorflow),
        Foreign("csv", True, "Roboflow, CSV", roboflow_csv),
        Foreign("csv", False, "One CSV table", one_table),
    )
}


# --- the documentation -----------------------------------------------------------------------------------------------


def folder_tree(root: Path) -> str:
    """A line for each folder with its files."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found.setdefault(path.parent.relative_to(root.parent).as_posix(), []).append(path.name)
    width = max(map(len, found)) + 3
    lines = []
    for folder, names in sorted(found.items()):
        start = f"{folder + '/':<{width}}"
        lines.append(textwrap.fill(" ".join(names), 80, initial_indent=start, subsequent_indent=" " * width))
    return "\n".join(lines)


def described(folder: Path, image: Path) -> str:
    """The section of the documentation: every layout with the tree that its writer makes of three images."""
    images = [
        Annotated(folder / f"{stem}.jpg", split, (64, 64), (("cat", (1.0, 1.0, 9.0, 9.0)),))
        for stem, split in (("a", "train"), ("b", "val"), ("c", "test"))
    ]
    for item in images:
        shutil.copyfile(image, item.file)
    sections = []
    for name, layout in LAYOUTS.items():
        root = folder / name / "mydata"
        root.mkdir(parents=True)
        layout.write(root, images)
        divided = "" if layout.split else ", without splits"
        sections.append(f"{layout.source}{divided} (`{layout.kind}`):\n\n```text\n{folder_tree(root)}\n```\n")
    return "\n".join(sections)
