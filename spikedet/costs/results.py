"""The evaluation whose AP stands beside energy: found, held to the same images, and asked which files it evaluated."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikedet.config import EnergyConfig
from spikedet.data import DetectionDataset
from spikedet.evaluation import ResultRow, read_results
from spikedet.evaluation.results import find_results

logger = logging.getLogger("spikedet")

LEFT_OUT = "AP is left out (--results names another evaluation)"


@dataclass(frozen=True)
class EvaluatedRows:
    """Rows of an evaluation, or of several.

    Attributes:
        rows: with AP.
        source: where they are from; empty without rows.
        digests: of the checkpoints that were evaluated; empty where a file does not say.
    """

    rows: tuple[ResultRow, ...] = ()
    source: str = ""
    digests: frozenset[str] = frozenset()

    def on(self, dataset: DetectionDataset | None) -> EvaluatedRows:
        """The rows evaluated on the dataset's split; on one and the same, if there is no dataset.

        AP on other images than the spikes would mislead, so such rows are left out, with a word.
        """
        evaluated = dict.fromkeys((row.data, row.split) for row in self.rows)
        wanted = (Path(dataset.name).name, dataset.split) if dataset else next(iter(evaluated), ("", ""))
        kept = tuple(row for row in self.rows if (row.data, row.split) == wanted)
        if not kept or (dataset is None and len(evaluated) > 1):
            others = " and ".join(" ".join(pair) for pair in evaluated)
            if others:
                logger.info(f"{self.source}: its AP is on {others}; {LEFT_OUT}")
            return EvaluatedRows()
        return replace(self, rows=kept, source=f"{self.source}, on all {kept[0].images} images of {' '.join(wanted)}")

    def of(self, path: Path, digest: str) -> bool:
        """Whether this very file was evaluated, as far as the evaluation says; the settings alone do not tell."""
        if not self.digests or digest in self.digests:
            return True
        logger.info(f"{path}: not the file that was evaluated in {self.source}; {LEFT_OUT}")
        return False


def find_rows(config: EnergyConfig, paths: Sequence[Path]) -> EvaluatedRows:
    """Rows of the evaluation named, of that in the output folder, or of those beside the weights.

    Raises:
        ConfigError, DataError: there is no evaluation where one was named, or a file is none.
    """
    if config.results:
        files = [find_results(Path(config.results))]
    else:
        files = [path for path in [Path(config.out) / "results.json"] if path.is_file()]
        files = files or [beside for path in paths if (beside := path.with_suffix(".json")).is_file()]
    found = [read_results(file) for file in files]
    evaluated = [_evaluated(meta) for meta, _ in found]
    return EvaluatedRows(
        tuple(row for _, rows in found for row in rows),
        ", ".join(file.name for file in files),
        frozenset().union(*evaluated) if all(evaluated) else frozenset(),
    )


def _evaluated(meta: Mapping[str, Any]) -> frozenset[str]:
    """Digests of an evaluation's checkpoints, or of the one file of ``spikedet publish``."""
    listed = meta.get("checkpoints")
    digests = list(listed.values()) if isinstance(listed, dict) else [meta.get("sha256")]
    return frozenset(digest for digest in digests if isinstance(digest, str))
