"""ANN to SNN: BN folding, one rule per module type, the converter, and converted networks in checkpoints."""

from spikedet.conversion.converter import to_spiking
from spikedet.conversion.storage import load_spiking, require_one_window, save_spiking

__all__ = ["load_spiking", "require_one_window", "save_spiking", "to_spiking"]
