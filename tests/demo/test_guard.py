"""Who may use the page, and how much."""

from __future__ import annotations

import base64
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")

from asgi import ask
from starlette.responses import PlainTextResponse

from spikedet.common.errors import ConfigError
from spikedet.demo import guard as guard_module
from spikedet.demo.addresses import Addresses, is_loopback
from spikedet.demo.guard import Guard, Rates, Visitors


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says whose request it is and what it is for."""
    await PlainTextResponse(f"{scope['spikedet'].name} {scope['path']}")(scope, receive, send)


def guarded(host: str = "127.0.0.1", public_url: str = "", password: str = "") -> Guard:
    return Guard(app, Addresses.of(host, public_url), 7860, password)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860", "LOCALHOST:8080"])
def test_own_names(host: str) -> None:
    assert ask(guarded(), "/", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "192.168.0.7:7860",
        "localhost.evil.example",
        "",
        None,
        "[::1",
        "a b",
    ],
)
def test_foreign_names_are_refused(host: str | None) -> None:
    """As a browser sends them after DNS rebinding."""
    refused = ask(guarded(), "/", host=host)
    assert refused.status == 421 and "--public-url" in refused.json["error"]


@pytest.mark.parametrize(
    ("host", "status"), [("192.168.0.7:7860", 200), ("[fe80::1]:7860", 200), ("evil.example", 421)]
)
def test_a_page_for_all_is_served_by_address_and_not_under_strangers_names(host: str, status: int) -> None:
    assert ask(guarded("0.0.0.0"), "/", host=host).status == status


def test_a_page_for_all_has_the_machines_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Lab3.example.org")
    page = guarded("0.0.0.0")
    for host in ("lab3:7860", "lab3.local:7860", "lab3.example.org"):
        assert ask(page, "/", host=host).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "http://localhost:7860"}, 403),  # another host than the one that is asked
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),  # a link to the page
        ({}, 200),  # not a browser
    ],
)
def test_requests_of_other_sites_are_refused(headers: dict[str, str], status: int) -> None:
    assert ask(guarded(), "/image", **headers).status == status


def test_every_response_has_the_headers_that_keep_scripts_out() -> None:
    for reply in (ask(guarded(), "/"), ask(guarded(), "/", host="evil.example"), ask(guarded(password="x"), "/")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert "access-control-allow-origin" not in reply.headers


def test_a_sub_path_behind_a_proxy() -> None:
    """Whether the proxy takes the path off or not; the origin is the proxy's, the host may be."""
    page = guarded(public_url="https://example.org/spiking/")
    for path in ("/spiking/look", "/look"):
        reply = ask(page, path, host="example.org", origin="https://example.org")
        assert (reply.status, reply.body) == (200, b"127.0.0.1 /look")
    assert ask(page, "/look", origin="https://example.org").status == 200  # the proxy asks for 127.0.0.1
    assert ask(page, "/look", origin="https://evil.example").status == 403
    redirect = ask(page, "/spiking", host="example.org")
    assert redirect.status == 307 and redirect.headers["location"] == "/spiking/"
    cookie = ask(page, "/spiking/", host="example.org").headers["set-cookie"]
    assert "Path=/spiking;" in cookie and cookie.endswith("; Secure")


@pytest.mark.parametrize("address", ["example.org", "ftp://example.org/", "https://", "https://example.org/?a=1"])
def test_what_is_no_public_address(address: str) -> None:
    with pytest.raises(ConfigError, match="expected an address such as https://"):
        Addresses.of("127.0.0.1", address)


def test_a_proxy_says_who_asks_and_nobody_else() -> None:
    behind = guarded(public_url="https://example.org/")
    assert ask(behind, "/look", x_forwarded_for="6.6.6.6, 10.0.0.9").body == b"10.0.0.9 /look"
    assert ask(behind, "/look", client="10.0.0.8", x_forwarded_for="10.0.0.9").body == b"10.0.0.8 /look"
    assert ask(guarded(), "/look", x_forwarded_for="10.0.0.9").body == b"127.0.0.1 /look"


def test_the_password() -> None:
    page = guarded(password="tür 7:ü")
    asked = ask(page, "/")
    assert asked.status == 401 and asked.headers["www-authenticate"].startswith("Basic ")
    assert "set-cookie" not in asked.headers
    for wrong in (basic("tür 7"), basic(""), "Basic !", "Bearer x", "Basic"):
        assert ask(page, "/", authorization=wrong).status == 401
    assert ask(page, "/", authorization=basic("tür 7:ü")).status == 200


def test_passwords_cannot_be_guessed_for_long() -> None:
    page = guarded(password="right")
    guesses = [ask(page, "/", authorization=basic(str(i))).status for i in range(20)]
    assert guesses == [401] * 10 + [429] * 10
    assert ask(page, "/", authorization=basic("right")).status == 429  # nor found out among the refusals
    assert ask(page, "/", client="10.0.0.2", authorization=basic("right")).status == 200


def cookie(page: Guard, client: str = "127.0.0.1") -> str:
    return ask(page, "/", client=client).headers["set-cookie"].partition(";")[0]


def test_browsers_that_share_an_address_are_told_apart() -> None:
    page = guarded()
    first, second = cookie(page), cookie(page)
    names = {ask(page, "/look", cookie=sent).body for sent in (first, second)}
    assert len(names) == 2 and b"127.0.0.1 /look" not in names
    assert "set-cookie" not in ask(page, "/", cookie=first).headers


@pytest.mark.parametrize("forged", ["spikedet-7860=a.b", "spikedet-7860=", "spikedet-7860=a.ü", "other=1", "=;=="])
def test_a_forged_name_is_none(forged: str) -> None:
    assert ask(guarded(), "/look", cookie=forged).body == b"127.0.0.1 /look"


def test_a_flood_does_not_use_up_the_requests_of_others() -> None:
    page = guarded()
    other = cookie(page)
    statuses = [ask(page, "/look").status for _ in range(400)]
    assert statuses[:150] == [200] * 150 and statuses.count(429) > 100
    assert ask(page, "/look", cookie=other).status == 200
    assert ask(page, "/look", client="10.0.0.2").status == 200


def test_new_names_are_not_given_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "VISITS", (5, 0.0))
    page = guarded()
    given = ["set-cookie" in ask(page, "/").headers for _ in range(9)]
    assert given == [True] * 5 + [False] * 4
    assert "set-cookie" in ask(page, "/", client="10.0.0.2").headers


def test_rates() -> None:
    rates = Rates((2, 0.5))
    assert [rates.take("a", now) for now in (0, 0, 0, 1, 2, 2)] == [True, True, False, False, True, False]
    assert rates.take("b", 2) and rates.take("a", 100, count=0) and rates.take("a", 100)


def test_rates_forget_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "MOST_CLIENTS", 3)
    rates = Rates((1, 0.0))
    for client in "abcd":
        assert rates.take(client, 0)
    assert len(rates._left) == 3 and not rates.take("d", 0) and rates.take("a", 0)


def test_names_are_signed_by_this_server_alone() -> None:
    from starlette.datastructures import Headers

    one, other = Visitors(1), Visitors(1)
    sent = Headers({"cookie": f"{one.cookie}={one.new()}"})
    assert one.name_in(sent) and not other.name_in(sent)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone
