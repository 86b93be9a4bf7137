"""A cheaper form of the same classifier, for those who ask it thousands of times."""

import copy
import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from holdfast import noise
from holdfast.errors import cause
from holdfast.loss import at_least_fp32
from holdfast.model.layers import is_dense, with_fast_layers
from holdfast.model.modes import eval_mode
from holdfast.types import Classifier, Images, Logits

FOLDED: dict[tuple[type, type], Callable[..., nn.Module]] = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}
log = logging.getLogger("holdfast")
T = TypeVar("T")
Way = Callable[[nn.Module], nn.Module | None]
LOOKS = 16  # of a model that tosses a coin, all alike once in 30,000 times
GRAIN = 0.01  # half of it is larger than the steps of pixels of 8 bits
NEAR = 1e-4  # largest difference from the model itself, as a share of its largest number


def fast_form(model: Classifier, x: Images) -> Classifier:
    """The classifier with batch normalisation folded into the layer before it, convolutions in
    channels_last layout, those of few input channels with a faster gradient, and large linear
    layers by a faster product. Attacks are given it; what they find is judged by the model itself.

    It stands for the model only where it gives the same logits and gradients on these few images
    and on their negatives, up to rounding; both with a grain, since in an area of one value it is
    for rounding to say which of equal numbers is the largest, and gets the gradient. Else, where it
    cannot be made, and where there is nothing to gain, the model itself comes back: so a model that
    is random, that hides an operation from its gradient, or that is a function.
    """
    if not isinstance(model, nn.Module):
        return model
    if not any(isinstance(part, nn.Conv2d) or is_dense(part) for part in model.modules()):
        return model
    if not is_deterministic(model, x):
        return model
    found = (_checked_form(model, way, x) for way in _ways(x))
    return next((form for form in found if form is not None), model)


def is_deterministic(model: Classifier, x: Images) -> bool:
    """Whether the model says the same of an image each time: a cheaper form of one that takes
    another way by chance would be made of the way that it took just then."""
    with torch.no_grad(), eval_mode(model), noise.forked(x.device):
        looks = [at_least_fp32(model(x[:1])) for _ in range(LOOKS)]
    return all(
        torch.equal(looks[0], one) or same_up_to_rounding(looks[0], one) for one in looks[1:]
    )


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch normalisations are part of the layer before them, and
    whose rectifiers come after the pooling.

    A module that torch.fx cannot trace is copied as it is.
    """
    form = copy.deepcopy(model).eval()
    try:
        traced = fx.symbolic_trace(form)
    except Exception as error:  # whatever a user's forward does with a stand-in for a tensor
        log.debug("cannot be traced, so nothing is folded: %s", cause(error))
        return form
    parts: dict[str, nn.Module] = dict(traced.named_modules())
    calls = Counter(str(node.target) for node in traced.graph.nodes)
    for node in list(traced.graph.nodes):
        before = _feeding(node, parts)
        if before is None or calls[str(before.target)] > 1:
            continue
        layer, norm = parts[str(before.target)], parts[str(node.target)]
        traced.set_submodule(str(before.target), FOLDED[type(layer), type(norm)](layer, norm))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    for node in list(traced.graph.nodes):
        _pool_first(node, parts)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _pool_first(relu: fx.Node, parts: dict[str, nn.Module]) -> None:
    """Let the maximum be taken before the rectifier, of whose input and output it is the same: it
    then has a quarter of the numbers to rectify."""
    pool = next(iter(relu.users), None)
    if pool is None or len(relu.users) > 1 or {relu.op, pool.op} != {"call_module"}:
        return
    one, other = parts[str(relu.target)], parts[str(pool.target)]
    if type(one) is nn.ReLU and type(other) is nn.MaxPool2d and not other.return_indices:
        (source,) = relu.all_input_nodes
        if one.inplace and len(source.users) > 1:
            return  # others see what it rectified
        pool.replace_all_uses_with(relu)
        pool.replace_input_with(relu, source)
        relu.replace_input_with(source, pool)
        pool.append(relu)


def _feeding(node: fx.Node, parts: dict[str, nn.Module]) -> fx.Node | None:
    """The layer that feeds this batch normalisation and nothing else; None: it is not so."""
    before = node.args[0] if node.op == "call_module" and node.args else None
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
        return None
    kinds = type(parts[str(before.target)]), type(parts[str(node.target)])
    return before if kinds in FOLDED else None


class ChannelsLast(nn.Module):
    """A module that is given its images in channels_last layout."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.to(memory_format=torch.channels_last)
        self.training = False

    def forward(self, x: Images) -> Logits:
        return self.body(x.contiguous(memory_format=torch.channels_last))


def _ways(x: Images) -> list[Way]:
    """Ways to a cheaper form, to the cheapest first: with the layout too, on a CPU."""
    return [_laid_out, _folded_alone] if x.ndim == 4 and x.device.type == "cpu" else [_folded_alone]


def _laid_out(model: nn.Module) -> nn.Module | None:
    form = fold_batch_norm(model).requires_grad_(False)
    none = not any(isinstance(part, nn.Conv2d) for part in form.modules())
    return (
        None if none or any(map(_unsafe, form.modules())) else ChannelsLast(with_fast_layers(form))
    )


def _folded_alone(model: nn.Module) -> nn.Module | None:
    form = fold_batch_norm(model).requires_grad_(False)
    gained = isinstance(form, fx.GraphModule) or any(map(is_dense, form.modules()))
    return with_fast_layers(form) if gained else None


def _unsafe(part: nn.Module) -> bool:
    """PyTorch 2.15 on AVX2 damages memory in such a layer's backward pass (docs/training.md)."""
    if not isinstance(part, nn.Conv2d) or max(part.stride) == 1:
        return False
    return max(part.kernel_size) == 1 and min(part.in_channels, part.out_channels) < 8


def _checked_form(model: nn.Module, way: Way, x: Images) -> nn.Module | None:
    """The form that this way leads to, where it says what the model says.

    Where rounding sends some unit of a deep network the other way, and its gradient with it, a
    form of the model in float64, made in the same way, must agree with that.
    """
    form = attempt(lambda: way(model))
    if form is None:
        return None
    some = _grained(torch.cat([x, 1 - x]))
    logits, slopes = _agree(model, form, some)
    if logits and not slopes:
        twins = attempt(lambda: _twins(model, way))
        slopes = twins is not None and all(_agree(*twins, some.double()))
    return form if logits and slopes else None


def _twins(model: nn.Module, way: Way) -> tuple[nn.Module, nn.Module] | None:
    """The model and its form in float64."""
    double = copy.deepcopy(model).double()
    form = way(double)
    return None if form is None else (double, form)


def _grained(x: Images) -> Images:
    """The images, in slightly lower contrast, and uniform noise that leaves them in the box."""
    index = torch.arange(len(x), device=x.device)
    return x * (1 - GRAIN) + GRAIN * noise.uniform(index, x.shape[1:], seed=0).to(x)


def attempt(make: Callable[[], T]) -> T | None:
    """What is made; None, with a line in the log for debugging, where a module cannot be copied or
    traced, looks at its own layout, or holds a view of what has another layout now."""
    try:
        return make()
    except Exception as error:  # code of the user's own: anything may come
        log.debug("no cheaper form: %s", cause(error))
        return None


def same_up_to_rounding(one: Tensor, other: Tensor) -> bool:
    """Whether two forms of a model said the same, up to rounding."""
    return bool((one - other).abs().max() <= NEAR * one.abs().max())


def _agree(model: nn.Module, form: nn.Module, some: Images) -> tuple[bool, bool]:
    """Whether two models say the same logits, and have the same gradients."""

    def told() -> tuple[bool, bool]:
        with eval_mode(model), noise.forked(some.device):  # for a model that draws
            (logits, slopes), (others, rises) = _asked(model, some), _asked(form, some)
            return same_up_to_rounding(logits, others), same_up_to_rounding(slopes, rises)

    return attempt(told) or (False, False)


def _asked(model: Classifier, x: Images) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a sum that tells them apart."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = at_least_fp32(model(x))
        weight = torch.linspace(-1, 1, logits.shape[1], device=x.device, dtype=logits.dtype)
        (slope,) = torch.autograd.grad((logits * weight).sum(), x)
    return logits.detach(), slope
