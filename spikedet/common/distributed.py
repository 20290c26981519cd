"""Several processes on one run, started by torchrun: who does what, and what they tell each other.

Without torchrun there is one process and everything here does nothing. Tensors alone go from process to process,
never pickled objects; files are written by the first process, and read by all of them, so that machines need one
shared folder for the data and one for the output.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy.typing as npt
import torch
from safetensors.numpy import load, save
from torch import Tensor, distributed

from spikedet.common.errors import ConfigError
from spikedet.common.offline import TORCHRUN

Item = TypeVar("Item")
Arrays = dict[str, npt.NDArray[Any]]

PATIENCE = timedelta(hours=3)
"""How long a process waits for the others, who may still be reading the images or evaluating a network."""


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if _joined() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _joined() else 1


def local_rank() -> int:
    """Number of this process on its machine: the number of its CUDA device."""
    return _variable("LOCAL_RANK", 0) if _joined() else 0


def is_first() -> bool:
    """Whether this process writes and prints."""
    return rank() == 0


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def started_by_torchrun() -> bool:
    """Whether there are further processes to join. Raises ConfigError where the environment says it in no number."""
    several = _variable("WORLD_SIZE", 1) > 1
    return several and all(_variable(name, 0) >= 0 for name in TORCHRUN)


def _variable(name: str, otherwise: int) -> int:
    """A whole number that torchrun sets in the environment; one that is empty is not set."""
    text = os.environ.get(name, "")
    if not text:
        return otherwise
    if not text.isdecimal():
        raise ConfigError(f"the variable {name} is {text!r}; expected a whole number as torchrun sets it, or unset it")
    return int(text)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the other processes of a torchrun; only the first one prints. Does nothing without torchrun.

    Raises:
        ConfigError: the others could not be reached.
    """
    if not started_by_torchrun() or _joined():
        yield
        return
    nccl = torch.cuda.is_available() and distributed.is_nccl_available()  # Windows has none
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the other processes of this torchrun cannot be reached ({error}); check --rdzv-endpoint"
        ) from error
    try:
        with contextlib.ExitStack() as quiet:
            if not is_first():
                nowhere = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 (it is entered)
                quiet.enter_context(contextlib.redirect_stdout(quiet.enter_context(nowhere)))
            yield
            distributed.barrier()  # the first one has written what the command promises
    finally:
        gc.collect()  # a training holds the group, whose threads must end before the interpreter does
        distributed.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here: what the first one has written can be read."""
    if _joined():
        distributed.barrier()


def own(items: Sequence[Item]) -> list[Item]:
    """This process's share: every ``size()``-th item."""
    return list(items[rank() :: size()])


def held_here(numbers: Sequence[int]) -> list[int]:
    """Those of these items that are in this process's share, by their place in it."""
    return [number // size() for number in numbers if number % size() == rank()]


def interleave(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """The shares of all processes put back in order, as ``own`` dealt them."""
    whole: list[Item | None] = [None] * sum(map(len, parts))
    for number, part in enumerate(parts):
        whole[number :: len(parts)] = part
    return whole  # type: ignore[return-value]  # every place is filled


def first_says(value: bool) -> bool:
    """The first process's value, for all of them: what is on its disk decides."""
    return bool(_all_gather(torch.tensor([value]))[0])


def any_says(value: bool) -> bool:
    """Whether one process at least says yes."""
    return any(bool(said) for said in _all_gather(torch.tensor([value])))


def sum_(values: Tensor) -> Tensor:
    """Sum over all processes, in place; the same bits everywhere."""
    if _joined():
        distributed.all_reduce(values)
    return values


def sum_gradients_(parameters: Iterable[Tensor]) -> None:
    """Sum the gradients of every process, in one message; one that saw no image has none and adds nothing."""
    if size() == 1:
        return
    trained = list(parameters)
    flat = [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p in trained]
    total = sum_(torch.cat(flat))
    for parameter, part in zip(trained, total.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def copy_from_first_(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process."""
    if _joined():
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def gather_arrays(arrays: Arrays) -> list[Arrays]:
    """Every process's named arrays, in order of the processes."""
    if not _joined():
        return [arrays]
    message = torch.frombuffer(bytearray(save(arrays)), dtype=torch.uint8)
    lengths = [int(length) for length in _all_gather(torch.tensor([len(message)]))]
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: len(message)] = message
    received = _all_gather(padded)
    return [load(part[:length].numpy().tobytes()) for part, length in zip(received, lengths, strict=True)]


def _all_gather(value: Tensor) -> list[Tensor]:
    if not _joined():
        return [value]
    received = [torch.empty_like(value) for _ in range(size())]
    distributed.all_gather(received, value)
    return received
