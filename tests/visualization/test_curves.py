"""The image of AP by t."""

import sys

from PIL import Image
from test_lines import ANN, AT_4, AT_8, EARLY

from spikedet.visualization.curves import plot_ap_by_t


def test_no_rows(tmp_path):
    assert plot_ap_by_t([], tmp_path / "ap.png").stat().st_size > 0


def test_the_image_is_a_png_that_a_telephone_shows(tmp_path):
    path = plot_ap_by_t([ANN, AT_8, AT_4, EARLY], tmp_path / "new" / "ap.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1200, 840)
        assert round(image.info["dpi"][0]) == 200
    assert [file.name for file in path.parent.iterdir()] == ["ap.png"]


def test_pyplot_stays_unused(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_ap_by_t([ANN, AT_8], tmp_path / "ap.png")
    assert "matplotlib.pyplot" not in sys.modules
