"""Several processes with one job: who is who, and sums over all of them.

lightning-fabric starts the processes (or finds those that torchrun started) and connects them:
gloo on CPUs, NCCL on GPUs. Nothing is wrapped: gradients are added up after the backward pass,
so attacks always see the bare module.
"""

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from holdfast.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Team:
    """rank: which process this is; size: how many there are; device: this one's."""

    rank: int = 0
    size: int = 1
    device: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def others(self) -> tuple[int, ...]:
        """The rank as part of a key for random numbers: nothing for the process that leads."""
        return (self.rank,) if self.rank else ()

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes: the same bits in every one."""
        if self.size == 1:
            return
        for kind in sorted({str(tensor.dtype) for tensor in tensors}):
            alike = [tensor for tensor in tensors if str(tensor.dtype) == kind]
            flat = torch.cat([tensor.detach().flatten() for tensor in alike])
            dist.all_reduce(flat)
            for tensor, total in zip(alike, flat.split([t.numel() for t in alike]), strict=True):
                tensor.detach().copy_(total.view_as(tensor))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each floating-point tensor by its mean over all processes."""
        if self.size == 1:
            return
        floating = [tensor for tensor in tensors if tensor.is_floating_point()]
        self.all_reduce(floating)
        for tensor in floating:
            tensor.detach().div_(self.size)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the leading one's tensors."""
        if self.rank:
            for tensor in tensors:
                tensor.detach().zero_()
        self.all_reduce(tensors)

    def merge(
        self, before: dict[str, Tensor], after: dict[str, Tensor], share: float
    ) -> dict[str, Tensor]:
        """The state of all processes: means of floating-point entries, each weighted by its
        process's share of the batch; changes of others added."""
        if self.size == 1:
            return after
        merged = {}
        for name in sorted(after):
            mine = after[name].clone()
            if mine.is_floating_point():
                mine *= share
                self.all_reduce([mine])
            else:
                old = torch.zeros_like(mine)
                if name in before:
                    old[tuple(map(slice, before[name].shape))] = before[name]
                change = mine - old
                self.all_reduce([change])
                mine = old + change
            merged[name] = mine
        return merged

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks, in all of them."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)
        return box

    def gather_or_raise(self, work: Callable[[], T]) -> list[T]:
        """What the work gives in every process, in the order of their ranks. Bad input that one of
        them meets is raised in all, so that none is left waiting."""
        if self.size == 1:
            return [work()]
        try:
            met, found = None, work()
        except BadInput as error:
            met, found = error, None
        for error in self.gather(met):
            if error is not None:
                raise error
        return self.gather(found)  # pyright: ignore

    def barrier(self) -> None:
        """Go on when all processes are here."""
        self.broadcast_object(None)

    def broadcast_object(self, value: T) -> T:
        """The leading process's value, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


def leads() -> bool:
    """Whether this process is the one that talks; known before the team is joined."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def join(processes: int, device: str = "auto") -> Team:
    """The team of this run: started here, or by torchrun, whose numbers go before `processes`.

    The processes started here run the same command again (Fabric's way); on GPUs each has its
    own, on CPUs its share of the cores. Raises BadInput where lightning-fabric is not installed,
    or the number makes no sense: below 1, above the GPUs, or above the cores (but 2 may share one).
    """
    if processes < 1:
        raise BadInput(f"expected at least 1 process, got {processes}")
    launched = "LOCAL_WORLD_SIZE" in os.environ  # torchrun
    if processes == 1 and not launched:
        return Team()
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    most = torch.cuda.device_count() if on_gpu else max(2, os.cpu_count() or 1)
    if processes > most and not launched:
        kind = "GPUs" if on_gpu else "cores"
        raise BadInput(
            f"expected at most {most} processes, one to each of the {kind}, got {processes}"
        )
    if not dist.is_initialized():
        _launch(int(os.environ.get("LOCAL_WORLD_SIZE", processes)), on_gpu)
    where = f"cuda:{torch.cuda.current_device()}" if on_gpu else "cpu"
    return Team(rank=dist.get_rank(), size=dist.get_world_size(), device=where)


def _launch(local: int, on_gpu: bool) -> None:
    """Start or find the processes, so many on this machine, and connect them."""
    nodes = int(os.environ.get("WORLD_SIZE", local)) // local
    kind = "cuda" if on_gpu else "cpu"
    fabric = _fabric()(accelerator=kind, devices=local, num_nodes=nodes, strategy="ddp")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric.launch()
    torch.set_num_threads(max(1, torch.get_num_threads() // (1 if on_gpu else local)))


def _fabric() -> Any:
    try:
        return importlib.import_module("lightning_fabric").Fabric
    except ImportError:
        raise BadInput(
            "expected lightning-fabric for several processes, got no such package; "
            "pip install 'holdfast[scale]'"
        ) from None
