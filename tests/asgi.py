"""Requests to an ASGI application, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """Status, headers in lower case, and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app: Any,
    target: str,
    method: str = "GET",
    *,
    body: bytes = b"",
    client: str = "127.0.0.1",
    sent: Callable[[bytes], None] = lambda part: None,
    leave: asyncio.Event | None = None,
    **headers: str | None,
) -> Reply:
    """Send a request and wait for the whole response.

    Args:
        app: the application.
        target: path and query.
        method: of HTTP.
        body: of the request.
        client: address that it comes from.
        sent: called with each part of the response's body.
        leave: the visitor goes away when this is set.
        headers: with ``_`` for ``-``; None leaves out one that is usual.
    """
    usual = {"host": "127.0.0.1:7860", "content_length": str(len(body)) if method == "POST" else None}
    given = {name: value for name, value in {**usual, **headers}.items() if value is not None}
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": (client, 40000),
        "server": ("127.0.0.1", 7860),
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    ended = leave or asyncio.Event()
    got: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            got["status"] = message["status"]
            got["headers"] = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            got["body"] += message.get("body", b"")
            sent(message.get("body", b""))

    await app(scope, receive, send)
    return Reply(**got)


LOOP = asyncio.new_event_loop()
"""One for all, as a server has: what waits in an application belongs to a loop."""


def ask(app: Any, target: str, method: str = "GET", **rest: Any) -> Reply:
    """``request``, waited for."""
    return LOOP.run_until_complete(request(app, target, method, **rest))
