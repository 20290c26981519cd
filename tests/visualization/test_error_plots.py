"""Plots of an explanation: files of their names, drawn from the numbers, whatever is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_explanations import chain, explanation, layer, ranking, step
from matplotlib import image

from spikedet.common.errors import SpikedetError
from spikedet.diagnosis.records import Explanation, LayerErrors, LayerRank
from spikedet.visualization import figure
from spikedet.visualization.error_plots import plot_explanation

pytestmark = pytest.mark.slow

NAMES = ["1-ap", "2-ranking", "3-split", "4-residual", "5-cosine", "6-theta"]
RANK = ranking(
    LayerRank(layer="a", moved=0.5, only=48.0, all_but=46.0), LayerRank(layer="pool", moved=0, only=1, all_but=1)
)
WHOLE = explanation(
    layer("a", step(1, 0.5, clipping=0.1), step(4, 0.9, over_firing=0.3), more=0.3, spikes_mean=1.0),
    LayerErrors(layer="class", steps=(step(1), step(4))),
    ranking=RANK,
)


@pytest.mark.parametrize(
    ("found", "drawn"),
    [
        (WHOLE, NAMES),
        (explanation(chain=chain(None, None, None)), NAMES[2:]),
        (explanation(LayerErrors(layer="class", steps=(step(4),))), ["1-ap", "3-split", "5-cosine"]),
    ],
    ids=["whole", "no AP", "output layers alone"],
)
def test_images_are_written(
    found: Explanation, drawn: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "DPI", 40)
    paths = plot_explanation(found, tmp_path / "out")
    assert [path.name for path in paths] == [f"explain-{name}.png" for name in drawn]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in paths]
    for path in paths:
        assert image.imread(path).std() > 0.01


def test_images_of_an_earlier_explanation_do_not_stay(tmp_path: Path, unrendered_plots: None) -> None:
    plot_explanation(WHOLE, tmp_path)
    other = tmp_path / "ap_by_t.png"
    other.write_text("")
    plot_explanation(explanation(), tmp_path)
    assert not (tmp_path / "explain-2-ranking.png").exists() and other.exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpikedetError, match="cannot write here"):
        plot_explanation(explanation(), tmp_path / "file")
