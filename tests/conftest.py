"""Settings of every test: one thread, and no deadline for hypothesis on a machine that others use too."""

from __future__ import annotations

import torch
from hypothesis import settings

import spikedet  # noqa: F401 - silences ultralytics, so it must come before any test imports that

torch.set_num_threads(1)
settings.register_profile("spikedet", deadline=None, max_examples=40)
settings.load_profile("spikedet")
