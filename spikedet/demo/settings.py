"""What a visitor has chosen, from the query of a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a visitor has chosen: t and steps of the early exit as far as they go, and the lowest score."""

    t: int
    confidence: float
    stable_steps: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Settings:
        """From the query of a request; whatever is no number there is the default."""
        number = {name: _number(query.get(name, "")) for name in ("t", "confidence", "stable_steps")}
        least = number["confidence"]
        return cls(
            t=max(1, int(number["t"] or 1)),
            confidence=0.25 if least is None else min(max(least, 0.01), 1.0),
            stable_steps=min(max(int(number["stable_steps"] or 0), 0), 64),
        )

    def steps(self, T: int | None) -> list[int]:
        """Time steps to read out of a network of T: all up to t where it may exit early, else t alone."""
        t = min(self.t, T or 1)
        return list(range(1, t + 1)) if self.stable_steps else [t]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max(value, -1e6), 1e6) if math.isfinite(value) else None
