"""Files first, words last: output that cannot show a character takes no result with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_detector import chain, sample_images

from spikedet.commands.data_check import data_check
from spikedet.commands.evaluate import evaluate
from spikedet.commands.explain import explain
from spikedet.commands.report import report
from spikedet.config import DataCheckConfig, EvaluateConfig, ExplainConfig, ReportConfig

pytestmark = pytest.mark.slow


@contextmanager
def unable_to_show(words: str) -> Iterator[None]:
    """The package's messages go to an output that fails at the first one with these words."""

    class Narrow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                raise UnicodeEncodeError("ascii", words, 0, 1, "ordinal not in range(128)")

    handler = Narrow()
    logging.getLogger("spikedet").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("spikedet").removeHandler(handler)


def _evaluate(out: str) -> None:
    checkpoints = (str(chain()["fine"]),)
    evaluate(EvaluateConfig(checkpoints=checkpoints, data=str(sample_images()), split="test", draws=20, out=out))


def _explain(out: str) -> None:
    explain(ExplainConfig(checkpoint=str(chain()["fine"]), images=2, rank_images=0, out=out))


def _data_check(out: str) -> None:
    data_check(DataCheckConfig(data=str(sample_images()), out=out))


@pytest.mark.parametrize(
    ("command", "words", "files"),
    [
        (_evaluate, "Converted for T", ("results.json", "table.md", "ap_by_t.png")),
        (_explain, "- ", ("explain.json", "explain.md")),
        (_data_check, "voc layout", ("report.json",)),
    ],
)
def test_files_are_written_before_words(
    command: Callable[[str], None], words: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    with unable_to_show(words), pytest.raises(UnicodeEncodeError):
        command(str(tmp_path))
    assert [name for name in files if not (tmp_path / name).is_file()] == []


def test_the_report_is_written_before_words(tmp_path: Path) -> None:
    _evaluate(str(tmp_path))
    with unable_to_show(": written"), pytest.raises(UnicodeEncodeError):
        report(ReportConfig(run=str(tmp_path), examples=0))
    assert (tmp_path / "report.html").is_file()
