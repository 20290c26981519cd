"""Under which names the page is served, and from which pages a request may come."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from spikedet.common.errors import ConfigError


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine alone."""
    return ipaddress.ip_address(host).is_loopback if _is_ip(host) else host == "localhost"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Addresses:
    """Under which names the page is served.

    Attributes:
        names: host names in lower case.
        any_ip: whether every IP address is one of them, as where the page listens on all of the machine's.
        public: the address that a proxy shows, or an empty one.
    """

    names: frozenset[str]
    any_ip: bool
    public: SplitResult

    @classmethod
    def of(cls, host: str, public_url: str = "") -> Addresses:
        """The names of a page that listens on ``host``. Raises ConfigError where ``public_url`` is no address."""
        public = urlsplit(public_url)
        if public_url and (public.scheme not in ("http", "https") or not public.hostname or public.query):
            raise ConfigError(f"--public-url {public_url}: expected an address such as https://example.org/spikedet/")
        names = {"localhost", "127.0.0.1", "::1", host.lower(), (public.hostname or "").lower()}
        alone = is_loopback(host)
        if not alone:
            machine = socket.gethostname().lower()
            names |= {machine, machine.partition(".")[0], f"{machine.partition('.')[0]}.local"}
        return cls(frozenset(names - {""}), not alone, public)

    def has(self, host: str) -> bool:
        """Return whether a Host header names this page; another name is one that a stranger has pointed here."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return name in self.names or (self.any_ip and _is_ip(name))

    def sent_by_us(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from a page of ours, or from no page at all."""
        origin = headers.get("origin")
        if origin is None:
            cross = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            return not cross or headers.get("sec-fetch-mode") == "navigate"
        ours = {f"{scheme}://{headers.get('host', '')}" for scheme in ("http", "https")}
        if self.public.netloc:
            ours.add(f"{self.public.scheme}://{self.public.netloc}")
        return origin in ours

    @property
    def sub_path(self) -> str:
        """What a proxy shows before our paths, without a slash at the end."""
        return self.public.path.rstrip("/")
