"""Where and how precisely the work is done: device, number format, memory layout.

bf16 with channels_last is 2 to 4 times faster than fp32 on a CPU with AVX512-bf16 and slower on
one without, so `auto` measures both on the model at hand, where the device has bf16 arithmetic, and
the choice is written to the run's configuration. Weights, optimiser state and losses stay in fp32;
evaluation always runs in fp32.
"""

import copy
import ctypes
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast import noise
from holdfast.errors import BadInput, cause
from holdfast.types import Images

Precision = Literal["fp32", "bf16"]
log = logging.getLogger("holdfast")
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h


@dataclass(frozen=True, kw_only=True)
class Engine:
    """device: where tensors live; precision: of matrix products; channels_last: memory layout."""

    device: torch.device
    precision: Precision = "fp32"
    channels_last: bool = True

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products and convolutions inside run in the engine's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def place(self, model: nn.Module) -> nn.Module:
        """The same module, moved to the device and laid out for it; `contiguous` would leave the
        weights of one channel, which fit both layouts, in the other."""
        model.to(self.device)
        for held in (*model.parameters(), *model.buffers()):
            if held.ndim == 4:
                held.data = held.data.to(memory_format=self.memory_format)
        return model

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def find_device(name: str = "auto") -> torch.device:
    """The device of this name; `auto` is the GPU where there is one, and `cuda` the one of this
    process where a launcher (torchrun, Fabric) has numbered several. Raises BadInput."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(_own_gpu() if name == "cuda" else name)
    name = _own_gpu() if name == "cuda" else name
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"expected a usable device, got '{name}' ({cause(error)}); try auto or cpu"
        ) from None


def _own_gpu() -> str:
    rank = os.environ.get("LOCAL_RANK", "")
    several = rank.isdigit() and int(rank) < torch.cuda.device_count()
    return f"cuda:{rank}" if several else "cuda"


def choose_engine(
    model: nn.Module, image: tuple[int, int, int], precision: str = "auto", device: str = "auto"
) -> Engine:
    """The engine for training this model; `auto` precision takes the faster by measurement."""
    where = find_device(device)
    if precision == "auto":
        return fastest(model, image, where)
    if precision in ("fp32", "bf16"):
        return Engine(device=where, precision=precision)
    raise BadInput(f"expected a precision out of auto, fp32, bf16; got '{precision}'")


def fastest(
    model: nn.Module, image: tuple[int, int, int], device: torch.device, batch: int = 64
) -> Engine:
    """bf16 if a training step of a copy of the model works in it and takes at most three quarters
    of fp32's time in every round, and the device has the arithmetic; the wide margin keeps the
    choice the same for other seeds and on a busy machine."""
    if not multiplies_bf16(device):
        return Engine(device=device)
    engines = [Engine(device=device, precision=p) for p in ("fp32", "bf16")]
    x = torch.full((batch, *image), 0.5, device=device)
    try:
        twins = [(engine, engine.place(copy.deepcopy(model))) for engine in engines]
        steps = [lambda e=e, m=m: _step(e, m, x) for e, m in twins]
        slow, fast = rounds_of(steps, rounds=5)
    except (RuntimeError, TypeError) as error:  # mixed dtypes, no room for twins, no twin at all
        log.warning("precision fp32, since a trial failed: %s", cause(error))
        return engines[0]
    wins = all(short <= 0.75 * long for short, long in zip(fast, slow, strict=True))
    return engines[1] if wins else engines[0]


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own; one without emulates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()  # avx512_bf16, amx_bf16, and their like elsewhere
    return any(has for name, has in found.items() if name.endswith("bf16"))


def keep_memory() -> None:
    """Have the C library keep what this process frees, for the next batch.

    By itself glibc gives blocks above 32 MiB back to the system at once and asks for new ones,
    filled with zeros, at the next operation: so of ResNet-18 in fp32 at batch 128.
    For the whole process and for good, so it is for programs to call; `holdfast` on the command
    line does. Elsewhere than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)


def rounds_of(steps: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each step in each of the rounds, taken in turn, after one to warm up."""
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(rounds + 1):
        for step, spent in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if turn:
                spent.append(time.perf_counter() - start)
    return seconds


def _step(engine: Engine, model: nn.Module, x: Images) -> Tensor:
    """Forward and backward of one batch; the gradients stay in the throw-away copy."""
    with engine.autocast(), noise.forked(x.device):
        logits = model(x.contiguous(memory_format=engine.memory_format))
        target = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        loss = F.cross_entropy(logits.float(), target)
    loss.backward()
    return loss
