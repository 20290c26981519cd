"""Inputs without labels: recipes, mosaics by hand, and images kept in memory or read anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spikedet.calibration.images import GREY, Recipes, TrainingImages, mosaics, recipes
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input

CPU = torch.device("cpu")


def flat(*values: float, side: int = 8) -> list[Tensor]:
    """One image of each value."""
    return [torch.full((3, side, side), value) for value in values]


def mosaic(four: list[Tensor], centre_xy: tuple[float, float], scales: tuple[float, ...]) -> Tensor:
    """One mosaic."""
    return mosaics(torch.stack(four).unsqueeze(0), torch.tensor([centre_xy]), torch.tensor([scales]))[0]


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_an_epoch_has_every_image_once() -> None:
    made = recipes(50, 0.5, np.random.default_rng(0))
    assert sorted(made.numbers[:, 0].tolist()) == list(range(50))
    assert set(made.mosaic.tolist()) == {False, True}
    assert made.numbers.shape == made.mirrored.shape == made.scales.shape == (50, 4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_mosaics(share: float) -> None:
    assert recipes(20, share, np.random.default_rng(0)).mosaic.mean() == share


def test_the_same_seed_gives_the_same_epoch() -> None:
    first, second, other = (recipes(9, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, second)) and not any(map(np.array_equal, first[2:], other[2:]))


# --- mosaics ----------------------------------------------------------------------------------------------------------


def test_four_images_meet_at_the_centre() -> None:
    made = mosaic(flat(0.1, 0.2, 0.3, 0.4), (0.5, -0.5), (2.0, 2.0, 2.0, 2.0))
    expected = torch.empty(8, 8)  # the centre is at column 6 and row 2 of 8
    expected[:2, :6], expected[:2, 6:], expected[2:, :6], expected[2:, 6:] = 0.1, 0.2, 0.3, 0.4
    torch.testing.assert_close(made, expected.expand(3, 8, 8))


def test_half_size_images_around_the_middle_are_shown_whole() -> None:
    gradient = torch.arange(8.0).expand(3, 8, 8) / 10
    made = mosaic([gradient] * 4, (0.0, 0.0), (0.5,) * 4)
    halved = torch.tensor([0.5, 2.5, 4.5, 6.5]) / 10  # bilinear between two neighbours
    torch.testing.assert_close(made, torch.cat([halved, halved]).expand(3, 8, 8))


def test_an_image_keeps_its_inner_corner_at_the_centre() -> None:
    numbered = torch.arange(64.0).view(1, 8, 8).expand(3, 8, 8) / 64
    made = mosaic([numbered] * 4, (0.0, 0.0), (1.0,) * 4)
    torch.testing.assert_close(made[:, :4, :4], numbered[:, 4:, 4:])  # upper left: its lower right quarter
    torch.testing.assert_close(made[:, 4:, 4:], numbered[:, :4, :4])
    torch.testing.assert_close(made[:, :4, 4:], numbered[:, 4:, :4])


def test_what_no_image_reaches_is_grey() -> None:
    made = mosaic(flat(1.0, 1.0, 1.0, 1.0), (0.0, 0.0), (0.25,) * 4)
    torch.testing.assert_close(made[:, :2], torch.full((3, 2, 8), GREY))
    torch.testing.assert_close(made[:, 3:5, 3:5], torch.ones(3, 2, 2))


def test_a_centre_at_the_border_leaves_two_images() -> None:
    made = mosaic(flat(0.1, 0.2, 0.3, 0.4), (1.0, 0.0), (2.0,) * 4)
    assert set(made.flatten().tolist()) == set(torch.tensor([0.1, 0.3]).tolist())


# --- images ---------------------------------------------------------------------------------------------------------


def test_kept_and_read_anew_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("synthetic:train=6,size=64", "train")
    kept = TrainingImages(dataset, 32, CPU)
    monkeypatch.setattr("spikedet.calibration.images.KEPT_BYTES", 0)
    anew = TrainingImages(dataset, 32, CPU)
    expected = to_input([dataset.read_image(i) for i in (4, 1)], 32)
    assert torch.equal(kept.plain([4, 1]), expected)
    assert torch.equal(anew.plain([4, 1]), expected)


def test_cooking_mirrors_and_puts_together() -> None:
    made = TrainingImages(load_dataset("synthetic:train=6,size=64", "train"), 32, CPU)
    plain = made.plain(range(4))
    numbers, flags = np.array([[5, 5, 5, 5], [2, 0, 0, 0], [0, 1, 2, 3]]), np.zeros((3, 4), bool)
    flags[1, :2] = flags[2, 1] = True
    epoch = Recipes(numbers, np.array([False, False, True]), flags, np.zeros((3, 2)), np.full((3, 4), 0.5))
    mirrored, together = made.cook(epoch, [1, 2])
    assert torch.equal(mirrored, plain[2].flip(-1))
    parts = [plain[0], plain[1].flip(-1), plain[2], plain[3]]
    torch.testing.assert_close(together, mosaic(parts, (0.0, 0.0), (0.5,) * 4))
