"""What calibration did to each layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerReport:
    """What calibration did to one layer: mean squared errors in squared activation units (output layers: logits).

    With ``early`` or ``sparsity``, those before and after the fine calibration are its whole cost, which chooses.

    Raises:
        ValueError: of the two errors of a fine calibration one is there alone.
    """

    layer: str
    coarse_before: float
    fine_before: float | None
    fine_after: float | None
    epochs: int

    def __post_init__(self) -> None:
        if (self.fine_before is None) != (self.fine_after is None):
            raise ValueError("an error before the fine calibration, and none after it, or the other way round")

    def __str__(self) -> str:
        text = f"{self.layer:<18} MSE {self.coarse_before:.3e} as copied"
        if self.fine_before is not None:
            text += f"; held out {self.fine_before:.3e} after coarse -> {self.fine_after:.3e} after fine"
        return f"{text}  ({self.epochs} epochs)"
