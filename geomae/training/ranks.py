"""The processes that train together, one on each core or GPU."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from geomae.errors import GeomaeError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default.

    Attributes:
        index: number of this process, from 0.
        count: of processes.
        device: where this one computes.
    """

    index: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The others begin when the first has ended, and find in caches what it has made."""
        if self.count > 1 and not self.leads:
            dist.barrier()
        yield
        if self.count > 1 and self.leads:
            dist.barrier()

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all ranks, in one message."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some rank."""
        if self.count == 1:
            return flag
        raised = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def same(self, number: int) -> bool:
        """Whether all ranks have the same number."""
        if self.count == 1:
            return True
        both = torch.tensor([number, -number], device=self.device)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return int(both.sum()) == 0


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """The ranks that torchrun started, joined for the time of a `with` block.

    Without torchrun this process is alone; where a process group is there already, it is used, and
    left as it is. Ranks talk through gloo on CPUs and NCCL on GPUs.

    Args:
        device: 'cpu', or 'cuda' for the GPU of each rank's number on its machine.

    Raises:
        GeomaeError: there is no such device.
    """
    own = _device(device)
    if dist.is_available() and dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size(), own)
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ:
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
        try:
            yield Ranks(dist.get_rank(), dist.get_world_size(), own)
        finally:
            dist.destroy_process_group()
    else:
        yield Ranks(device=own)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise GeomaeError(f"there is no device '{name}': expected cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise GeomaeError(f"can't train on '{name}': PyTorch finds no GPU")
        number = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    return device
