"""The official PASCAL VOC archives, fetched by ``spikedet data download`` and by nothing else."""

from __future__ import annotations

import hashlib
import logging
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torchvision.datasets.voc import DATASET_YEAR_DICT

from spikedet.common.errors import DataError
from spikedet.common.files import write_text
from spikedet.common.progress import make_progress
from spikedet.config import DownloadConfig

logger = logging.getLogger("spikedet")

TIMEOUT_S = 15
BLOCK_BYTES = 2**20
_USED = ("Annotations", "JPEGImages", "ImageSets/Main")
_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later


@dataclass(frozen=True)
class Archive:
    """A tar file on a server and the MD5 sum that it must have."""

    url: str
    filename: str
    md5: str


def voc_archives() -> tuple[Archive, ...]:
    """VOC2007 trainval and test, VOC2012 trainval: addresses and sums as torchvision keeps them."""
    chosen = (DATASET_YEAR_DICT[name] for name in ("2007", "2007-test", "2012"))
    return tuple(Archive(entry["url"], entry["filename"], entry["md5"]) for entry in chosen)


def data_download(config: DownloadConfig) -> Path:
    """Fetch and unpack what the configuration names; returns the folder to give to ``--data``.

    A download that was interrupted goes on where it stopped; an archive that was unpacked is not fetched again.

    Raises:
        DataError: the server cannot be reached, or an archive is not what it should be.
    """
    return download_archives(voc_archives(), Path(config.out))


def download_archives(archives: Sequence[Archive], out: Path) -> Path:
    """``OUT/VOCdevkit`` with the images, annotations and splits of every archive."""
    for archive in archives:
        done = out / f".{archive.filename}.unpacked"
        if not done.exists():
            file = fetch(archive, out)
            logger.info(f"{file}: unpacking")
            unpack(file, out)
            write_text(done, archive.md5)
            file.unlink()
    return out / "VOCdevkit"


def fetch(archive: Archive, out: Path) -> Path:
    """The archive's file in ``out``, whole: its MD5 sum is the right one."""
    path, part = out / archive.filename, out / f"{archive.filename}.part"
    if path.exists() and _md5(path) == archive.md5:
        return path
    try:
        out.mkdir(parents=True, exist_ok=True)
        _receive(archive.url, part)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{archive.url}: cannot be fetched ({reason}). What has come stays in {part}: run the command again, "
            f"or fetch the file elsewhere and put it into {out}"
        ) from error
    except OSError as error:
        raise DataError(f"{part}: cannot be written ({error.strerror})") from error
    if (found := _md5(part)) != archive.md5:
        part.unlink()
        raise DataError(f"{archive.url}: MD5 sum {found}, expected {archive.md5}; it was thrown away, run again")
    part.replace(path)
    return path


def unpack(archive: Path, out: Path) -> None:
    """Images, annotations and splits of a VOC archive; nothing may land outside ``out``."""
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isdir() or any(f"/{part}/" in m.name for part in _USED)]
            for member in members:
                if not (member.isfile() or member.isdir()) or not (out / member.name).resolve().is_relative_to(
                    out.resolve()
                ):
                    raise tarfile.TarError(f"{member.name} is no file of its own folder")
            tar.extractall(out, members=members, **_FILTER)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error})") from error


def _receive(url: str, part: Path) -> None:
    """Append to ``part`` what of the address's content is not in it yet."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the range is empty: everything is here
            return
        raise
    have = have if response.status == 206 else 0
    with response, open(part, "ab" if have else "wb") as file, make_progress(of_bytes=True) as progress:
        length = response.headers.get("Content-Length")
        bar = progress.add_task(part.stem, completed=have, total=have + int(length) if length else None)
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            progress.advance(bar, len(block))
        if length and file.tell() < have + int(length):
            raise ConnectionError("the connection ended early")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
