"""A file is the old one or the whole new one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from spikedet.common.errors import DataError, SpikedetError
from spikedet.common.files import (
    atomic_folder,
    atomic_path,
    is_private,
    locked,
    private_folder,
    read_bytes,
    write_json,
    write_text,
)


def only(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(os.listdir(folder))


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"  # until the block ends
        assert temporary.parent == tmp_path  # the same file system, so that the swap is one step
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert only(tmp_path) == ["a.txt"]


def test_the_old_file_is_replaced_and_not_overwritten(tmp_path: Path) -> None:
    """Whoever has the old one open goes on reading the old one."""
    path = write_text(tmp_path / "a.txt", "old")
    with open(path) as reader:
        write_text(path, "new")
        assert reader.read() == "old"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    assert only(tmp_path) == ["a.txt"]


def test_an_error_before_there_was_a_file_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt"):
        raise KeyError
    assert only(tmp_path) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    message = r"a\.txt: writing failed \(No space left on device\); nothing was changed"
    with pytest.raises(SpikedetError, match=message), atomic_path(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert only(tmp_path) == ["a.txt"]


def test_folders_are_made(tmp_path: Path) -> None:
    assert write_text(tmp_path / "x" / "y" / "a.txt", "text").read_text() == "text"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Root can write everywhere but under a file."""
    write_text(tmp_path / "file", "")
    with pytest.raises(SpikedetError, match=r"a\.txt: cannot write here \(.+\); choose another output folder"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_text_is_utf8(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.txt", "θ ≥ 0").read_bytes() == "θ ≥ 0".encode()


def test_json_keeps_order_and_refuses_nan(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "x"})
    assert list(json.loads(path.read_text())) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["a"] == "x"
    assert only(tmp_path) == ["a.json"]


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "new") as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert only(tmp_path) == []
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a.txt").write_text("whole")
        assert not (tmp_path / "new").exists()
    assert only(tmp_path) == ["new"] and only(tmp_path / "new") == ["a.txt"]


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "a.txt").write_text("text")
    with pytest.raises(SpikedetError, match="there is something already"), atomic_folder(tmp_path / "empty"):
        pass
    assert only(tmp_path / "empty") == ["a.txt"]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    """A pipe without a writer would block for ever; /dev/zero has no end."""
    os.mkfifo(tmp_path / "a.xml")
    for path in (tmp_path / "a.xml", Path("/dev/zero")):
        with pytest.raises(DataError, match=rf"^{path}: a pipe or a device; expected a file"):
            read_bytes(path)


def test_a_file_beyond_the_bound(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "12345")
    assert read_bytes(tmp_path / "a.txt", most=5) == b"12345"
    with pytest.raises(DataError, match=r"a\.txt: larger than 4 bytes"):
        read_bytes(tmp_path / "a.txt", most=4)


# --- what is wrong with an input is not blamed on the output ----------------------------------------------------------


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Root reads everything, so that the input is a folder."""
    message = rf"^{tmp_path / 'input'}: cannot be read \(Is a directory\); nothing was"
    (tmp_path / "input").mkdir()
    with pytest.raises(DataError, match=message), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "input").read_bytes()
    with pytest.raises(DataError, match=message), atomic_folder(tmp_path / "new"):
        (tmp_path / "input").read_bytes()
    assert only(tmp_path) == ["input"]


# --- other machines ---------------------------------------------------------------------------------------------------


def test_the_mode_is_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "")
        with atomic_path(tmp_path / "b.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
        with atomic_folder(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    for name in ("a.txt", "b.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750


def test_only_files_open_for_writing_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows has it, where any other is a bad file descriptor."""
    synced = []

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "text")
    assert len(synced) == 1


def test_a_file_that_another_program_has_open_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows replaces none; a virus scanner or an indexer reads every new file."""
    replace, refusals = os.replace, [1, 1]

    def busy(*paths: Path) -> None:
        if refusals:
            refusals.pop()
            raise PermissionError(13, "Access is denied")
        replace(*paths)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(sys, "platform", "win32")
    assert write_text(tmp_path / "a.txt", "text").read_text() == "text"
    refusals.append(1)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SpikedetError, match="Access is denied"):
        write_text(tmp_path / "a.txt", "new")


def test_an_empty_folder_goes_before_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows renames nothing to the name of a folder."""
    rename = os.rename

    def strict(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(17, "Cannot create a file when that file already exists")
        rename(source, target)

    monkeypatch.setattr(os, "rename", strict)
    (tmp_path / "new").mkdir()
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a.txt").write_text("text")
    assert only(tmp_path / "new") == ["a.txt"]


def test_names_as_long_as_a_name_can_be(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".txt", "a." + "b" * 253, "\u3042" * 83 + ".json"):
        assert write_text(tmp_path / name, "text").read_text() == "text"


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    text = os.fsdecode(b"caf\xe9.jpg")
    assert write_text(tmp_path / text, text).read_bytes() == b"caf\\udce9.jpg"


# --- locks ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys, pathlib
from spikedet.common.files import atomic_folder, locked
out = pathlib.Path(sys.argv[1])
with (locked(out, out) if sys.argv[2] == "lock" else atomic_folder(out)) as folder:
    if folder:
        (folder / "half.txt").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(out: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(out), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_is_held_by_one_process_and_goes_with_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with held_by_another(lock, "lock") as process:
        with pytest.raises(SpikedetError, match="another run is writing to it"), locked(lock, tmp_path):
            pass
        process.kill()
        process.wait()
        with locked(lock, tmp_path):
            assert only(tmp_path) == [".lock"]
    assert only(tmp_path) == []


def test_a_lock_is_held_once_within_a_process(tmp_path: Path) -> None:
    """Threads are one process to the system, and the second that lets go would let go for both."""
    with locked(tmp_path / ".lock", tmp_path):
        for _ in range(2):
            with pytest.raises(SpikedetError, match="another run"), locked(tmp_path / ".lock", tmp_path):
                pass
    with locked(tmp_path / ".lock", tmp_path):
        pass


def test_who_waits_gets_the_folder_of_the_other(tmp_path: Path) -> None:
    """Several processes of a torchrun may begin with the same synthetic images."""
    with held_by_another(tmp_path / "new", "folder") as process:
        assert process.stdin is not None
        threading.Timer(0.3, process.stdin.close).start()
        with pytest.raises(SpikedetError, match="there is something"), atomic_folder(tmp_path / "new", wait=True):
            pass
    assert only(tmp_path / "new") == ["half.txt"]


def test_a_folder_whose_writer_was_killed_is_begun_again(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "new", "folder") as process:
        with pytest.raises(SpikedetError, match="another run is writing to it"), atomic_folder(tmp_path / "new"):
            pass
        process.kill()
        process.wait()
        assert len(only(tmp_path)) == 2  # what it had written and its lock
        with atomic_folder(tmp_path / "new") as folder:
            (folder / "a.txt").write_text("text")
    assert only(tmp_path) == ["new"]
    assert only(tmp_path / "new") == ["a.txt"]


def test_locks_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def locking(handle: int, mode: int, count: int) -> None:
        if taken:
            raise PermissionError(13, "Permission denied")  # what LK_NBLCK says of a region that is locked
        taken.append(handle)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    with locked(tmp_path / ".lock", tmp_path):
        with pytest.raises(SpikedetError, match="another run"), locked(tmp_path / ".lock", tmp_path):
            pass
        assert len(taken) == 1


# --- shared machines --------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory, and our folder in it, not yet there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"spikedet-{os.getuid()}"


def test_our_folder_is_private_and_kept(temporary: Path) -> None:
    assert private_folder() == private_folder() == temporary
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700


def test_a_file_of_that_name_stops_nothing(temporary: Path) -> None:
    temporary.write_text("not ours")
    found = private_folder()
    assert found != temporary and is_private(found)
    assert temporary.read_text() == "not ours"


def test_a_link_or_a_folder_that_others_write_to_is_not_taken(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    temporary.symlink_to(tmp_path / "victim")
    assert private_folder().parent == tmp_path and private_folder() != temporary
    temporary.unlink()
    temporary.mkdir()
    temporary.chmod(0o777)
    assert private_folder() != temporary


def test_a_folder_of_another_user_is_not_taken(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary.mkdir(mode=0o700)
    owner = os.getuid()
    assert is_private(temporary)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not is_private(temporary)


@pytest.mark.parametrize("planted", ["file", "link"])
def test_commands_work_beside_what_was_planted(tmp_path: Path, planted: str) -> None:
    """The folder that ultralytics writes its settings to is no link of another user's."""
    ours, victim = tmp_path / f"spikedet-{os.getuid()}", tmp_path / "victim"
    victim.mkdir()
    if planted == "file":
        ours.write_text("")
    else:
        ours.symlink_to(victim)
    code = "import spikedet, os; print(os.environ['YOLO_CONFIG_DIR'])"
    environment = {name: value for name, value in os.environ.items() if name != "YOLO_CONFIG_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**environment, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == tmp_path and Path(done.stdout.strip()) != ours
    assert not Path(done.stdout.strip()).exists()  # it went with the process


def test_a_user_without_a_name_and_a_home() -> None:
    code = "import pwd\ndef unknown(_): raise KeyError\npwd.getpwuid = unknown\n"
    code += "import spikedet, pathlib; print(pathlib.Path.home())"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert is_private(Path(done.stdout.strip()))
