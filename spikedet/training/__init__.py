"""Training of whole networks: the source ANN and Stage I share one loop."""

from spikedet.commands.train import finetune, train

__all__ = ["finetune", "train"]
