"""Into the letterbox and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikedet.data.transforms import from_letterbox, letterbox, to_input


def white_box(image_hw: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """A black image with a white rectangle."""
    image = np.zeros((*image_hw, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def bounds(image: np.ndarray) -> torch.Tensor:
    """``[1, 4]`` edges of what is brighter than the padding's grey."""
    rows, columns = np.nonzero((image[..., 0] > 127).any(1))[0], np.nonzero((image[..., 0] > 127).any(0))[0]
    return torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=torch.float32)


sides = st.integers(40, 400)
fractions = st.tuples(st.floats(0, 0.5), st.floats(0.25, 0.5))


@given(height=sides, width=sides, image_size=st.sampled_from([64, 160, 320]), across=fractions, down=fractions)
def test_round_trip_is_within_an_input_pixel(
    height: int, width: int, image_size: int, across: tuple[float, float], down: tuple[float, float]
) -> None:
    box = (
        int(across[0] * width),
        int(down[0] * height),
        int((across[0] + across[1]) * width),
        int((down[0] + down[1]) * height),
    )
    image = letterbox(white_box((height, width), box), image_size)
    assert image.shape == (image_size, image_size, 3)
    got = from_letterbox(bounds(image), image_size, (height, width))
    pixel = max(height, width) / image_size
    assert (got - torch.tensor([box])).abs().max() <= max(pixel, 1)


@given(height=st.integers(1, 2000), width=st.integers(1, 2000), image_size=st.sampled_from([32, 320, 640]))
def test_the_whole_input_is_the_whole_image(height: int, width: int, image_size: int) -> None:
    everything = torch.tensor([[-5.0, -5.0, image_size + 5.0, image_size + 5.0]])
    assert from_letterbox(everything, image_size, (height, width)).tolist() == [[0, 0, width, height]]


def test_by_hand() -> None:
    """100 x 200 into 50 x 50: gain 1/4, 25 rows, 12 above (round(12.5 - 0.1)) and 13 below."""
    image = letterbox(np.zeros((100, 200, 3), np.uint8), 50)
    assert (image[:12] == 114).all()
    assert (image[12:37] == 0).all()
    assert (image[37:] == 114).all()
    box = torch.tensor([[10.0, 20.0, 30.0, 32.0]])
    assert from_letterbox(box, 50, (100, 200)).tolist() == [[40, 32, 120, 80]]


def test_a_square_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(letterbox(image, 32), image)


def test_no_boxes() -> None:
    assert from_letterbox(torch.zeros(0, 4), 64, (48, 20)).shape == (0, 4)


def test_boxes_are_clipped_and_the_argument_is_not() -> None:
    box = torch.tensor([[-4.0, -4.0, 70.0, 70.0]])
    assert from_letterbox(box, 64, (64, 32)).tolist() == [[0, 0, 32, 64]]
    assert box.tolist() == [[-4, -4, 70, 70]]


def test_input_is_a_batch_of_unit_range_rgb() -> None:
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 255
    batch = to_input([red, np.zeros((9, 3, 3), np.uint8)], 32)
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    assert batch[0, :, 16, 16].tolist() == [1, 0, 0]
    assert batch[0, :, 0, 0].tolist() == pytest.approx([114 / 255] * 3)
