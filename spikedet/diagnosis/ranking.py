"""The layers of a converted network by what their residual errors cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from spikedet.data import DetectionDataset
from spikedet.diagnosis.detections import DetectionsByNetwork
from spikedet.diagnosis.injection import ALL_BUT, ONLY, inject, ranked_layers, variants
from spikedet.diagnosis.observe import snn_means
from spikedet.diagnosis.records import LayerRank, Ranking
from spikedet.snn import Backend, SpikingNetwork

NONE, ALL = ("none", None), ("all", None)


class Moves:
    """How far output layers are moved, mean over output layers, as a share of how far all residual errors move them.

    Args:
        readouts: their names.
    """

    def __init__(self, readouts: Sequence[str]) -> None:
        self.readouts = readouts
        self._squares: dict[str | None, Tensor] = {}

    def add(self, layer: str | None, none: Mapping[str, Tensor], only: Mapping[str, Tensor]) -> None:
        """One batch without residual errors, and with this layer's, or (None) with those of all layers."""
        moved = torch.stack([(none[n] - only[n]).square().sum(dtype=torch.float64) for n in self.readouts]).cpu()
        self._squares[layer] = self._squares.get(layer, 0) + moved

    def share(self, layer: str) -> float:
        """Mean square of this layer's move over that of all; 0 where nothing moves."""
        everything = self._squares[None]
        return float(torch.where(everything > 0, self._squares[layer] / everything.clamp_min(1e-300), 0.0).mean())


@torch.no_grad()
def rank_layers(
    network: SpikingNetwork,
    backend: Backend,
    dataset: DetectionDataset,
    batches: Iterable[tuple[Sequence[int], Tensor]],
    image_size: int,
    chunk: int | None = None,
) -> Ranking | None:
    """AP with the residual error of each layer alone, and with all but its own.

    Args:
        network: the SNN.
        backend: made for it.
        dataset: the images.
        batches: their indices and ``[N, 3, S, S]`` inputs, all of them in order.
        image_size: S.
        chunk: steps simulated together.

    Returns:
        The layers that move the output layers most first; None where the images have no object to find.
    """
    T, evaluated = network.T, DetectionsByNetwork(network, dataset, image_size)
    moves = Moves([*network.box_readouts, *network.class_readouts])
    for indices, images in batches:
        (snn,) = snn_means(network, images, [T], backend, chunk)
        none = inject(network, images, T, {}).outputs
        evaluated.add(ALL, indices, snn.means.outputs)
        evaluated.add(NONE, indices, none)
        moves.add(None, none, snn.means.outputs)
        for layer, kind, outputs in variants(network, images, snn.means, T):
            evaluated.add((layer, kind), indices, outputs)
            if kind == ONLY:
                moves.add(layer, none, outputs)
    aps = {key: measures.AP for key, measures in evaluated.measures().items()}
    known = {key: ap for key, ap in aps.items() if ap is not None}
    if len(known) < len(aps) or not known:
        return None
    ranks = [
        LayerRank(layer=n, moved=moves.share(n), only=known[n, ONLY], all_but=known[n, ALL_BUT])
        for n in ranked_layers(network)
    ]
    ranks.sort(key=lambda rank: -rank.moved)
    return Ranking(images=len(dataset), none=known[NONE], all=known[ALL], layers=tuple(ranks))
