"""What of a data.yaml counts, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.yaml import read_mapping
from spikedet.data.yolo.yaml import YoloFile, is_yolo, parse_yolo


def parse(folder: Path, text: str) -> YoloFile:
    file = folder / "data.yaml"
    file.write_text(text, encoding="utf-8")
    return parse_yolo(file, read_mapping(file, "keys"))


def test_the_least_there_is(tmp_path: Path) -> None:
    found = parse(tmp_path, "train: images\nnames: [cat]")
    assert found == YoloFile(tmp_path / "data.yaml", tmp_path, tmp_path.name, ("cat",), {"train": ("images",)})


def test_everything_that_counts(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    text = (
        "path: set\ntrain: [images/a, images/b]\nval: val.txt\ntest:\nnc: 2\nnames: {1: dog, 0: 7}\nkpt_shape: [17, 3]"
    )
    found = parse(tmp_path, text)
    assert (found.root, found.name, found.class_names) == (tmp_path / "set", "set", ("7", "dog"))
    assert found.parts == {"train": ("images/a", "images/b"), "val": ("val.txt",)}


@pytest.mark.parametrize("name", ["../train", "/tmp/train", "..", ".hidden", r"a\b", "C:train", "", "a\nb"])
def test_a_split_cannot_be_called_like_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.yaml: 'splits': expected the name of a split"):
        parse(tmp_path, yaml.safe_dump({"train": "images", "names": ["a"], "splits": {name: "list.txt"}}))


def test_a_class_called_by_a_huge_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.yaml: 'names': expected a class name, got a huge number"):
        parse(tmp_path, f"train: images\nnames: [0x{'f' * 5000}]")


@pytest.mark.parametrize("number", ["010", "1_000", "0x10", "1:30", "+3", "0b1", "-010"])
def test_numbers_that_yaml_reads_otherwise_are_refused(tmp_path: Path, number: str) -> None:
    """YAML 1.1 takes them for 8, 1000, 16, 90 and so on; quoted they are names."""
    with pytest.raises(ConfigError, match=r"expected a class name, got .*; quote names such as"):
        parse(tmp_path, f"train: images\nnames: [a, {number}]")
    with pytest.raises(ConfigError, match="the keys of 'names' must be 0"):
        parse(tmp_path, f"train: images\nnames: {{0: a, {number}: b}}")
    assert parse(tmp_path, f"train: images\nnames: [a, '{number}']").class_names == ("a", number)


def test_merges_are_refused(tmp_path: Path) -> None:
    """Ten of ten of ten ...: a thousand bytes for more keys than any memory holds."""
    levels = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))
    with pytest.raises(ConfigError, match=r"data\.yaml: not readable as YAML \(a mapping takes over another with '<<'"):
        parse(tmp_path, f"a0: &a0 {{x: 1}}\n{levels}")
    assert parse(tmp_path, "train: &a images\nval: *a\nnames: [a]").parts == {"train": ("images",), "val": ("images",)}


def test_what_is_not_known_has_no_effect(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = f"train: images\nnames: [a]\ndownload: |\n  open({str(marker)!r}, 'w')\nroboflow: {{url: 'http://127.0.0.1:9'}}\n"
    assert parse(tmp_path, text + "licence: licence.txt\nextra: images/extra").parts == {"train": ("images",)}
    assert not marker.exists()


def test_further_splits_have_a_key_of_their_own(tmp_path: Path) -> None:
    found = parse(tmp_path, "train: train.txt\nsplits: {trainval: trainval.txt, '2007': [a, b], 1: c}\nnames: [a]")
    assert found.parts == {"train": ("train.txt",), "trainval": ("trainval.txt",), "2007": ("a", "b")}
    assert list(parse(tmp_path, "train: train.txt\nsplits: 80/20\nnames: [a]").parts) == ["train"]


def test_path_is_beside_the_file_or_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here/set", "elsewhere/set", "elsewhere/other"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for written, root in (("set", "here/set"), ("other", "elsewhere/other"), ("''", "here")):
        assert parse(tmp_path / "here", f"path: {written}\ntrain: a\nnames: [a]").root == tmp_path / root
    with pytest.raises(DataError, match=r"data\.yaml: 'path' 'gone' is no folder; correct it, or remove it"):
        parse(tmp_path / "here", "path: gone\ntrain: a\nnames: [a]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: a", "'names' must be a list of class names or a mapping"),
        ("train: a\nnames: cat", "'names' must be a list"),
        ("train: a\nnames: []", "no class names"),
        ("train: a\nnames: [a, a]", "'a' is there twice"),
        ("train: a\nnames: [no]", "got False; quote names such as 'no'"),
        ("train: a\nnames: [[a]]", "got a list"),
        ("train: a\nnames: {0: a, 2: b}", "the keys of 'names' must be 0, 1, 2"),
        ("train: a\nnames: {0: a, true: b}", "the keys of 'names' must be 0, 1, 2"),
        ("train: a\nnames: [a]\nnc: 2", "'nc' is 2, but 'names' has 1"),
        ("train: a\nnames: [a]\nnc: true", "'nc' is True, but 'names' has 1"),
        ("train: 7\nnames: [a]", "'train' must be a folder, a .txt file or a list of those, got 7"),
        ("train: [a, 7]\nnames: [a]", "'train' must be a folder.* got a list"),
        ("path: [a]\ntrain: a\nnames: [a]", "'path' must be a folder, got a list"),
        ("path: .\nnames: [a]", "no split; expected at least one of train, val, test"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.yaml: .*{message}"):
        parse(tmp_path, text)


@pytest.mark.parametrize("text", ["[", "- a", "", "!!bool x", "!!timestamp x", "? [a]\n: b", "\x00"])
def test_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml: (expected a mapping with keys|not readable as YAML)"):
        read_mapping(tmp_path / "a.yaml", "keys")


def test_a_mapping_that_grows_when_it_is_shown_is_not_shown(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
    for key in ("names: [*a19]", "names: *a19", "nc: *a19\nnames: [a]", "path: *a19\nnames: [a]"):
        with pytest.raises(ConfigError, match=r"data\.yaml: .*a list"):
            parse(tmp_path, f"{bomb}train: a\n{key}")


def test_which_mappings_are_yolo() -> None:
    assert all(is_yolo({key: None}) for key in ("train", "val", "test", "splits", "path", "nc"))
    assert not any(is_yolo(content) for content in ({}, {"names": []}, {"data": ".", "train": "a"}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["path", "train", "val", "names", "nc", "splits"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, values))
def test_any_mapping_is_a_file_or_an_error_of_ours(tmp_path: Path, content: dict[str, object]) -> None:
    try:
        found = parse_yolo(tmp_path / "data.yaml", content)
    except SpikedetError as error:
        assert str(error).startswith(str(tmp_path))
        return
    assert found.class_names and found.parts
