"""Layers whose answers or gradients a CPU has sooner in another way; none has a gradient at its
weights."""

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, autograd, nn

RATIO = 8  # output channels to each input channel, from which `Thin` is faster
NUMBERS = 2**24  # of the patches held at once
WEIGHTS = 2**16  # of a linear layer, from which `Dense` is faster


class Thin(nn.Module):
    """A convolution of few input channels, such as the first of most networks: its gradient at the
    input is several times faster by one matrix product and a sum of its patches."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.training = conv.training

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return Convolved.apply(
            x, conv.weight.detach(), None if conv.bias is None else conv.bias.detach(),
            {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation},
        )  # fmt: skip


class Convolved(autograd.Function):
    """`conv2d`, whose gradient at its input is the product of the weights and the gradient of its
    output, summed where patches overlap."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: dict[str, Any]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.geometry = x.shape[2:], geometry
        return F.conv2d(x, weight, bias, **geometry)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (weight,), (slope,) = ctx.saved_tensors, grad_outputs
        kernel, flat = weight.shape[2:], weight.flatten(1).t()
        few = max(1, NUMBERS // (flat.shape[0] * slope.shape[2:].numel()))
        parts = [
            F.fold(flat @ part.flatten(2), ctx.size, kernel, **ctx.geometry)
            for part in slope.split(few)
        ]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)), None, None, None


class Dense(nn.Module):
    """A linear layer by oneDNN's matrix product, as convolutions are: PyTorch's own, by MKL, makes
    little of an AMD processor with AVX-512."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.training = linear.training

    def forward(self, x: Tensor) -> Tensor:
        linear = self.linear
        if torch.is_autocast_enabled(x.device.type) or x.dtype != linear.weight.dtype:
            return linear(x)
        bias = None if linear.bias is None else linear.bias.detach()
        return Multiplied.apply(x, linear.weight.detach(), bias)


class Multiplied(autograd.Function):
    """`linear` and its gradient at the input, both by the operator that `torch.compile` takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (weight,) = ctx.saved_tensors
        return Multiplied.apply(grad_outputs[0], weight.t(), None), None, None


def with_fast_layers(model: nn.Module) -> nn.Module:
    """The module with its layers in these forms where they are faster, in place."""
    for name, part in list(model.named_modules()):
        if name and type(part) is nn.Conv2d and _thin(part):
            model.set_submodule(name, Thin(part))
        elif name and is_dense(part):
            model.set_submodule(name, Dense(part))
    return model


def _thin(part: nn.Conv2d) -> bool:
    return (
        part.groups == 1
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
        and max(part.kernel_size) > 1
        and part.out_channels >= RATIO * part.in_channels
    )


def is_dense(part: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether `Dense` is faster than this layer: in fp32, with weights enough."""
    return (
        type(part) is nn.Linear
        and part.weight.numel() >= WEIGHTS
        and part.weight.dtype == torch.float32
        and part.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
    )
