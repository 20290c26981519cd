"""The evaluation that energy prices: found, held to the same images, its rows known by checkpoint and time step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spikedet.checkpoint.ancestry import lineage
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
        rows: with AP and, of spiking networks, counted operations.
        source: where they are from; empty without rows.
        parents: by the digest of a checkpoint, that of the one it was made from, as far as files tell.
    """

    rows: tuple[ResultRow, ...] = ()
    source: str = ""
    parents: Mapping[str, str | None] = field(default_factory=dict)

    def on(self, dataset: DetectionDataset | None, parents: Mapping[str, str | None]) -> EvaluatedRows:
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
        if not any(row.checkpoint for row in kept):
            again = "evaluate again, with --resume to keep the detections"
            logger.info(f"{self.source}: an earlier version wrote it and named no row's checkpoint; {again}")
            return EvaluatedRows()
        source = f"{self.source}, on all {kept[0].images} images of {' '.join(wanted)}"
        return EvaluatedRows(
            kept, source, {**{row.checkpoint: row.parent for row in kept if row.checkpoint}, **parents}
        )

    def row(self, digest: str, t: int) -> ResultRow | None:
        """The row of a spiking network's checkpoint, by its digest, at a time step."""
        return next((row for row in self.rows if (row.checkpoint, row.t) == (digest, t) and row.neuron), None)

    def anns(self, digests: Iterable[str], stage: str) -> list[ResultRow]:
        """The rows of networks without spikes of one stage (``ann`` or ``qc``) that these checkpoints were made from.

        Of Stages I that follow each other and differ in nothing that a table says, the last one counts.
        """
        family = set[str]().union(*(lineage(digest, self.parents) for digest in digests))
        rows = [row for row in self.rows if row.stage == stage and row.checkpoint in family]
        return list(
            {(row.network, row.stage1_options, row.stage1_T or row.T, row.max_pool): row for row in rows}.values()
        )


def find_rows(config: EnergyConfig, paths: Sequence[Path]) -> EvaluatedRows:
    """Rows of the evaluation named, of that in the output folder, or of those beside the weights; none without any.

    Raises:
        ConfigError, DataError: there is no evaluation where one was named, or a file is none.
    """
    if config.results:
        files = [find_results(Path(config.results))]
    else:
        files = [path for path in [Path(config.out) / "results.json"] if path.is_file()]
        files = files or [beside for path in paths if (beside := path.with_suffix(".json")).is_file()]
    rows = [row for file in files for row in read_results(file)[1]]
    return EvaluatedRows(tuple(rows), ", ".join(file.name for file in files))
