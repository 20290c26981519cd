"""How good a detector is: AP, its loss by conversion with an interval, and the tables that show it."""

from spikedet.evaluation.bootstrap import paired_loss, resample
from spikedet.evaluation.measures import APMeasures, measure
from spikedet.evaluation.results import ResultRow, markdown_table, read_results, write_results

__all__ = [
    "APMeasures",
    "ResultRow",
    "markdown_table",
    "measure",
    "paired_loss",
    "read_results",
    "resample",
    "write_results",
]
