"""``spikedet data check``: what it finds, prints and writes, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_detector import fingerprint, sample_images

from spikedet.cli.main import main
from spikedet.commands.data_check import data_check
from spikedet.common.errors import DataError
from spikedet.config import DataCheckConfig

sys.path.append(str(Path(__file__).parent.parent / "data"))

from layout_writers import coco_annotation, coco_content, write_coco, write_yolo
from voc_writer import annotation_xml, object_xml, write_year

CAT = object_xml("cat", (1, 1, 10, 20))


def run(data: Path, out: Path, **more: str | bool) -> None:
    data_check(DataCheckConfig(data=str(data), out=str(out), **more))  # type: ignore[arg-type]


def test_a_whole_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprint(sample_images())
    run(sample_images(), tmp_path / "out")
    assert fingerprint(sample_images()) == before
    shown = capsys.readouterr().out
    assert "voc layout, 4 classes, 0 bad files" in shown
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {split: found["images"] for split, found in report["splits"].items()} == {"train": 8, "val": 4, "test": 4}


def test_every_bad_file_is_listed_once_and_then_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_year(
        tmp_path / "mydata",
        {"a": annotation_xml(CAT), "b": "<annotation>", "c": annotation_xml(CAT), "d": annotation_xml(CAT)},
        {"train": "a\nb\nc", "val": "c\nd"},
    )
    (folder / "JPEGImages/c.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"mydata: 2 bad files, listed above and in .*report\.json"):
        run(folder, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    bad = [line for line in lines if line.startswith("bad: ")]
    assert len(bad) == 2
    assert any("b.xml" in line for line in bad) and any("c.jpg" in line for line in bad)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [report["splits"][split]["images"] for split in ("train", "val")] == [1, 1]
    assert main(["data", "check", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "2 bad files" in capsys.readouterr().err


def test_one_split_alone(tmp_path: Path) -> None:
    run(sample_images(), tmp_path, split="val")
    assert list(json.loads((tmp_path / "report.json").read_text())["splits"]) == ["val"]


def test_yolo_and_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yolo = write_yolo(tmp_path / "yolo", {"a": "0 0.5 0.5 0.2 0.2\n", "b": "7 0.5 0.5 0.2 0.2\n"})
    with pytest.raises(DataError, match="1 bad file"):
        run(yolo, tmp_path / "out")
    assert "b.txt" in capsys.readouterr().out
    content = coco_content([coco_annotation(1, 1, [1, 1, 5, 5]), coco_annotation(2, 9, [1, 1, 5, 5])])
    coco = write_coco(tmp_path / "coco", content)
    with pytest.raises(DataError, match="1 bad file"):
        run(coco, tmp_path / "out")
    assert "annotation 2" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_images_of_another_size_than_their_annotation_are_bad(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    """Images of 40 x 30, one of them turned by its EXIF; without a whole size nothing is compared."""
    written = {"a": (40, 30), "b": (80, 60), "c": (30, 40), "d": (30, 40), "e": (40, 30), "f": (0, 0)}
    if layout == "voc":
        size = "<size><width>{}</width><height>{}</height></size></annotation>"
        texts = {n: annotation_xml(CAT).replace("</annotation>", size.format(*wh)) for n, wh in written.items()}
        folder = write_year(tmp_path / "mine", texts)
        image_folder, files = folder / "JPEGImages", {name: folder / f"Annotations/{name}.xml" for name in written}
    else:
        items = enumerate(written.items(), start=1)
        images = [{"id": i, "file_name": f"{n}.jpg", "width": w, "height": h} for i, (n, (w, h)) in items]
        names = [f"train2017/{name}.jpg" for name in written]
        file = write_coco(tmp_path / "mine", coco_content(images=images), images=names)
        folder, image_folder, files = tmp_path / "mine", tmp_path / "mine/train2017", dict.fromkeys(written, file)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("d", "e"):
        Image.new("RGB", (40, 30)).save(image_folder / f"{name}.jpg", exif=exif)
    with pytest.raises(DataError, match="3 bad files"):
        run(folder, tmp_path / "out")
    end = "; correct the size and the boxes, or put the annotated image back"
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("bad: ")] == [
        f"bad: {files['b']}: written for 80 x 60 pixels, but b.jpg is read as 40 x 30{end}",
        f"bad: {files['c']}: written for 30 x 40 pixels, but c.jpg is read as 40 x 30 (rotated){end}",
        f"bad: {files['e']}: written for 40 x 30 pixels, but e.jpg is read as 30 x 40 (rotated){end}",
    ]


def test_remarks_are_listed_and_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco_content([coco_annotation(5, 1, [1, 1, 5, 5])] * 2)
    run(write_coco(tmp_path / "coco", content).parents[1], tmp_path / "out")
    file, image = tmp_path / "coco/annotations/instances_train2017.json", tmp_path / "coco/train2017/a.jpg"
    remarks = [
        f"{file}: 2 annotations have the id 5; give each its own",
        f"{image}: 2 objects have the same class and box, cat at 1, 1, 6, 6; keep one",
    ]
    shown = capsys.readouterr().out.splitlines()[1:]
    assert shown[:2] == [f"remark: {text}" for text in remarks]
    assert shown[2].endswith("coco layout, 2 classes, 0 bad files, 2 remarks")
    assert json.loads((tmp_path / "out/report.json").read_text())["remarks"] == remarks
    yolo = write_yolo(tmp_path / "yolo", {"a": "0 0.5 0.5 0.2 0.2\n"})
    for number in range(7):
        (tmp_path / f"yolo/labels/train/lone{number}.txt").write_text("")
    run(yolo, tmp_path / "out")
    shown = capsys.readouterr().out.splitlines()[1:]
    assert "lone0.txt: no image lone0 in" in shown[0]
    assert shown[5] == "remark: 2 more remarks, all in report.json"


def test_a_folder_without_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_year(tmp_path / "mine", {"a": annotation_xml(CAT)}, {"cat_train": "a 1"})
    arguments = ["data", "check", str(folder), "--out", str(tmp_path / "out")]
    for end in ([], ["--split", "train"]):
        assert main(arguments + end) == 0
        seen = "VOC XML in Annotations: 1 image, 1 class (cat); no split files: 1 train, 0 val, 0 test, seed 0"
        assert capsys.readouterr().out.startswith(f"{folder}: {seen}\n")
    assert main([*arguments, "--split", "val"]) == 1
    assert "too few images for a part 'val'" in capsys.readouterr().out


def test_nothing_is_written_into_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies within the dataset"):
        run(sample_images(), sample_images() / "out")
    with pytest.raises(DataError, match="no such dataset"):
        run(tmp_path / "none", tmp_path / "out")


def test_many_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_yolo(tmp_path / "yolo", {"a": "0 0.5 0.5 0.2 0.2\n2999 0.5 0.5 0.2 0.2\n"})
    names = "".join(f"  {number}: thing {number}\n" for number in range(3000))
    file.write_text(f"train: images/train\nnames:\n{names}")
    run(file, tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 250
    assert ["2800", "more", "classes,", "all", "in", "report.json", "1"] in [line.split() for line in lines]
    assert len(json.loads((tmp_path / "out/report.json").read_text())["splits"]["train"]["objects_by_class"]) == 3000


def test_the_report_is_written_before_anything_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_reader(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("spikedet.commands.data_check.report_text", no_reader)
    with pytest.raises(BrokenPipeError):
        run(sample_images(), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json"]
