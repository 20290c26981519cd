"""What a request carries: a body that is read within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from spikedet.common.errors import SpikedetError
from spikedet.demo.turns import Client

UPLOAD_S, UPLOAD_BYTES_S = 30.0, 100_000
"""An upload may take so long, and longer by what it would take at so many bytes a second."""


async def receive(request: Request, most: int, write: Callable[[bytes], object]) -> None:
    """Hand the parts of a request's body to ``write``; its length is checked before and while it comes, and its time.

    Raises:
        SpikedetError: it is too long, or comes too slowly.
        ClientDisconnect: the visitor has gone.
    """
    length, read = content_length(request, most), 0
    try:
        async with asyncio.timeout(UPLOAD_S + length / UPLOAD_BYTES_S):
            async for chunk in request.stream():
                read += len(chunk)
                if read > most:
                    raise TooLarge(most)
                write(chunk)
    except TimeoutError:
        raise SpikedetError("the upload took too long") from None
    except OSError as error:
        raise SpikedetError(f"no room for the upload on the server ({error.strerror})") from error


def content_length(request: Request, most: int) -> int:
    """Bytes that a request says it has. Raises SpikedetError where it does not say, or they are more than ``most``."""
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        raise SpikedetError("the request does not say how long it is")
    if len(text) > 12 or int(text) > most:
        raise TooLarge(most)
    return int(text)


class TooLarge(SpikedetError):
    """More was sent than is taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"larger than the {most / 1e6:.0f} MB that are taken; make it smaller or shorter")


def client_of(request: Request) -> Client:
    """Whose a request is, as the guard has found."""
    client: Client = request.scope["spikedet"]
    return client
