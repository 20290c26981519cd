"""What is recorded of the surroundings of a run."""

from __future__ import annotations

import pytest
import torch

from spikedet.common import environment
from spikedet.common.environment import versions


def test_versions_name_the_number_of_threads_as_it_is_now() -> None:
    """Torch adds up in another order on another number of them."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert versions()["threads"] == str(threads)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("there", "named"), [(True, "compiled"), (False, "none")])
def test_versions_name_whether_the_kernels_compute(there: bool, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "available", lambda: there)
    assert versions()["kernels"] == named
