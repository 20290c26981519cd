"""Loading the kernels, or not: mostly by compilers that are three lines of shell."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from shell_compilers import Compiler

from spikedet.kernels import build as kernels_build
from spikedet.kernels.library import NativeUnavailable, available, cache_folders, library
from spikedet.snn import packing, surrogate

pytestmark = pytest.mark.slow

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")


def why() -> str:
    """Why there are no kernels."""
    with pytest.raises(NativeUnavailable) as caught:
        library()
    assert not available()
    return str(caught.value)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert why() == "no C++ compiler found (c++, g++, clang++, or the CXX variable)"


def test_no_compiler_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why().startswith("no C++ compiler found")


def test_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEDET_NATIVE", "0")
    assert why() == "turned off by SPIKEDET_NATIVE=0"


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, cache: Path, compiler: Compiler) -> None:
    script = compiler("echo 'kernels.cpp:7: no such luck' >&2; exit 1")
    assert why() == f"{script} could not compile the kernels: kernels.cpp:7: no such luck"
    assert list(cache.iterdir()) == []


def test_of_many_words_the_last_are_quoted(cache: Path, compiler: Compiler) -> None:
    compiler("for i in $(seq 500); do echo line $i >&2; done; exit 1")
    assert why().endswith("line 499\nline 500")
    assert len(why()) < 600


def test_a_compiler_that_cannot_be_run(cache: Path, compiler: Compiler) -> None:
    script = compiler("")
    script.write_bytes(b"\x7fELF, or so it says")
    assert why().startswith(f"{script} could not be run: ")


def test_a_compiler_that_never_ends(cache: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels_build, "TIMEOUT_S", 0.2)
    script = compiler("exec sleep 60")
    assert why().startswith(f"{script} could not be run: ")
    assert "timed out after 0.2 seconds" in why()
    assert list(cache.iterdir()) == []


def test_everything_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that would rather be compiled have another way."""
    monkeypatch.setenv("SPIKEDET_NATIVE", "0")
    spikes = (torch.rand(2, 1, 5, 3, 3) < 0.5).float()
    assert torch.equal(packing.unpack(packing.pack(spikes, negative=False), torch.ones(5), negative=False), spikes)
    mean = surrogate.rate(torch.ones(1, 1, 2, 3, 3), torch.zeros(1, 2, 1, 1), torch.full((2,), 2.0), 4)
    assert torch.equal(mean, torch.full((1, 2, 3, 3), 0.5))


@pytest.fixture
def two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The user's cache folder and the one to fall back to, neither there yet."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert len(cache_folders()) == 2
    return cache_folders()


@needs_kernels
def test_a_folder_that_cannot_be_written_is_passed_over(two_folders: list[Path], copies: Path) -> None:
    """A file stands in the way, which stops an administrator too."""
    two_folders[0].parent.write_text("in the way")
    assert Path(library()._name).parent == two_folders[1]


@needs_kernels
def test_an_object_that_cannot_be_loaded_is_passed_over(
    two_folders: list[Path], compiled: str, compiler: Compiler
) -> None:
    """Whole, but none for this system; that of the second folder is."""
    compiler(f'case "$out" in {two_folders[0]}/*) echo object > "$out";; *) cp "{compiled}" "$out";; esac')
    assert Path(library()._name).parent == two_folders[1]


def test_no_folder_at_all(cache: Path, compiler: Compiler) -> None:
    compiler('echo made > "$out"')
    cache.write_text("in the way")
    assert why() == f"no folder to keep the compiled kernels in ({cache}: File exists)"
