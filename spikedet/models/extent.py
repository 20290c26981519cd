"""What a detector would take, known before it takes it: built on torch's meta device, its tensors have shapes alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from spikedet.common.errors import CheckpointError, SpikedetError
from spikedet.common.memory import free_bytes

MEASURED_SIZE = 256
"""Side of the input that ultralytics runs through every new model, pixels."""
MOST_OPERATIONS = 2 * 10**12
"""Multiply-accumulates for an image and time step; the largest known detectors have half of it at 1280 pixels."""
FLOAT, COPIES = 4, 4


@dataclass
class Extent:
    """Sizes of a network for one square image.

    Attributes:
        image_size: side of the image, pixels.
        parameters: values of all tensors of the network.
        values: most values that one layer reads and writes.
        operations: multiply-accumulates of all convolutions.
    """

    image_size: int
    parameters: int = 0
    values: int = 0
    operations: int = 0

    def at(self, image_size: int) -> Extent:
        """The same network for another image."""
        factor = (image_size / self.image_size) ** 2
        return Extent(image_size, self.parameters, math.ceil(self.values * factor), math.ceil(self.operations * factor))

    def require(self, error: type[SpikedetError], source: str) -> None:
        """Raise the error, beginning with the source, where memory or time would not do.

        A layer's values are counted ``COPIES`` times: blocks hold what they will join, activations and libraries make
        copies of their own.
        """
        needed, free = FLOAT * (self.parameters + COPIES * self.values), free_bytes(torch.device("cpu"))
        if needed > free:
            raise error(
                f"{source}: takes about {needed / 2**30:.1f} GiB of memory at {self.image_size} px, "
                f"{free / 2**30:.1f} GiB are free; use a smaller network or image"
            )
        if self.operations > MOST_OPERATIONS:
            raise error(
                f"{source}: takes {self.operations:.1e} multiply-accumulates an image at {self.image_size} px; "
                f"expected at most {MOST_OPERATIONS:.0e}, use a smaller network or image"
            )


@contextmanager
def on_meta() -> Iterator[Extent]:
    """What is built while it lasts takes no memory; yields the extent of what is run on ``MEASURED_SIZE`` pixels."""
    extent = Extent(MEASURED_SIZE)

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or not output.is_meta:
            return
        read = [x for given in inputs for x in (given if isinstance(given, (list, tuple)) else [given])]
        extent.values = max(extent.values, output.numel() + sum(x.numel() for x in read if isinstance(x, Tensor)))
        if isinstance(module, nn.Conv2d):
            extent.operations += module.weight[0].numel() * output.numel()

    handle = register_module_forward_hook(note)
    try:
        with _OnMeta():
            yield extent
    finally:
        handle.remove()


class _OnMeta(TorchFunctionMode):
    """Makes new tensors on the meta device, but for those of given values: ultralytics reads strides back.

    What changes values alone is passed over, because it is slow there.
    """

    MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.arange})
    SAME_SHAPE = frozenset({F.batch_norm, F.relu, F.leaky_relu, F.silu})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.SAME_SHAPE:
            return args[0]
        kwargs = dict(kwargs or {})
        if func in self.MAKERS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def require_whole_cells(path: Path, image_size: int, strides: Tensor) -> None:
    """Refuse a file's image size that the network's cells do not divide, so that its maps would not meet.

    Raises:
        CheckpointError: the message names the file and both sizes.
    """
    if image_size % (stride := largest_stride(strides)):
        raise CheckpointError(
            f"{path}: its image size of {image_size} px is no multiple of its stride of {stride} px; use another file"
        )


def largest_stride(strides: Tensor) -> int:
    """Image sizes are multiples of it, pixels."""
    return math.ceil(float(strides.max()))
