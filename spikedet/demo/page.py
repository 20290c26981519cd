"""The web page: images with a slider over t, the browser's camera, video files, and the table of the weights."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
from typing import Any

from spikedet.common.errors import ConfigError
from spikedet.config import DemoConfig
from spikedet.demo.addresses import Addresses, is_loopback
from spikedet.demo.folder import upload_folder

logger = logging.getLogger("spikedet")

PASSWORD = "SPIKEDET_PASSWORD"
"""Environment variable with the page's password, where no file is named."""


def serve(config: DemoConfig) -> None:
    """Build the page and serve it until Ctrl-C, SIGTERM or SIGHUP; nothing that visitors sent is left behind.

    Raises:
        ConfigError: starlette or uvicorn is not installed, or an address, the port or the password cannot be used.
        CheckpointError: the weights cannot be used.
    """
    guard, server, routes = (import_server(f"spikedet.demo.{name}") for name in ("guard", "server", "routes"))
    password = read_password(config.auth)
    addresses = Addresses.of(config.host, config.public_url)
    if not is_loopback(config.host):
        open_to_all = "" if password else f", without a password (--auth FILE or {PASSWORD} sets one)"
        logger.warning(f"warning: --host {config.host} shows the page to all who reach this machine{open_to_all}")
    with server.bound_socket(config.host, config.port) as listening, upload_folder() as folder:
        port = listening.getsockname()[1]
        app = guard.Guard(routes.build(config, folder), addresses, port, password)
        shown = f"[{config.host}]" if ":" in config.host else config.host
        logger.info(f"spikedet demo: open {config.public_url or f'http://{shown}:{port}'} (Ctrl-C ends it)")
        server.run(app, listening)


def read_password(file: str) -> str:
    """The first line of a file, else the environment variable, else "". Raises ConfigError where the file has none."""
    if not file:
        return os.environ.get(PASSWORD, "")
    try:
        password = Path(file).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--auth {file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not password:
        raise ConfigError(f"--auth {file}: its first line is empty; expected the password of the page")
    return password


def import_server(name: str) -> Any:
    """A module that needs starlette and uvicorn. Raises ConfigError, which says what could not be imported and why."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and missing in ("starlette", "uvicorn"):
            raise ConfigError(f"the web page needs {missing}: pip install starlette uvicorn") from error
        raise ConfigError(f"the web page cannot start: {error}") from error
