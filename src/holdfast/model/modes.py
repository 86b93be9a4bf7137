"""Handing a model to an attack, and counting what the attack costs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from holdfast.loss import at_least_fp32
from holdfast.types import Classifier

Mode = Literal["eval", "train"]


@contextmanager
def frozen(model: Classifier, mode: Mode = "eval") -> Iterator[Classifier]:
    """The model as an attack may have it; afterwards it is as it was.

    Inside, no weight asks for a gradient (a backward pass is then a third cheaper and cannot touch
    `.grad`), and every submodule is in `mode`. With `train`, dropout is on, but normalisation by
    running statistics still uses those, which an attack must not move. Each submodule's own mode,
    each weight's `requires_grad` and `.grad`, and those statistics are put back, also after an
    error, so that a graph from before stays good.
    """
    if not isinstance(model, nn.Module):
        yield model
        return
    modes = [(module, module.training) for module in model.modules()]
    counted = [b for m, _ in modes if isinstance(m, _NormBase) for b in m.buffers(recurse=False)]
    before = [buffer.clone() for buffer in counted]
    slopes = [(weight, weight.grad) for weight in model.parameters()]
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    for module, _ in modes:
        module.training = mode == "train" and not isinstance(module, _NormBase)
    for weight in learned:
        weight.requires_grad_(False)
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for weight in learned:
            weight.requires_grad_(True)
        for weight, slope in slopes:
            weight.grad = slope
        for buffer, value in zip(counted, before, strict=True):
            buffer.data.copy_(value)  # of which a graph takes no notice


@dataclass(eq=False)
class Metered:
    """A classifier that counts its passes: the one currency in which attacks are compared.

    What else an attack asks of it (`eval()`, `zero_grad()`, `parameters()`) is the model's own.

    forward, backward: passes so far, one for each image that went through.
    """

    model: Classifier
    forward: int = field(default=0, init=False)
    backward: int = field(default=0, init=False)

    def __call__(self, x: Tensor) -> Tensor:
        return self.through(self.model)(x)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    def through(self, model: Classifier) -> Classifier:
        """Another form of the model, whose passes count as its own."""

        def asked(x: Tensor) -> Tensor:
            self.forward += len(x)
            logits = model(x).clone()  # of a model that gives the same memory again
            if logits.requires_grad:
                logits.register_hook(self._count)
            return logits

        return asked

    def _count(self, gradient: Tensor) -> None:
        self.backward += len(gradient)


class AsModule(nn.Module):
    """Any classifier as a module in evaluation mode, for libraries that accept nothing else.

    It asks the classifier it was made of, so that passes are still counted, and shows the weights
    that are behind it, by which such libraries find the device.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.ask = model.__call__
        self.behind = model.model if isinstance(model, Metered) else model
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(x)


@contextmanager
def eval_mode(model: Classifier) -> Iterator[Classifier]:
    """The model as `frozen` in evaluation mode, with exact fp32. Attacks and the judge both use it,
    so that they see the same predictions."""
    with frozen(model), exact():
        yield model


@contextmanager
def exact() -> Iterator[None]:
    """On a GPU, fp32 means fp32: without TF32, whose products carry ten bits."""
    cudnn: Any = torch.backends.cudnn
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def resolve_batch_size(wanted: int | None, x: Tensor) -> int:
    """How many of these images are given to a model at once: as many as wanted; for None 100 on a
    CPU, whose caches more would overflow, and 1,000 elsewhere."""
    return min(wanted, max(len(x), 1)) if wanted else 100 if x.device.type == "cpu" else 1000


def batches_of(size: int | None, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many rows of each of these tensors at once; None: see `resolve_batch_size`."""
    size = resolve_batch_size(size, tensors[0])
    return zip(*(one.split(size) for one in tensors), strict=True)


def map_batches(work: Callable[..., Tensor], size: int | None, *tensors: Tensor) -> Tensor:
    """What the work makes of these tensors, batch by batch, joined along the first axis."""
    return torch.cat([work(*part) for part in batches_of(size, *tensors)])


@torch.no_grad()
def predict(model: Classifier, x: Tensor, batch_size: int | None = None) -> Tensor:
    """Logits `[batch, classes]` in fp32 or wider, in evaluation mode. batch_size None: see
    `resolve_batch_size`."""
    with eval_mode(model):
        # a copy, since a model may give the same memory again
        return map_batches(lambda part: at_least_fp32(model(part)).clone(), batch_size, x)
