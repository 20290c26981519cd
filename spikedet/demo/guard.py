"""Who may use the page, and how much: host, origin, password, rates, and the headers of every response."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spikedet.demo.addresses import Addresses, is_loopback
from spikedet.demo.turns import Client

REQUESTS = (200, 100.0)
"""Of one client: how many at once, and how many a second after that. A camera sends some 20 a second."""
VISITS = (200, 2.0)
"""New visitors from one address, in the same way."""
WRONG_PASSWORDS = (10, 0.2)
"""Of one client, in the same way."""

MOST_CLIENTS = 10_000
"""Clients whose rates are remembered; those that have not been seen for longest are forgotten first."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every response: a script runs if it is ours, and nothing is kept or shown by other sites."""


class Rates:
    """How many requests a client has left: ``at_once``, then ``per_second``."""

    def __init__(self, limits: tuple[int, float]) -> None:
        self._at_once, self._per_second = limits
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now_s: float | None = None, *, count: int = 1) -> bool:
        """Take so many of the client's requests; False where none is left. A count of 0 only asks."""
        now_s = time.monotonic() if now_s is None else now_s
        left, since_s = self._left.pop(client, (float(self._at_once), now_s))
        left = min(self._at_once, left + self._per_second * (now_s - since_s))
        enough = left >= 1
        self._left[client] = (left - count * enough, now_s)
        if len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        return enough


class Visitors:
    """Names for browsers that share an address, so that one of them cannot use up what belongs to all.

    A name is signed and stored in a cookie: nothing is kept here for a visitor.
    """

    def __init__(self, port: int) -> None:
        self.cookie = f"spikedet-{port}"  # cookies are shared by all ports of a host
        self._secret = secrets.token_bytes()

    def new(self) -> str:
        """A new name with its signature."""
        name = secrets.token_hex(8)
        return f"{name}.{self._signature(name)}"

    def name_in(self, headers: Headers) -> str:
        """The visitor of a request, or "" where its cookie is not ours."""
        name, _, signature = cookie_parser(headers.get("cookie", "")).get(self.cookie, "").partition(".")
        signed = hmac.compare_digest(signature.encode(), self._signature(name).encode())
        return name if signed else ""

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()


class Guard:
    """ASGI middleware: refuses what is not meant for the page; ``scope["spikedet"]`` says whose the rest is.

    Args:
        app: the page.
        addresses: names of the page.
        port: that it listens on.
        password: what visitors have to know; "" for none.
    """

    def __init__(self, app: ASGIApp, addresses: Addresses, port: int, password: str = "") -> None:
        self._app, self._addresses, self._password = app, addresses, password
        self._visitors = Visitors(port)
        self._requests, self._visits, self._wrong = Rates(REQUESTS), Rates(VISITS), Rates(WRONG_PASSWORDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = self._address(scope, headers)
        visitor = self._visitors.name_in(headers)
        scope["spikedet"] = Client(visitor or address, address)
        redirect = self._strip(scope)
        refusal = self._refusal(headers, visitor or address) or redirect
        new = not refusal and not visitor and scope["path"] == "/" and self._visits.take(address)

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start":
                written = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    written[name] = value
                if new:
                    path, public = self._addresses.sub_path or "/", self._addresses.public
                    cookie = f"{self._visitors.cookie}={self._visitors.new()}; Path={path}; HttpOnly; SameSite=Strict"
                    written.append("Set-Cookie", cookie + ("; Secure" if public.scheme == "https" else ""))
            await send(message)

        await (refusal or self._app)(scope, receive, respond)

    def _refusal(self, headers: Headers, client: str) -> Response | None:
        if not self._addresses.has(headers.get("host", "")):
            return refused(421, "this page is not served under that name; start it with --public-url ADDRESS")
        if not self._addresses.sent_by_us(headers):
            return refused(403, "requests from pages of other sites are refused")
        if not self._requests.take(client):
            return refused(429, "too many requests; wait a moment", {"Retry-After": "1"})
        return self._password_refusal(headers, client) if self._password else None

    def _password_refusal(self, headers: Headers, client: str) -> Response | None:
        """Ask for the password where it is missing or wrong; a client that guesses has to wait."""
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        asked = {"WWW-Authenticate": 'Basic realm="spikedet", charset="UTF-8"'}
        if scheme.lower() != "basic":
            return refused(401, "this page needs a password; any user name will do", asked)
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except (ValueError, binascii.Error):
            given = b""
        if not self._wrong.take(client, count=0):
            return refused(429, "too many wrong passwords; wait a minute", {"Retry-After": "60"})
        if hmac.compare_digest(given, self._password.encode()):
            return None
        self._wrong.take(client)
        return refused(401, "wrong password", asked)

    def _address(self, scope: MutableMapping[str, Any], headers: Headers) -> str:
        """Where a request comes from; a proxy on this machine says it of those it passes on."""
        address = str((scope.get("client") or ("",))[0])
        if self._addresses.public.netloc and is_loopback(address):
            return headers.get("x-forwarded-for", address).split(",")[-1].strip()[:64]
        return address

    def _strip(self, scope: MutableMapping[str, Any]) -> Response | None:
        """Take the sub-path off, where the proxy has not; a redirect where its last slash is missing."""
        before = self._addresses.sub_path
        if before and scope["path"] == before:
            return RedirectResponse(f"{before}/")
        if before and scope["path"].startswith(f"{before}/"):
            scope["path"] = scope["path"].removeprefix(before)
        return None


def refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A response that says in one sentence why there is no other."""
    return JSONResponse({"error": sentence}, status, headers)
