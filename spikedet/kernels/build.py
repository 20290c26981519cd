"""Compiles ``kernels.cpp`` (and the headers beside it) for this machine and keeps the object.

Its name holds two digests. That of the source, the compiler and the processor: a home folder shared by machines never
serves one the code of another. That of its own bytes: a cut or damaged object is compiled again and never loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from spikedet.common.digests import file_sha256
from spikedet.common.errors import SpikedetError
from spikedet.common.files import is_private, locked

logger = logging.getLogger("spikedet")

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADERS = sorted(SOURCE.parent.glob("*.h"))
COMPILERS = ("c++", "g++", "clang++")
# A product is rounded before something is added to it, as torch does it: fused, 1/2 would round to the other side.
# Without traps to care for, floor is taken a vector at a time.
COMMON = ("-O3", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-trapping-math")
FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-march=native",), ())
"""Tried in this order: not every compiler knows the processor, or OpenMP (then one thread does the work)."""
TIMEOUT_S = 120
LOCK, SCRATCH = ".lock", "compiling-"
"""A file, and the beginning of the names of folders for compilations; killed ones leave them behind."""


class NativeUnavailable(Exception):
    """Why the compiled backend cannot be used here; never an error for the user, who gets another backend."""


def find_compiler() -> list[str]:
    """Path of the C++ compiler, and the arguments that the CXX variable gives it. Raises NativeUnavailable."""
    named = os.environ.get("CXX", "")
    for words in ([named], _words(named), *([name] for name in COMPILERS)):
        if words and words[0] and (found := shutil.which(words[0])):
            return [found, *words[1:]]
    raise NativeUnavailable(f"no C++ compiler found ({', '.join(COMPILERS)}, or the CXX variable)")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation mark without its partner
        return []


def cache_folders() -> list[Path]:
    """Where the object may be kept, best first."""
    if chosen := os.environ.get("SPIKEDET_CACHE"):
        return [Path(chosen)]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [home / "spikedet", Path(tempfile.gettempdir()) / f"spikedet-{os.getuid() if hasattr(os, 'getuid') else 0}"]


def build(compiler: list[str], folder: Path) -> Path:
    """The compiled object, made unless a whole one is there; one process makes it, others wait.

    Raises:
        OSError, SpikedetError: the folder cannot be used.
        NativeUnavailable: the compiler fails.
    """
    folder = private_folder(folder)
    name = f"kernels-{fingerprint(compiler)}"
    if found := _whole_object(folder, name):
        if any(folder.glob(f"{SCRATCH}*")):
            with suppress(SpikedetError), locked(folder / LOCK, folder):  # else another is compiling
                _sweep(folder)
        return found
    with locked(folder / LOCK, folder, wait=True):
        _sweep(folder)
        if found := _whole_object(folder, name):
            return found
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
            return _keep(_compile(compiler, Path(scratch)), folder / name)


def private_folder(folder: Path) -> Path:
    """A folder behind all links, made unless it is there: the user's own, that nobody else can write to or replace.

    Raises:
        OSError: it cannot be made, or others could put something there.
    """
    if not hasattr(os, "getuid"):
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    if folder.is_symlink() and folder.lstat().st_uid not in (0, os.getuid()):
        raise PermissionError(f"{folder} is a link that somebody else has made")
    folder = Path(os.path.realpath(folder))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_private(folder):
        raise PermissionError(f"{folder} can be written by others; what lies there may not be ours")
    for parent in folder.parents:
        mode = parent.lstat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(f"{folder} can be replaced by others, who may write to {parent}")
    return folder


def _whole_object(folder: Path, name: str) -> Path | None:
    """The object of this name if it is kept; damaged ones are deleted."""
    for path in sorted(folder.glob(f"{name}-*.so")):
        if is_private(path, stat.S_ISREG) and path.stem == f"{name}-{file_sha256(path)}":
            return path
        logger.warning(f"{path}: the compiled kernels are damaged; they are compiled again")
        path.unlink(missing_ok=True)
    return None


def _keep(made: Path, target: Path) -> Path:
    """Put an object beside ``target``. One that does not reach the disk has not the digest of its name."""
    made.chmod(0o700)
    return made.replace(target.with_name(f"{target.name}-{file_sha256(made)}.so"))


def _sweep(folder: Path) -> None:
    """Delete what killed compilations have left; for the holder of the lock."""
    for left in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def _compile(compiler: list[str], scratch: Path) -> Path:
    """A new object in this folder. Raises NativeUnavailable."""
    made, output = scratch / "kernels.so", ""
    for flags in FLAGS:
        command = [*compiler, *COMMON, *flags, str(SOURCE), "-o", str(made)]
        try:
            code, output = _run(command, scratch)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NativeUnavailable(f"{shlex.join(compiler)} could not be run: {error}") from error
        if code == 0 and made.is_file():
            return made
    raise NativeUnavailable(f"{shlex.join(compiler)} could not compile the kernels: {output.strip()[-300:]}")


def _run(command: list[str], scratch: Path) -> tuple[int, str]:
    """Exit status and errors of a compiler. It ends with us, with all processes that it has started."""
    how = {"env": {**os.environ, "TMPDIR": str(scratch)}, "start_new_session": True}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, errors="replace", **how, **quiet) as process:  # type: ignore[call-overload]
        try:
            _, errors = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
            raise
    return process.returncode, errors


def fingerprint(compiler: list[str]) -> str:
    """Of everything the object depends on."""
    programs = [os.stat(found) for found in map(shutil.which, compiler) if found]
    built_by = f"{compiler} {[(p.st_size, p.st_mtime_ns) for p in programs]} {COMMON} {FLAGS}"
    sources = [path.read_bytes() for path in (SOURCE, *HEADERS)]
    parts = [*sources, built_by.encode(), processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def processor() -> str:
    """The processor's model and instruction sets, as far as the system says them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line.split(":")[0].strip(): line for line in lines if ":" in line}
    return " ".join([platform.machine(), *(told.get(key, "") for key in ("model name", "flags", "Features"))])
