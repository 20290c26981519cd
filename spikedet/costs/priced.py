"""The energy of an evaluated network, read from what ``spikedet energy`` has written."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.evaluation.results import ResultRow, network_name


@dataclass(frozen=True)
class Priced:
    """Energy for an image under the constants of the float ANN.

    Attributes:
        joules, ann_joules: of the network, and of the ANN.
        constants: name of the table of constants.
        memory_traffic: whether the figures hold it.
    """

    joules: float
    ann_joules: float
    constants: str
    memory_traffic: bool


def priced(path: Path, row: ResultRow) -> Priced | None:
    """The energy of the network of a row; None if there is no such file, or the network is not in it.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file() or not row.spiking:
        return None
    name = network_name(row.stage, row.finetuned, row.method)
    options = set((row.stage1_options or "").split(", ")) - {""}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first = content["rows"][0]["constants"]
        for found in content["rows"]:
            same = (found["T"], found["t"], found["constants"]) == (row.T, row.t, first)
            same = same and f"{found['network']}, ".startswith(f"{name}, {row.neuron}, ")
            same = same and options <= set(found["network"].split(", "))
            same_ap = found["AP"] is None or row.AP is None or math.isclose(found["AP"], row.AP, abs_tol=1e-3)
            if same and same_ap:
                joules, ratio = float(found["joules"]), float(found["ratio"])
                return Priced(joules, joules / ratio if ratio else 0.0, str(first), bool(content["memory_traffic"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not written by spikedet energy, or damaged ({error}); write it again") from error
    return None
