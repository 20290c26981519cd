"""Reports of `spikedet explain` and `spikedet energy`, published under docs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from readme_tables import ROOT

from spikedet.common.files import write_json, write_text


def publish_reports(name: str, kind: str, folders: dict[Path, dict[str, Any]], plot: str, command: str) -> None:
    """``docs/results/KIND_NAME``: the reports of these folders, one after the other, without this machine's paths.

    Args:
        name: of the published files.
        kind: ``explain`` or ``energy``.
        folders: with what is to be said of each report.
        plot: the image that is published, of the first.
        command: what makes them.
    """
    reports = [json.loads((folder / f"{kind}.json").read_text(encoding="utf-8")) for folder in folders]
    for report, more in zip(reports, folders.values(), strict=True):
        meta = {key: report["meta"][key] for key in ("versions", "reference") if key in report["meta"]}
        report["meta"] = {**meta, **more, "checkpoints": digests(report["meta"]["checkpoints"]), "command": command}
    base = ROOT / "docs" / "results" / f"{kind}_{name}.json"
    write_json(base, {"reports": reports})
    texts = [(folder / f"{kind}.md").read_text(encoding="utf-8") for folder in folders]
    write_text(base.with_suffix(".md"), "\n".join(texts))
    shutil.copyfile(next(iter(folders)) / plot, ROOT / "docs" / "images" / f"{kind}_{name}.png")


def digests(checkpoints: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by ``FOLDER/NAME`` of the checkpoints of a report, which has them by path or by role."""
    files = [(path, digest) if isinstance(digest, str) else digest for path, digest in checkpoints.items()]
    return {"/".join(Path(path).parts[-2:]): digest for path, digest in files}
