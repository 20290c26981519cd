"""From a name on the command line to a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_writers import coco_annotation, coco_content, write_coco, write_image, write_yolo
from voc_writer import annotation_xml, fingerprint, object_xml, write_year

from spikedet.common.errors import ConfigError, DataError
from spikedet.data import load_dataset
from spikedet.data.sources import find_layout, parse_synthetic
from spikedet.data.synthetic.dataset import SyntheticConfig
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES

CAT = annotation_xml(object_xml("cat", (1, 1, 10, 20)))
TINY = "synthetic:train=2,val=1,test=1,size=64"


def test_synthetic_is_written_once_under_the_cache(tmp_path: Path) -> None:
    train = load_dataset(TINY, "train", cache_root=tmp_path)
    before = fingerprint(tmp_path)
    val = load_dataset(TINY, "val", cache_root=tmp_path)
    assert (len(train), len(val)) == (2, 1)
    assert train.class_names == val.class_names == SYNTHETIC_CLASS_NAMES
    assert fingerprint(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic-v1-64x64-2-1-1-seed0"]


def test_synthetic_seeds_live_side_by_side(tmp_path: Path) -> None:
    first = load_dataset(TINY, "train", cache_root=tmp_path)
    second = load_dataset(f"{TINY},seed=1", "train", cache_root=tmp_path)
    assert (first.read_image(0) != second.read_image(0)).any()


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", SyntheticConfig(train=256, val=64, test=64, image_hw=(160, 160), seed=0)),
        ("train=64,val=16,seed=3", SyntheticConfig(train=64, val=16, test=64, image_hw=(160, 160), seed=3)),
        (" size = 96 , test=2,", SyntheticConfig(train=256, val=64, test=2, image_hw=(96, 96), seed=0)),
    ],
)
def test_synthetic_settings(text: str, config: SyntheticConfig) -> None:
    assert parse_synthetic(text) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian=64", "synthetic: unknown setting 'trian'; known: train, val, test, size, seed"),
        ("train", "synthetic: train= is not a whole number of at most 9 digits; for example train=256"),
        ("seed=-1", "seed=-1 is not a whole number"),
        ("seed=" + "9" * 5000, "is not a whole number"),
        ("size=1.5", "size=1.5 is not a whole number"),
        ("size=32", "size 32 x 32 is outside 64 to 1024 pixels"),
        ("train=0", "train=0 is outside 1 to 100000"),
    ],
)
def test_invalid_synthetic_settings(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dataset(f"synthetic:{text}", "train", cache_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_as_text_or_path(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT})
    before = fingerprint(tmp_path)
    assert len(load_dataset(str(root), "train", cache_root=tmp_path / "cache")) == 1
    assert load_dataset(root, "train", ["dog", "cat"]).samples[0].labels.tolist() == [1]
    assert fingerprint(tmp_path) == before


def test_strict_is_passed_on(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": annotation_xml(object_xml("cat", (3, 3, 3, 3)))})
    with pytest.raises(DataError, match="has no area"):
        load_dataset(root, "train", strict=True)


def test_missing_path_says_what_is_accepted(tmp_path: Path) -> None:
    message = (
        "none: no such dataset; expected a folder of images with VOC, .* a .yaml file that names one, or 'synthetic'"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / "none", "train")


def test_tilde_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_year(tmp_path / "mine", {"a": CAT})
    (tmp_path / "mine.yaml").write_text("data: ~/mine\n")
    assert len(load_dataset("~/mine", "train")) == 1
    assert len(load_dataset("~/mine.yaml", "train")) == 1
    with pytest.raises(DataError, match="write the folder out"):
        load_dataset("~no_such_user_here/mine", "train")


def test_yaml_names_a_folder_beside_it(tmp_path: Path) -> None:
    write_year(tmp_path / "sets" / "mine", {"a": CAT})
    (tmp_path / "mine.yml").write_text("data: sets/mine\nnames: [dog, cat]\n")
    dataset = load_dataset(tmp_path / "mine.yml", "train")
    assert (dataset.name, dataset.class_names) == ("mine", ("dog", "cat"))
    assert load_dataset(tmp_path / "mine.yml", "train", ["cat"]).class_names == ("cat",)


@pytest.mark.parametrize("names", ["[dog, cat]", "{0: dog, 1: cat}"])
def test_yaml_names_the_classes_of_yolo_labels_without_a_list(tmp_path: Path, names: str) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "mine" / f"{name}.jpg", (20, 40))
        (tmp_path / "mine" / f"{name}.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "mine.yaml").write_text(f"data: mine\nnames: {names}\nfractions: [1, 0, 0]\n")
    dataset = load_dataset(tmp_path / "mine.yaml", "train")
    assert dataset.class_names == ("dog", "cat")
    assert [sample.labels.tolist() for sample in dataset.samples] == [[1], [1]]
    (tmp_path / "mine" / "classes.txt").write_text("cat\ndog\n")  # what the labels' own list says, it says
    dataset = load_dataset(tmp_path / "mine.yaml", "train")
    assert (dataset.class_names, dataset.samples[0].labels.tolist()) == (("dog", "cat"), [0])


def test_yaml_without_names_takes_those_of_the_annotations(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT})
    (tmp_path / "mine.yaml").write_text(f"data: {root}\n")
    assert load_dataset(tmp_path / "mine.yaml", "train").class_names == ("cat",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with the key 'data'"),
        ("- data", "expected a mapping with the key 'data'"),
        ("data: [", "not readable as YAML"),
        ("data: !!python/object/apply:os.getcwd []", "not readable as YAML"),
        ("data: x\npath: y\nnc: 3", "unknown key 'path'; known: data, names, layout, fractions"),
        ("names: [a]", "'data' must be the path of a dataset's folder, got None"),
        ("data: 7", "'data' must be the path of a dataset's folder, got 7"),
        ("data: x\nnames: cat", "'names' must be a list of class names or a mapping"),
        ("data: x\nnames: {1: a, 2: b}", "the keys of 'names' must be 0, 1, 2"),
        ("data: x\nfractions: 80", "'fractions' must be three numbers for train, val and test, .* got '80'"),
        ("data: x\nnames: []", "'names': no class names"),
        ("data: x\nnames: [no]", "quote names such as 'no'"),
        ("data: x\nnames: [a, a]", "'names': the class name 'a' is there twice"),
    ],
)
def test_invalid_yaml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.yaml: .*{message}"):
        load_dataset(tmp_path / "x.yaml", "train")


def test_fractions_that_are_not_used_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT}, {"train": "a", "val": "a"})
    load_dataset(str(root), "train", fractions="80,10,10")
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []
    load_dataset(str(root), "train", fractions="60,20,20")
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [f"{root}: it has splits (train, val), so fractions are not used"]


def test_fractions_are_checked_where_there_are_splits_too(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT})
    for data in (str(root), TINY):
        with pytest.raises(ConfigError, match=r"--fractions must be three numbers .* got '80'"):
            load_dataset(data, "train", cache_root=tmp_path, fractions="80")


def test_missing_yaml_and_missing_folder_in_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.yaml: no such file"):
        load_dataset(tmp_path / "x.yaml", "train")
    (tmp_path / "x.yaml").write_text("data: gone\n")
    with pytest.raises(DataError, match="gone: no such dataset"):
        load_dataset(tmp_path / "x.yaml", "train")


# --- which layout it is ---------------------------------------------------------------------------------------------


def test_several_layouts_in_one_folder(tmp_path: Path) -> None:
    """An error names them; the flag, a YAML file or naming a file itself chooses."""
    coco = write_coco(tmp_path / "mine", coco_content())
    assert find_layout(tmp_path / "mine")[0].kind == "coco"
    yolo = write_yolo(tmp_path / "mine", {"a": ""})
    write_year(tmp_path / "mine" / "VOC2007", {"a": CAT})
    message = r"mine: may be read as voc \(VOC.*\) or yolo \(YOLO.*\) or coco \(COCO.*\); choose with --layout voc or "
    with pytest.raises(DataError, match=message):
        find_layout(tmp_path / "mine")
    for kind in ("voc", "yolo", "coco"):
        assert find_layout(tmp_path / "mine", layout=kind)[0].kind == kind
        (tmp_path / "mine.yaml").write_text(f"data: mine\nlayout: {kind}")
        assert find_layout(tmp_path / "mine.yaml")[0].kind == kind
    assert [find_layout(path)[0].kind for path in (yolo, coco)] == ["yolo", "coco"]
    (tmp_path / "mine.yaml").write_text("data: mine\nlayout: pascal")
    with pytest.raises(ConfigError, match="'layout' must be one of voc, yolo, coco, labelme, csv, got 'pascal'"):
        find_layout(tmp_path / "mine.yaml")


def test_a_folder_of_no_layout(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "data.yaml").write_text("data: elsewhere\n")
    with pytest.raises(
        DataError, match=r"layout we know\. Found: \./ has 1 \.yaml\. Missing: no image; expected \.jpg"
    ):
        load_dataset(tmp_path, "train")


@pytest.mark.parametrize("layout", ["yolo", "coco"])
def test_the_short_form_names_a_folder_of_any_layout(tmp_path: Path, layout: str) -> None:
    if layout == "yolo":
        write_yolo(tmp_path / "mine", {"a": "1 .5 .5 1 1"})
    else:
        write_coco(tmp_path / "mine", coco_content([coco_annotation(1, 1, [1, 2, 3, 4], 7)]))
    assert load_dataset(tmp_path / "mine", "train").samples[0].labels.tolist() == [1]
    (tmp_path / "mine.yaml").write_text("data: mine\nnames: [dog, cat]\n")
    dataset = load_dataset(tmp_path / "mine.yaml", "train")
    assert (dataset.class_names, dataset.samples[0].labels.tolist()) == (("dog", "cat"), [0])
