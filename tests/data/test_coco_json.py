"""COCO annotation files: what a correct one gives, and every way it can be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_writers import coco_annotation, coco_content

from spikedet.common.errors import DataError
from spikedet.data.coco.json import CocoFile, CocoImage, coco_edges, read_coco
from spikedet.data.layout import WrittenObject

BOX = [1, 2, 3, 4]


def read(folder: Path, content: Any) -> CocoFile:
    path = folder / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_coco(path)


def only_image(folder: Path, *annotations: Any) -> CocoImage:
    (image,) = read(folder, coco_content(annotations)).images
    return image


def test_no_images_and_no_annotations(tmp_path: Path) -> None:
    assert read(tmp_path, coco_content(images=[])) == CocoFile(("cat", "dog"), (), ())
    assert only_image(tmp_path) == CocoImage("a.jpg")


def test_literal_objects(tmp_path: Path) -> None:
    second = coco_annotation(8, 1, [0.5, 1e1, 2, 3], 7, iscrowd=1, segmentation={"counts": []}, area=math.nan)
    image = only_image(tmp_path, coco_annotation(5, 1, BOX, iscrowd=0), second)
    assert image.objects == [
        WrittenObject("annotation 5", "cat", (1.0, 2.0, 3.0, 4.0), False),
        WrittenObject("annotation 8", "dog", (0.5, 10.0, 2.0, 3.0), difficult=True, crowd=True),
    ]
    assert image.problem == ""


@pytest.mark.parametrize(
    ("keys", "difficult", "crowd"),
    [
        ({}, False, False),
        ({"iscrowd": 1}, True, True),
        ({"iscrowd": 1, "difficult": 0}, True, True),
        ({"iscrowd": 1, "difficult": 1}, True, False),
        ({"iscrowd": 0, "difficult": 1}, False, False),  # not a key of COCO's, and not as we write it
    ],
)
def test_crowds_and_difficult_objects(tmp_path: Path, keys: Any, difficult: bool, crowd: bool) -> None:
    (item,) = only_image(tmp_path, coco_annotation(5, 1, BOX, **keys)).objects
    assert (item.difficult, item.crowd) == (difficult, crowd)


def test_ids_may_be_texts_and_annotations_stand_in_any_order(tmp_path: Path) -> None:
    images = [{"id": "x", "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    found = read(tmp_path, coco_content([coco_annotation(1, 2, BOX), coco_annotation(2, "x", BOX)], images))
    assert [[item.place for item in image.objects] for image in found.images] == [["annotation 2"], ["annotation 1"]]


def test_edges() -> None:
    assert coco_edges((1, 2, 3.5, 4), (30, 40)) == (1, 2, 4.5, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"images": ' + "1" * 5000 + "}", "not valid JSON"),
        ("[]", "no list 'images'; expected COCO JSON with images, annotations, categories"),
        ({"images": [], "categories": []}, "no list 'annotations'"),
        ({"images": [], "annotations": {}, "categories": []}, "no list 'annotations'"),
        ({"images": [], "annotations": [], "categories": []}, "categories: no class names"),
    ],
)
def test_no_annotation_file(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json: {message}"):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: the annotations cannot be read"):
        read_coco(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["cat"], "category number 1 is 'cat'; expected an object with 'id'"),
        ([{"name": "cat"}], "category number 1 has no 'id'"),
        ([{"id": "1", "name": "cat"}], "category number 1 has the id '1'; expected a whole number"),
        ([{"id": True, "name": "cat"}], "category number 1 has the id True"),
        ([{"id": 1}], "category 1 has no 'name'"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category 1 is there twice"),
        ([{"id": 1, "name": None}], "categories: expected a class name, got None"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "categories: the class name 'a' is there twice"),
    ],
)
def test_categories_that_are_none(tmp_path: Path, categories: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json: {message}"):
        read(tmp_path, coco_content() | {"categories": categories})


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ({"id": 5, "image_id": 1, "bbox": BOX}, "annotation 5 has no 'category_id'"),
        ({"id": 5, "image_id": 1, "category_id": 3}, "annotation 5 has no 'bbox'"),
        (coco_annotation(5, 1, BOX, 4), "annotation 5 has the category 4, which is not among the categories"),
        (coco_annotation(5, 1, BOX, None), "annotation 5 has category_id None"),
        (coco_annotation(5, 1, [1, 2, 3]), "annotation 5 has the bbox a list; expected a list of x, y, width"),
        (coco_annotation(5, 1, "1 2 3 4"), "annotation 5 has the bbox '1 2 3 4'"),
        (coco_annotation(5, 1, [1, 2, 3, math.nan]), "annotation 5 has nan in its bbox; expected finite numbers"),
        (coco_annotation(5, 1, [1, 2, 3, -math.inf]), "annotation 5 has -inf in its bbox"),
        (coco_annotation(5, 1, [1, 2, 3, 10**400]), "annotation 5 has a huge number in its bbox"),
        (coco_annotation(5, 1, [1, 2, 3, "4"]), "annotation 5 has '4' in its bbox"),
        (coco_annotation(5, 1, [1, 2, 3, True]), "annotation 5 has True in its bbox"),
        (coco_annotation(5, 1, BOX, iscrowd=2), "annotation 5 has iscrowd 2; expected 0 or 1"),
        (coco_annotation(5, 1, BOX, iscrowd="0"), "annotation 5 has iscrowd '0'"),
    ],
)
def test_a_broken_annotation_spoils_its_image(tmp_path: Path, annotation: Any, problem: str) -> None:
    image = only_image(tmp_path, coco_annotation(4, 1, BOX), annotation, coco_annotation(6, 1, BOX, 99))
    assert image.problem.startswith(f"{tmp_path / 'a.json'}: {problem}")


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (7, "annotation number 2 is 7; expected an object with 'id'"),
        ({"image_id": 1, "category_id": 3, "bbox": BOX}, "annotation number 2 has no 'id'"),
        ({"id": 5, "category_id": 3, "bbox": BOX}, "annotation 5 has no 'image_id'"),
        (coco_annotation(5, 2, BOX), "annotation 5 belongs to image 2, which is not among the images"),
        (coco_annotation(5, 1.0, BOX), "annotation 5 has image_id 1.0; expected a whole number or a text"),
        (coco_annotation(5, [1], BOX), "annotation 5 has image_id a list"),
    ],
)
def test_an_annotation_of_no_image(tmp_path: Path, annotation: Any, problem: str) -> None:
    found = read(tmp_path, coco_content([coco_annotation(4, 1, BOX), annotation]))
    assert [text.removeprefix(f"{tmp_path / 'a.json'}: ")[: len(problem)] for text in found.stray] == [problem]
    assert len(found.images[0].objects) == 1


@pytest.mark.parametrize(
    ("image", "problem", "stray"),
    [
        ({"id": 1}, "image 1 has no 'file_name'", ""),
        ({"id": 1, "file_name": " "}, "image 1 has no 'file_name'", ""),
        ({"id": 1, "file_name": 7}, "image 1 has no 'file_name'", ""),
        ({"file_name": "a.jpg"}, "", "image number 1 has no 'id'"),
        ("a.jpg", "", "image number 1 is 'a.jpg'; expected an object"),
        ({"id": True, "file_name": "a.jpg"}, "", "image number 1 has id True"),
    ],
)
def test_images_that_are_none(tmp_path: Path, image: Any, problem: str, stray: str) -> None:
    found = read(tmp_path, coco_content(images=[image]))
    assert [item.problem.removeprefix(f"{tmp_path / 'a.json'}: ")[: len(problem)] for item in found.images] == (
        [problem] if problem else []
    )
    assert [text.removeprefix(f"{tmp_path / 'a.json'}: ")[: len(stray)] for text in found.stray] == (
        [stray] if stray else []
    )


def test_an_image_id_that_is_there_twice(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    (image,) = read(tmp_path, coco_content([coco_annotation(5, 1, BOX)], images)).images
    assert image.problem.endswith("a.json: image 1 is there twice; give each image its own id")


def test_annotation_ids_that_are_there_twice(tmp_path: Path) -> None:
    ids = (5, "5", 6, 5, 7, 6, 5)
    found = read(tmp_path, coco_content([coco_annotation(identity, 1, BOX) for identity in ids]))  # type: ignore[arg-type]
    assert found.repeated == tuple(
        f"{tmp_path / 'a.json'}: {times} annotations have the id {identity}; give each its own"
        for times, identity in ((3, 5), (2, 6))
    )
    assert len(found.images[0].objects) == 7


def test_sizes_of_images(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}, {"id": 2, "file_name": "b.jpg", "height": 0}]
    assert [image.image_hw for image in read(tmp_path, coco_content(images=images)).images] == [(30, 40), None]


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "file_name", "image_id", "category_id", "bbox", "iscrowd"]), inner
        )
    ),
    max_leaves=12,
)
lists = st.lists(anything, max_size=4)


def assert_whole_or_data_error(folder: Path, content: str | bytes) -> None:
    path = folder / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        found = read_coco(path)
    except DataError as error:
        assert str(error).startswith(str(path))
        return
    for image in found.images:
        for item in image.objects:
            assert item.name in found.class_names
            assert all(math.isfinite(number) for number in item.numbers)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({"images": lists, "annotations": lists, "categories": lists}) | anything)
def test_any_json_is_a_file_or_a_data_error(tmp_path: Path, content: Any) -> None:
    assert_whole_or_data_error(tmp_path, json.dumps(content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    annotations=st.lists(
        st.fixed_dictionaries({"id": anything, "image_id": st.just(1), "category_id": st.just(3), "bbox": anything})
        | st.fixed_dictionaries({"id": st.just(1), "image_id": anything, "category_id": anything})
    )
)
def test_any_annotations_of_a_whole_file(tmp_path: Path, annotations: list[Any]) -> None:
    assert_whole_or_data_error(tmp_path, json.dumps(coco_content(annotations)))


TEMPLATE = json.dumps(coco_content([coco_annotation(5, 1, BOX)])).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, len(TEMPLATE)), length=st.integers(0, 40), splice=st.binary(max_size=20))
def test_spliced_bytes(tmp_path: Path, start: int, length: int, splice: bytes) -> None:
    assert_whole_or_data_error(tmp_path, TEMPLATE[:start] + splice + TEMPLATE[start + length :])
