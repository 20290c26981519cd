"""Colours of networks, and labels at the ends of lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikedet.visualization.figure import COLOURS, colour_of, label_ends, new_figure, spread


@pytest.mark.parametrize(
    ("network", "key"),
    [
        ("ANN", "ANN"),
        ("clip ANN after Stage I, distilled", "clip ANN"),
        ("QC-ANN, T = 8", "QC-ANN"),
        ("SNN + joint, signed", "SNN"),
        ("SNN + coarse", "SNN + coarse"),
        ("SNN + coarse + fine, T = 8", "SNN + coarse + fine"),
        ("SNN, weights copied, if", "SNN, weights copied"),
    ],
)
def test_the_longest_beginning_of_a_name_decides(network: str, key: str) -> None:
    assert colour_of(network) == COLOURS[key]


def test_labels_keep_their_height_where_there_is_room() -> None:
    assert spread([], []) == []
    assert spread([0.2, 0.5], [0.1, 0.1]) == [0.2, 0.5]


def test_labels_do_not_overlap_and_stay_within() -> None:
    places = spread([0.5, 0.5, 0.99], [0.1, 0.2, 0.1])
    assert places == pytest.approx([0.5, 0.65, 0.95])
    assert spread([1.0, 1.0], [0.1, 0.1]) == pytest.approx([0.85, 0.95])
    assert spread([0.0], [0.1]) == pytest.approx([0.05])


def test_labels_stand_beside_pieces_of_their_lines(tmp_path: Path) -> None:
    with new_figure(tmp_path / "a.png") as axes:
        lines = [axes.plot([1, 2], [1, y], color=colour)[0] for y, colour in ((2, "#009E73"), (3, "#0072B2"))]
        lines.append(axes.axhline(1.5, linestyle="--", color="#000000"))
        before = len(axes.lines)
        label_ends(axes, [("low", lines[0]), ("high", lines[1]), ("level", lines[2])])
        assert [text.get_text() for text in axes.texts] == ["level", "low", "high"]  # from below
        heights = [text.get_position()[1] for text in axes.texts]
        assert heights == sorted(heights)
        keys = [line for line in axes.lines[before:] if len(line.get_xdata()) == 3]
        assert [key.get_color() for key in keys] == ["#000000", "#009E73", "#0072B2"]
        assert keys[0].get_linestyle() == "--"
