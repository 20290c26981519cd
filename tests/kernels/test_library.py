"""Compiling and keeping the kernels, mostly by compilers that are three lines of shell."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from spikedet.kernels import library as kernels
from spikedet.kernels.library import NativeUnavailable, available, cache_folders, find_compiler, fingerprint, library
from spikedet.snn import packing, surrogate

pytestmark = pytest.mark.slow

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

Compiler = Callable[[str], Path]


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


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def why() -> str:
    """Why there are no kernels."""
    with pytest.raises(NativeUnavailable) as caught:
        library()
    assert not available()
    return str(caught.value)


# --- none at all ----------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(kernels, "TIMEOUT_S", 0.2)
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


# --- which compiler -------------------------------------------------------------------------------------------------


def test_cxx_names_the_compiler(compiler: Compiler) -> None:
    script = compiler("exit 1")
    assert find_compiler() == str(script)


@pytest.mark.parametrize("names", [("c++", "g++"), ("g++", "clang++"), ("clang++",)])
def test_compilers_are_looked_for_in_order(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert find_compiler() == str(tmp_path / names[0])


def test_flags_that_a_compiler_does_not_know_are_left_out(tmp_path: Path, cache: Path, compiler: Compiler) -> None:
    compiler('case $all in *-fopenmp*|*-mcpu*) echo unknown >&2; exit 1;; esac; echo made > "$out"')
    made = kernels.build(find_compiler(), cache)
    assert made.read_text() == "made\n"
    assert ["-fopenmp" in line for line in calls(tmp_path)] == [True, True, False]
    assert all("-O3" in line and str(kernels.SOURCE) in line for line in calls(tmp_path))


# --- where the object is kept ---------------------------------------------------------------------------------------


@needs_kernels
def test_the_object_is_compiled_once_and_nothing_else_is_left(tmp_path: Path, cache: Path, copies: Path) -> None:
    first = library()
    (made,) = cache.iterdir()
    assert made.name == f"kernels-{fingerprint(str(copies))}.so"
    assert first._name == str(made)
    written = made.stat().st_mtime_ns
    kernels.outcome.cache_clear()
    again = library()
    assert again is not first
    assert again._name == str(made)
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [written]
    assert len(calls(tmp_path)) == 1


@needs_kernels
def test_the_folder_is_the_users_alone(cache: Path, copies: Path) -> None:
    library()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_the_variable_stands_for_every_folder(cache: Path) -> None:
    assert cache_folders() == [cache]


def test_folders_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache_folders()[0] == tmp_path / "own" / "spikedet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folders()[0] == tmp_path / ".cache" / "spikedet"


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
def test_an_object_that_cannot_be_loaded_is_passed_over(two_folders: list[Path], copies: Path) -> None:
    two_folders[0].mkdir(parents=True)
    (two_folders[0] / f"kernels-{fingerprint(str(copies))}.so").write_text("half an object")
    assert Path(library()._name).parent == two_folders[1]


def test_no_folder_at_all(cache: Path, compiler: Compiler) -> None:
    compiler('echo made > "$out"')
    cache.write_text("in the way")
    assert why() == f"no folder to keep the compiled kernels in (tried {cache})"


def test_the_fingerprint_follows_all_that_the_object_depends_on(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(compiler("exit 0"))
    seen = [fingerprint(script), fingerprint(script)]
    assert seen[0] == seen[1]
    changed = tmp_path / "kernels.cpp"
    changed.write_bytes(kernels.SOURCE.read_bytes() + b"\n// one more line\n")
    monkeypatch.setattr(kernels, "SOURCE", changed)
    seen.append(fingerprint(script))
    monkeypatch.setattr(kernels, "processor", lambda: "another")
    seen.append(fingerprint(script))
    compiler("exit 0 # a newer one")
    seen.append(fingerprint(script))
    other = shutil.copy(script, tmp_path / "elsewhere")
    seen.append(fingerprint(str(other)))
    assert len(set(seen)) == 5
