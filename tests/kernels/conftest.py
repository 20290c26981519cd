"""Compilers that are three lines of shell, and a folder for what they make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shell_compilers import Compiler

from spikedet.kernels import library as kernels
from spikedet.kernels.library import library


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing loaded and nothing asked for before, and what is loaded by a test is forgotten after it."""
    for name in ("SPIKEDET_NATIVE", "SPIKEDET_CACHE", "CXX"):
        monkeypatch.delenv(name, raising=False)
    kernels.outcome.cache_clear()
    yield
    kernels.outcome.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of compiled kernels, not there yet."""
    monkeypatch.setenv("SPIKEDET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """Makes a compiler of shell commands and names it in CXX; ``$out`` is its output, its calls are in ``calls``."""

    def make(commands: str) -> Path:
        script = tmp_path / "compiler"
        head = f'echo "$@" >> "{tmp_path}/calls"\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && out="$2"; shift; done\n'
        script.write_text(f"#!/bin/sh\nall=$*\n{head}{commands}\n")
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return script

    return make


@pytest.fixture(scope="module")
def compiled() -> str:
    """The object that every other test runs on."""
    return str(library()._name)


@pytest.fixture
def copies(compiled: str, compiler: Compiler) -> Path:
    """A compiler that copies what was compiled before."""
    return compiler(f'cp "{compiled}" "$out"')
