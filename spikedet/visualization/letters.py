"""Letters that OpenCV can draw: version 5 has those of many scripts, earlier ones ASCII; no other order than ours."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

_RIGHT_TO_LEFT = ("R", "AL", "AN")


def name_to_draw(class_names: Sequence[str], label: int) -> str:
    """The name of a class, or ``class 3`` where it cannot be drawn."""
    return drawable(class_names[label]) if can_draw(class_names[label]) else f"class {label}"


def names_beside(class_names: Sequence[str]) -> str:
    """A sentence that lists the names that cannot be drawn; else ""."""
    shown = {label: name_to_draw(class_names, label) for label in range(len(class_names))}
    listed = [f"{text} is {class_names[label]}" for label, text in shown.items() if not can_draw(class_names[label])]
    return f"drawn as numbers, for want of their letters: {', '.join(listed)}" if listed else ""


def can_draw(text: str) -> bool:
    """Whether every letter is there, and they stand side by side from left to right."""
    return text.isascii() or all(map(_has_letter, unicodedata.normalize("NFC", text)))


def drawable(text: str) -> str:
    """The text with ``?`` for what cannot be drawn. OpenCV crashes on bytes that are no UTF-8."""
    letters = text if text.isascii() else unicodedata.normalize("NFC", text)
    return "".join(letter if _has_letter(letter) else "?" for letter in letters)


@cache
def _has_letter(letter: str) -> bool:
    """OpenCV draws ``?`` for a letter that it does not have."""
    if letter.isascii():
        return True
    if unicodedata.category(letter)[0] in "CM" or unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT:
        return False  # lone surrogates, and marks that belong above or below another letter
    questions = {"?", "?" * len(letter.encode())}  # earlier versions draw one for each byte
    return letter.isspace() or not any(np.array_equal(_drawn(letter), _drawn(text)) for text in questions)


def _drawn(letter: str) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((48, 64), np.uint8)
    return np.asarray(cv2.putText(canvas, letter, (8, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 1), np.uint8)
