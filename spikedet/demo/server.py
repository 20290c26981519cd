"""The server of the page: a socket, connections within bounds, and an end in order whatever the signal."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from spikedet.common.errors import ConfigError

CONNECTIONS = 800
"""Open at the same time; a process has some 1,000 files on most systems."""
CONNECTIONS_OF_ONE = 400
"""Of these, from one address."""
SILENCE_S = 20.0
"""How long a connection may take to send the head of a request."""
READING_S = 60.0
"""How long a visitor may take to read what is waiting to be sent; some megabytes at most."""
GRACE_S = 3
"""How long requests may take to end when the server ends."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address, for the block. Raises ConfigError where it cannot be bound."""
    opened = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(where)
    except (OSError, UnicodeError) as error:
        if opened:
            opened.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host}:{port} cannot be used ({reason}); choose another --port or --host") from error
    with opened:
        yield opened


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP; returns after each of them."""
    config = uvicorn.Config(
        app,
        http=_bounded_connections(),
        ws="none",
        lifespan="off",
        log_level="critical",  # the page writes its errors itself
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=16_384,
    )
    _Server(config).run([listening])


class _Server(uvicorn.Server):
    """Uvicorn, whose signals end the server and not the process: what comes after it is still done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals for the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {}
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                before[number] = signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bounded_connections() -> type[asyncio.Protocol]:
    """A protocol class that counts its connections by address, and closes those above the bounds or without an end."""
    open_from: Counter[str] = Counter()

    class Connection(H11Protocol):
        counted = ""
        waiting: asyncio.TimerHandle | None = None
        unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            if open_from.total() >= CONNECTIONS or open_from[address] >= CONNECTIONS_OF_ONE:
                transport.abort()
                return
            self.counted = address or "?"
            open_from[self.counted] += 1
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._silent_no_more()
            self._unread_no_more()
            if self.counted:
                open_from[self.counted] -= 1
                if not open_from[self.counted]:
                    del open_from[self.counted]

        def pause_writing(self) -> None:
            super().pause_writing()
            self.unread = self.loop.call_later(READING_S, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unread_no_more()

        def _unread_no_more(self) -> None:
            if self.unread:
                self.unread.cancel()

        def _between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _expect_head(self) -> None:
            if not self._between_requests():
                self._silent_no_more()
            elif self.waiting is None:
                self.waiting = self.loop.call_later(SILENCE_S, self._close_if_silent)

        def _silent_no_more(self) -> None:
            if self.waiting:
                self.waiting.cancel()
            self.waiting = None

        def _close_if_silent(self) -> None:
            self.waiting = None
            if self._between_requests():
                self.transport.close()

    return Connection
