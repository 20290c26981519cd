#!/usr/bin/env python3
"""The web page under load: many clients, a flood from one, and an hour of visitors in minutes.

    python benchmarks/flood.py [--weights NETWORK] [--clients 100] [--flood 5000] [--views 500]

Clients are addresses from 127.0.0.2 on, so that the server tells them apart; the flood and one client share 127.0.0.1,
told apart by the visitor's cookie. Each request asks for boxes on a sample image. Memory is the server's resident set;
files are those in its temporary folder. Talks to 127.0.0.1 alone; Linux.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from browser import served
from page import memory_mib

FLOOD_THREADS = 50
TRIES_S = 300.0
"""How long a client asks again while the page is busy."""


class Client:
    """A visitor, from an address of its own, with the cookie that the page gave it."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._port, self._address = port, address
        self.cookie = ""
        _, headers = self.request("GET", "/")
        self.cookie = (headers.get("Set-Cookie") or "").partition(";")[0]

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, http.client.HTTPMessage]:
        """Status and headers of a response, which is read to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600, source_address=(self._address, 0))
        try:
            connection.request(method, path, body if method == "POST" else None, {"Cookie": self.cookie})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers
        finally:
            connection.close()

    def image_s(self) -> float:
        """Seconds until there are boxes on a sample; asks again while the page is busy, as the page's script does."""
        started = time.monotonic()
        while True:
            status, _ = self.request("POST", "/image?sample=bus")
            if status == 200:
                return time.monotonic() - started
            if status not in (429, 503) or time.monotonic() - started > TRIES_S:
                raise RuntimeError(f"the page says {status}")
            time.sleep(1)


def flood(port: int, count: int, done: Counter[str]) -> None:
    """So many requests for boxes from one address, 50 at a time, without cookies; their statuses into ``done``."""

    def one(_: int) -> None:
        client = Client.__new__(Client)
        client._port, client._address, client.cookie = port, "127.0.0.1", ""
        try:
            done[str(client.request("POST", "/image?sample=bus")[0])] += 1
        except (OSError, http.client.HTTPException):
            done["closed"] += 1

    with ThreadPoolExecutor(FLOOD_THREADS) as pool:
        list(pool.map(one, range(count)))


def times(clients: Sequence[Client], until: Callable[[], bool], least: int = 3) -> list[float]:
    """Answer times of clients who ask one after the other, until it is time and each has asked some times."""
    found: list[float] = []
    while len(found) < least * len(clients) or not until():
        found += [client.image_s() for client in clients]
    return found


def shown(seconds: Sequence[float]) -> str:
    """Median and most."""
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s"


def files(folder: Path) -> int:
    """Files in the server's folder for uploads."""
    return sum(path.is_file() for path in folder.glob("spikedet-demo-*/**/*"))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", default="tiny-yolo-csp-nano-voc-source", help="a fast network: the page is measured"
    )
    parser.add_argument("--clients", type=int, default=100, help="in parallel, at most 250")
    parser.add_argument("--flood", type=int, default=5000, help="requests from one client, at most 10000")
    parser.add_argument("--views", type=int, default=500, help="of the page, an image with each, at most 5000")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(["--weights", arguments.weights], folder) as (url, server):
            rows = load(int(url.rpartition(":")[2]), server.pid, folder, arguments)
        rows.append(("files left by the server", f"{files(folder)}"))
    print("| what | measured |\n| --- | ---: |")
    print("\n".join(f"| {what} | {value} |" for what, value in rows))


def load(port: int, server: int, folder: Path, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Measure the page that listens on a port; rows of the table."""
    others = [Client(port), Client(port, "127.0.0.2")]
    rows = [("others before, median and most", shown(times(others, lambda: True, 5)))]
    memory, done, started = memory_mib(server), Counter[str](), time.monotonic()
    attack = threading.Thread(target=flood, args=(port, min(arguments.flood, 10_000), done))
    attack.start()
    during = times(others, lambda: not attack.is_alive())
    attack.join()
    said = ", ".join(f"{status}: {number}" for status, number in sorted(done.items()))
    rows += [
        (f"others during a flood of {done.total()} requests", shown(during)),
        ("others after it", shown(times(others, lambda: True, 5))),
        ("the flood's responses by status", f"{said}; {time.monotonic() - started:.0f} s"),
        ("memory before and after", f"{memory:.0f} MiB, {memory_mib(server):.0f} MiB"),
    ]
    count = min(arguments.clients, 250)
    clients = [Client(port, f"127.0.0.{3 + number}") for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        parallel = list(pool.map(Client.image_s, clients))
    rows.append((f"{count} clients at once, each an image: median and most", shown(parallel)))
    noted = []
    for view in range(1, min(arguments.views, 5000) + 1):
        Client(port, f"127.0.1.{view % 250 + 1}").image_s()
        if view % max(1, arguments.views // 5) == 0:
            noted.append(f"{memory_mib(server):.0f}")
    return [
        *rows,
        (f"memory over {arguments.views} views with an image, by fifths", f"{', '.join(noted)} MiB"),
        ("files left by them", f"{files(folder)}"),
    ]


if __name__ == "__main__":
    main()
