"""Compiling and keeping the kernels, mostly by compilers that are three lines of shell."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from shell_compilers import Compiler, calls

from spikedet.common.digests import file_sha256
from spikedet.common.files import locked
from spikedet.kernels import build as kernels
from spikedet.kernels.build import NativeUnavailable, cache_folders, find_compiler, fingerprint
from spikedet.kernels.library import available, library, outcome

pytestmark = pytest.mark.slow

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")


# --- which compiler -------------------------------------------------------------------------------------------------


def test_cxx_names_the_compiler(compiler: Compiler) -> None:
    script = compiler("exit 1")
    assert find_compiler() == [str(script)]


@pytest.mark.parametrize("names", [("c++", "g++"), ("g++", "clang++"), ("clang++",)])
def test_compilers_are_looked_for_in_order(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert find_compiler() == [str(tmp_path / names[0])]


def test_cxx_may_have_arguments(
    tmp_path: Path, cache: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in ``ccache g++``."""
    script = compiler('echo made > "$out"')
    monkeypatch.setenv("CXX", f"{script} g++ -DX='a b'")
    assert find_compiler() == [str(script), "g++", "-DX=a b"]
    kernels.build(find_compiler(), cache)
    assert calls(tmp_path)[0].startswith("g++ -DX=a b -O3 ")


def test_a_path_with_a_space_is_one_word(tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    script = compiler("exit 1").rename(tmp_path / "my compiler")
    monkeypatch.setenv("CXX", str(script))
    assert find_compiler() == [str(script)]


def test_half_a_quotation_names_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "ccache 'g++")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == "clang++" else None)
    assert find_compiler() == ["/bin/clang++"]


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
    assert made.name == f"kernels-{fingerprint([str(copies)])}-{file_sha256(made)}.so"
    assert first._name == str(made)
    written = made.stat().st_mtime_ns
    outcome.cache_clear()
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


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[:5000],
    "one bit": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "longer": lambda whole: whole + b"more",
    "zeros": lambda whole: bytes(len(whole)),
    "a link": lambda whole: whole,
    "open to others": lambda whole: whole,
}


@needs_kernels
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_is_compiled_again_with_one_line(
    damage: str, tmp_path: Path, cache: Path, copies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Path(library()._name)
    whole = made.read_bytes()
    assert not caplog.records
    made.unlink()  # what is loaded keeps its bytes
    other = tmp_path / "elsewhere" if damage == "a link" else made
    other.write_bytes(DAMAGES[damage](whole))
    other.chmod(0o722 if damage == "open to others" else 0o700)
    if other != made:
        made.symlink_to(other)
    outcome.cache_clear()
    assert library()._name == str(made)
    assert made.read_bytes() == whole and not made.is_symlink()
    assert [record.getMessage() for record in caplog.records] == [
        f"{made}: the compiled kernels are damaged; they are compiled again"
    ]
    assert list(cache.iterdir()) == [made]
    assert len(calls(tmp_path)) == 2


# --- ends and beginnings at the same time ---------------------------------------------------------------------------


def test_processes_at_once_compile_once(tmp_path: Path, cache: Path, compiler: Compiler) -> None:
    """Locks are of open files, so threads stand in for processes."""
    compiler('sleep 0.3; echo made > "$out"')
    with ThreadPoolExecutor(4) as pool:
        made = {future.result() for future in [pool.submit(kernels.build, find_compiler(), cache) for _ in range(4)]}
    assert len(made) == 1
    assert list(cache.iterdir()) == [*made]
    assert len(calls(tmp_path)) == 1


def test_of_a_killed_compilation_nothing_stays(tmp_path: Path, cache: Path, compiler: Compiler) -> None:
    """Whether the next run has to compile or not."""
    compiler(f'touch "$TMPDIR/cc1.o"; echo $$ > "{tmp_path}/pid"; sleep 60')
    code = (
        "import sys, pathlib; from spikedet.kernels.build import build; build(sys.argv[1:2], pathlib.Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *find_compiler(), str(cache)])
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and list(cache.glob("*/cc1.o")))
    finally:
        process.kill()
        process.wait()
    os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    left = sorted(path.name for path in cache.iterdir())
    assert left[0] == kernels.LOCK and [name.startswith(kernels.SCRATCH) for name in left] == [False, True]
    compiler('echo made > "$out"')
    made = kernels.build(find_compiler(), cache)
    assert list(cache.iterdir()) == [made]
    (cache / f"{kernels.SCRATCH}left").mkdir()
    assert kernels.build(find_compiler(), cache) == made
    assert list(cache.iterdir()) == [made]


def test_what_another_compiles_is_left_alone(cache: Path, compiler: Compiler) -> None:
    compiler('echo made > "$out"')
    made = kernels.build(find_compiler(), cache)
    busy = cache / f"{kernels.SCRATCH}busy"
    with locked(cache / kernels.LOCK, cache):
        busy.mkdir()
        assert kernels.build(find_compiler(), cache) == made
        assert busy.exists()


def test_a_compiler_that_never_ends_is_ended_with_all_that_it_has_started(
    tmp_path: Path, cache: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "TIMEOUT_S", 0.5)
    compiler(f'sleep 60 & echo $! > "{tmp_path}/pid"; wait')
    with pytest.raises(NativeUnavailable, match="timed out"):
        kernels.build(find_compiler(), cache)
    wait_for(lambda: not running(int((tmp_path / "pid").read_text())))
    assert list(cache.iterdir()) == []


def wait_for(what: Callable[[], object]) -> None:
    for _ in range(500):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within 10 seconds")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- folders of others ----------------------------------------------------------------------------------------------


def test_a_link_of_the_users_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("disk")
    assert kernels.private_folder(tmp_path / "link") == tmp_path / "disk"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only an administrator gives files away")
@pytest.mark.parametrize("planted", ["folder", "link"])
def test_what_somebody_else_has_planted_is_not_used(planted: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    cache = tmp_path / "cache"
    cache.mkdir() if planted == "folder" else cache.symlink_to("mine")
    os.lchown(cache, 65534, 65534)
    with pytest.raises(PermissionError, match=r"somebody else has made|can be written by others"):
        kernels.private_folder(cache)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o770)
    with pytest.raises(PermissionError, match="can be written by others"):
        kernels.private_folder(cache)


@pytest.mark.parametrize(("mode", "safe"), [(0o777, False), (0o1777, True)], ids=["open", "sticky"])
def test_a_folder_that_others_may_replace_is_not_used(mode: int, safe: bool, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    cache = tmp_path / "shared" / "cache"
    if safe:
        assert kernels.private_folder(cache) == cache
        return
    with pytest.raises(PermissionError, match="can be replaced by others, who may write to"):
        kernels.private_folder(cache)


def test_the_fingerprint_follows_all_that_the_object_depends_on(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(compiler("exit 0"))
    seen = [fingerprint([script]), fingerprint([script])]
    assert seen[0] == seen[1]
    changed = tmp_path / "kernels.cpp"
    changed.write_bytes(kernels.SOURCE.read_bytes() + b"\n// one more line\n")
    monkeypatch.setattr(kernels, "SOURCE", changed)
    seen.append(fingerprint([script]))
    monkeypatch.setattr(kernels, "processor", lambda: "another")
    seen.append(fingerprint([script]))
    compiler("exit 0 # a newer one")
    seen.append(fingerprint([script]))
    other = shutil.copy(script, tmp_path / "elsewhere")
    seen.append(fingerprint([str(other)]))
    seen.append(fingerprint([script, "-m32"]))
    seen.append(fingerprint([str(other), script]))
    assert len(set(seen)) == 7
