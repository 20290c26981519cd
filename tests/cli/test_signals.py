"""Signals end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikedet.cli import main as cli
from spikedet.cli.signals import ENDING, Ended, ended_by_signals
from spikedet.common.files import atomic_folder, atomic_path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
each_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])


def sends(number: int) -> Callable[..., Any]:
    def send(*_: object) -> None:
        os.kill(os.getpid(), number)

    return send


@each_signal
def test_a_command_ends_in_one_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run", sends(number))
    assert cli.main(["train"]) == 128 + number
    assert capsys.readouterr().err == "\nspikedet train: interrupted; what was written is whole\n"
    assert signal.getsignal(number) == signal.SIG_DFL


@each_signal
@pytest.mark.parametrize("writing", [atomic_path, atomic_folder])
def test_temporary_files_go(
    number: int, writing: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        with writing(tmp_path / "out.bin") as temporary:
            (temporary / "a" if temporary.is_dir() else temporary).write_bytes(b"half")
            os.kill(os.getpid(), number)
            pytest.fail("went on")

    monkeypatch.setattr(cli, "run", run)
    assert cli.main(["train"]) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_another_signal_does_not_disturb_the_cleaning_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        with atomic_path(tmp_path / "out.bin"):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGHUP)
                (tmp_path / "cleaned").touch()

    monkeypatch.setattr(cli, "run", run)
    assert cli.main(["train"]) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["cleaned"]


def test_what_is_ignored_stays_so() -> None:
    """As ``nohup`` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@each_signal
def test_a_process_that_was_forked_ends_at_once(number: int) -> None:
    with ended_by_signals():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), number)
            finally:
                os._exit(3)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == number


def test_another_thread_leaves_signals_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with ended_by_signals():
            seen.append([signal.getsignal(number) for number in ENDING])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[signal.SIG_DFL] * len(ENDING)]


def test_the_status_is_that_of_a_shell() -> None:
    assert Ended(15).status == 143
    assert issubclass(Ended, KeyboardInterrupt)
