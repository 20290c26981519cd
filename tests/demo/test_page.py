"""The command that serves the page: what it says before it does, its password, and its socket."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from tiny_detector import chain

from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.config import DemoConfig
from spikedet.demo import page as page_module
from spikedet.demo import server
from spikedet.demo.folder import upload_folder
from spikedet.demo.page import import_server, read_password, serve


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served: the application and its socket."""
    calls: list[Any] = []
    monkeypatch.setattr(server, "run", lambda app, listening: calls.append((app, listening.getsockname())))
    return calls


def config(**changes: Any) -> DemoConfig:
    with server.bound_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    return DemoConfig(**{"weights": str(chain()["fine"]), "port": port, **changes})


def test_a_page_for_this_machine_warns_of_nothing(served: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    settings = config()
    caplog.clear()
    with caplog.at_level(logging.INFO, "spikedet"):
        serve(settings)
    _, (host, port) = served[0]
    assert host == "127.0.0.1"
    assert caplog.messages == [f"spikedet demo: open http://127.0.0.1:{port} (Ctrl-C ends it)"]


@pytest.mark.parametrize("password", ["", "secret"])
def test_a_page_for_all_warns_in_one_line(
    served: list[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("SPIKEDET_PASSWORD", password)
    settings = config(host="0.0.0.0")
    caplog.clear()
    with caplog.at_level(logging.INFO, "spikedet"):
        serve(settings)
    warning, opened = caplog.messages
    assert warning.startswith("warning: --host 0.0.0.0 shows the page to all who reach this machine")
    assert ("without a password" in warning) is not bool(password) and "open http://" in opened
    assert served[0][0]._password == password


def test_a_password_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEDET_PASSWORD", "other")
    file = tmp_path / "password"
    file.write_text("a word\nnot this\n", "utf-8")
    assert read_password(str(file)) == "a word" and read_password("") == "other"
    monkeypatch.delenv("SPIKEDET_PASSWORD")
    assert read_password("") == ""


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"", "first line is empty"), (b"\xff\n", "cannot be read")]
)
def test_what_is_no_password(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"--auth .*password: .*{said}"):
        read_password(str(file))


@pytest.mark.parametrize("address", [{"host": "192.0.2.1"}, {"host": "no such host"}, {"host": "a..b"}])
def test_an_address_that_cannot_be_used(served: list[Any], address: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="choose another --port or --host"):
        serve(config(**address))


def test_a_port_that_is_taken(served: list[Any]) -> None:
    with server.bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1:\d+ cannot be used .*choose another --port"):
            serve(config(port=taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn"), "needs uvicorn: pip install"),
        (ModuleNotFoundError("No module named 'h11'", name="h11"), "cannot start: No module named 'h11'"),
        (ImportError("Using SOCKS proxy, but 'socksio' is missing"), "cannot start: Using SOCKS proxy"),
    ],
)
def test_an_import_error_says_what_failed(monkeypatch: pytest.MonkeyPatch, error: ImportError, said: str) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(page_module.importlib, "import_module", fail)
    with pytest.raises(ConfigError, match=said):
        import_server("spikedet.demo.server")


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(SpikedetError, match=r"no temporary folder for uploads \(No usable.*TMPDIR"), upload_folder():
        raise AssertionError


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_the_folder_is_private_and_goes() -> None:
    with upload_folder() as folder:
        (folder / "a").write_bytes(b"a")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
