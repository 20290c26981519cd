"""The route of videos, whose response is the progress of the work and then what came of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from spikedet.common.errors import SpikedetError
from spikedet.demo.bodies import client_of
from spikedet.demo.guard import refused
from spikedet.demo.settings import Settings
from spikedet.demo.turns import Turns
from spikedet.demo.video import VideoProgress, annotated
from spikedet.inference.comparison import Member

logger = logging.getLogger("spikedet")

CHUNK_BYTES = 1 << 18
FAILED = "something went wrong here; the server's log says what"

Upload = Callable[[Request], AbstractAsyncContextManager[Path]]
"""The body of a request as a file, for a block."""


class VideoJob:
    """The video's route, an ASGI application: progress as lines of JSON, then the bytes of the finished video.

    The last line has the number of ``bytes``. Where the visitor goes away, or cancels, the work ends after the frame
    that is being looked at.
    """

    def __init__(self, members: list[Member], turns: Turns, upload: Upload) -> None:
        self._members, self._turns, self._upload = members, turns, upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        request = Request(scope, receive)
        settings = Settings.of(request.query_params)
        titles = [member.title for member in self._members]
        title = request.query_params.get("network", titles[-1])
        if title not in titles:
            await refused(404, "there is no such network")(scope, receive, send)
            return
        member = self._members[titles.index(title)]
        with self._turns.place(client_of(request)):
            async with self._upload(request) as path:
                written = path.parent / "result" / "boxes.webm"
                gone = asyncio.create_task(_until_gone(receive))
                try:
                    await self._respond(send, gone, member, path, written, settings)
                finally:
                    gone.cancel()

    async def _respond(
        self, send: Send, gone: asyncio.Task[None], member: Member, path: Path, written: Path, settings: Settings
    ) -> None:
        kind = [(b"content-type", b"application/octet-stream"), (b"x-accel-buffering", b"no")]  # lines come at once
        await send({"type": "http.response.start", "status": 200, "headers": kind})

        async def line(value: dict[str, Any]) -> None:
            body = json.dumps(value).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            if self._turns.running.locked():
                await line({"html": VideoProgress(0, None, "waiting for the videos before this one").as_html()})
            async with self._turns.running:
                frames = annotated(member, path, written, settings)
                try:
                    while not gone.done():
                        seen = await to_thread.run_sync(next, frames, None)
                        if seen is None:
                            break
                        size = {"bytes": written.stat().st_size} if seen.finished else {}
                        await line({"html": seen.as_html(), **size})
                finally:
                    await to_thread.run_sync(frames.close)
            if not gone.done():
                with written.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SpikedetError as error:
            await line({"error": str(error)})
        except Exception:
            logger.exception("a video failed")
            await line({"error": FAILED})
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
