

import pytest
from PIL import Image


def save_unrendered(figure: Any, path: Path, **settings: Any) -> None:
    """A small empty image in place of a plot."""
    Image.new("RGB", (60, 40)).save(path, settings["format"])


def unrender(patch: pytest.MonkeyPatch) -> None:
    """Every plot is saved so."""
    patch.setattr("matplotlib.figure.Figure.savefig", save_unrendered)
