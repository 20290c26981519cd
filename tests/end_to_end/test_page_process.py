"""The page as a process: the environment it starts in, connections, and what is left when it ends, whatever ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broken_uploads import encoded
from browser import ROOT, served
from tiny_detector import chain

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytestmark = pytest.mark.slow

ELSEWHERE = {
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "GRADIO_SHARE": "True",
    "GRADIO_RUN_HISTORY": "True",
    "GRADIO_ALLOWED_PATHS": "/",
}
"""Proxies that nothing listens at, and what once opened the page to others."""


SERVER = """
import sys
from spikedet.demo.folder import upload_folder
from spikedet.demo.addresses import Addresses
from spikedet.demo.guard import Guard
from spikedet.demo import server
from spikedet.demo.server import bound_socket, run

server.READING_S = 0.5

async def app(scope, receive, send):
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(30_000_000), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        print("the visitor has gone", flush=True)
        return
    (folder / "upload").write_bytes(b"begun")
    while (await receive())["type"] != "http.disconnect":
        pass
    (folder / "upload").unlink()

with bound_socket("127.0.0.1", 0) as listening, upload_folder() as folder:
    print(listening.getsockname()[1], folder, flush=True)
    run(Guard(app, Addresses.of("127.0.0.1"), 0), listening)
print("ended in order")
"""
"""The server of the page without networks, which take seconds to load."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A running ``SERVER``, its port, and its folder for uploads."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SERVER]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    port, folder = process.stdout.readline().split()
    assert until(lambda: connects(int(port)))
    yield process, int(port), Path(folder)
    process.kill()
    process.wait(20)


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def half_sent(port: int) -> socket.socket:
    """An upload that has begun."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99\r\n\r\nx".encode())
    return connection


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_nothing_is_left_whatever_ends_the_server(small: tuple[Any, int, Path], ending: str) -> None:
    process, port, folder = small
    with half_sent(port):
        assert until(lambda: any(folder.iterdir()))
        process.send_signal(getattr(signal, ending))
        assert process.wait(20) == (-signal.SIGKILL if ending == "SIGKILL" else 0)
    assert until(lambda: not folder.exists())
    assert process.stdout.read() == ("" if ending == "SIGKILL" else "ended in order\n")


def test_a_visitor_who_goes_is_noticed(small: tuple[Any, int, Path]) -> None:
    _, port, folder = small
    with half_sent(port):
        assert until(lambda: any(folder.iterdir()))
    assert until(lambda: not any(folder.iterdir()))


def test_a_visitor_who_reads_nothing_is_let_go(small: tuple[Any, int, Path]) -> None:
    """So that what waits to be sent does not stay in memory, nor a video's turn taken."""
    process, port, _ = small
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET /large HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert process.stdout.readline() == "the visitor has gone\n"


def test_silent_connections_do_not_keep_others_out(small: tuple[Any, int, Path]) -> None:
    """500 of one address say nothing; another one is served."""
    _, port, _ = small
    silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(500)]
    other = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=("127.0.0.2", 0))
    other.sendall(f"GET / HTTP/1.1\r\nHost: evil.example:{port}\r\nConnection: close\r\n\r\n".encode())
    assert other.recv(100).startswith(b"HTTP/1.1 421")
    for connection in [*silent, other]:
        connection.close()


def until(condition: Any, seconds: float = 20) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_the_page_makes_no_connection(tmp_path: Path) -> None:
    """Neither to itself, as a proxy in the environment would see, nor to anybody else."""
    code = (
        "import socket, sys\n"
        "def refuse(self, *_): raise SystemExit('connects')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
        "from spikedet.demo import server\n"
        "server.run = lambda app, listening: print('serves')\n"
        "from spikedet.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "demo", "--weights", str(chain()["fine"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "serves" in done.stdout, done.stderr


def test_an_image_over_a_real_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    with served(["--weights", str(chain()["fine"])], tmp_path) as (url, process):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/image?name=a.png", data=encoded("PNG"), timeout=60) as reply:
            assert b"growing" in reply.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("spikedet-demo")]
