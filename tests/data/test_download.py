"""Downloads from a server on this machine: interrupted, resumed, wrong, escaping, and no server at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from spikedet.commands.data_download import Archive, download_archives, fetch, unpack, voc_archives
from spikedet.common.errors import DataError
from spikedet.data import load_dataset

FILES = {
    "VOCdevkit/VOC2007/Annotations/000001.xml": b"<annotation/>",
    "VOCdevkit/VOC2007/JPEGImages/000001.jpg": b"image",
    "VOCdevkit/VOC2007/ImageSets/Main/train.txt": b"000001\n",
    "VOCdevkit/VOC2007/SegmentationClass/000001.png": b"not used",
}


def tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves ``content``, up to ``cut``; ``ranges`` says whether it serves parts."""

    content: ClassVar[bytes] = b""
    cut: ClassVar[int | None] = None
    ranges: ClassVar[bool] = True
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if first and first >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(self.content) - first))
        self.end_headers()
        self.wfile.write(self.content[first : self.cut])

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    content = tar(FILES)
    for name, value in {"content": content, "cut": None, "ranges": True, "asked": []}.items():
        monkeypatch.setattr(Handler, name, value)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{running.server_port}/voc.tar"
    yield Archive(url, "voc.tar", hashlib.md5(content).hexdigest())
    running.shutdown()
    running.server_close()


def test_the_official_archives() -> None:
    assert [archive.filename for archive in voc_archives()] == [
        "VOCtrainval_06-Nov-2007.tar",
        "VOCtest_06-Nov-2007.tar",
        "VOCtrainval_11-May-2012.tar",
    ]


def test_what_detection_needs_is_unpacked_and_not_fetched_twice(tmp_path: Path, server: Archive) -> None:
    folder = download_archives([server], tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in folder.rglob("*") if path.is_file()}
    assert found == {name for name in FILES if "Segmentation" not in name}
    assert not (tmp_path / "voc.tar").exists()
    assert len(Handler.asked) == 1
    download_archives([server], tmp_path)
    assert len(Handler.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(
    tmp_path: Path, server: Archive, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(Handler, "cut", 1000)
    with pytest.raises(DataError, match=r"cannot be fetched .* run the command again"):
        fetch(server, tmp_path)
    assert (tmp_path / "voc.tar.part").stat().st_size == 1000
    monkeypatch.setattr(Handler, "cut", None)
    monkeypatch.setattr(Handler, "ranges", ranges)
    assert fetch(server, tmp_path).read_bytes() == Handler.content
    assert Handler.asked == [None, "bytes=1000-"]


def test_a_part_that_is_whole_is_not_fetched_again(tmp_path: Path, server: Archive) -> None:
    (tmp_path / "voc.tar.part").write_bytes(Handler.content)
    assert fetch(server, tmp_path).read_bytes() == Handler.content


def test_a_wrong_sum_is_thrown_away(tmp_path: Path, server: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "content", tar(FILES) + b"\0")
    with pytest.raises(DataError, match=r"MD5 sum .* thrown away"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/voc\.tar: cannot be fetched"):
        fetch(Archive("http://127.0.0.1:9/voc.tar", "voc.tar", ""), tmp_path)


@pytest.mark.parametrize("name", ["../Annotations/x.xml", "/tmp/Annotations/x.xml", "a/../../JPEGImages/x.jpg"])
def test_nothing_lands_outside_the_folder(tmp_path: Path, name: str) -> None:
    archive, out = tmp_path / "bad.tar", tmp_path / "out" / "deep"
    archive.write_bytes(tar({name: b"x"}))
    try:
        unpack(archive, out)
    except DataError as error:
        assert "cannot be unpacked" in str(error)
    assert all(out in path.parents or path in (out, out.parent, archive) for path in tmp_path.rglob("*"))
    assert not Path("/tmp/Annotations/x.xml").exists()


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    archive.write_bytes(tar(FILES)[:700])
    with pytest.raises(DataError, match=r"bad\.tar: cannot be unpacked"):
        unpack(archive, tmp_path)


def test_an_unpacked_devkit_loads(tmp_path: Path, server: Archive) -> None:
    folder = download_archives([server], tmp_path)
    with pytest.raises(DataError, match="000001"):  # the image is none: but it was found
        load_dataset(folder, "VOC2007/train")
