"""Settings of every test: one thread; hypothesis without a deadline, as others use the machine too.

The suite gives the same verdict twice: hypothesis draws the same cases each time. New ones are looked for with
``pytest --hypothesis-profile=search``.
"""

from __future__ import annotations

import gc
import signal

import pytest
import torch
from hypothesis import settings
from unrendered import unrender

import spikedet  # noqa: F401 - silences ultralytics, so it must come before any test imports that
from spikedet.cli.messages import print_messages

torch.set_num_threads(1)
print_messages()  # so that tests see with capsys what a command says
settings.register_profile("spikedet", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("spikedet")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it, and what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup has it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Leave what imports have made out of collections: each takes 0.2 s otherwise, and a training asks for several."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def unrendered_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are drawn but not rendered."""
    unrender(monkeypatch)
