"""Operations without a gradient inside a model: found by watching its calls, and bridged.

The straight-through estimate (Bengio et al., arXiv 1308.3432) as an attack on what hides gradients
(BPDA, Athalye et al., arXiv 1802.00420).
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from holdfast.loss import at_least_fp32
from holdfast.model import eval_mode
from holdfast.types import Classifier, Images

FLAT = frozenset({"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside"})
CUT = frozenset({"detach", "__get__"})  # the second is `.data`
COMPARED = {"gt": 1, "ge": 1, "greater": 1, "greater_equal": 1,
            "lt": -1, "le": -1, "less": -1, "less_equal": -1}  # fmt: skip
CAST = frozenset({"float", "double", "to", "type", "type_as", "half", "bfloat16",
                  "byte", "char", "short", "int", "long"})  # fmt: skip
FLOORED = frozenset({"floor_divide", "__floordiv__"})
DIVIDED = frozenset({"div", "divide"})  # which round where they are asked to
CALLED = {"__get__": "data", "__floordiv__": "floor_divide"}
LOST = frozenset({"bucketize", "searchsorted", "detach_"})
BLIND = frozenset({"numpy", "__array__", "tolist", "item"})


class StraightThrough(TorchFunctionMode):
    """Inside, `torch.round` and its like pass gradients on unchanged, as do `detach`, `.data` and
    `torch.no_grad`; a comparison that is turned into numbers has the gradient of the difference
    that it compares, and numbers that were integers for a while that of what they were; what comes
    back from numpy in the shape in which it went has the gradient of the identity.

    met: calls that were bridged. missed: calls that change a tensor in place, or carry numbers
    out of PyTorch: those are bridged only where the shape comes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met: set[str] = set()
        self.missed: set[str] = set()
        self.ways: dict[int, tuple[Tensor, Tensor, str]] = {}
        self.gone: Tensor | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, more = getattr(func, "__name__", ""), kwargs or {}
        if name == "_set_grad_enabled":
            if args and not args[0]:
                self.met.add("no_grad")
            return None
        if not args or not isinstance(args[0], Tensor):
            return func(*args, **more)
        return self._answered(name, func, self._returned(args[0]), args[1:], more)

    def _returned(self, first: Tensor) -> Tensor:
        """What came back from outside, with the gradient of what went there."""
        gone = self.gone
        if gone is None or first.requires_grad or first.shape != gone.shape:
            return first
        if not first.is_floating_point():
            return first
        self.gone = None
        return _bridged(first, gone)

    def _answered(
        self, name: str, func: Callable[..., Any], first: Tensor, rest: tuple, more: dict
    ) -> Any:
        if name in BLIND:
            if first.requires_grad:
                self.missed.add(name)
                self.gone = first
            return func(first.detach(), *rest, **more)
        if name in LOST and first.requires_grad:
            self.missed.add(name)
        result = func(first, *rest, **more)
        if not isinstance(result, Tensor):
            return result
        if id(first) in self.ways:
            return self._carried(name, func, result, first, rest, more)
        if name in COMPARED and first.is_floating_point():
            slope = COMPARED[name] * (first - _other(rest, more))
            self._follow(result, slope, "comparison")
        elif name in CAST and not result.is_floating_point():
            self._follow(result, first, "integers")
        elif first.requires_grad and result.shape == first.shape:
            return self._joined(name, result, first, rest, more)
        return result

    def _joined(self, name: str, result: Tensor, first: Tensor, rest: tuple, more: dict) -> Tensor:
        if name.removesuffix("_") in FLAT and name[-1] == "_":
            self.missed.add(name)
        cut = name in CUT and not result.requires_grad and result.is_floating_point()
        floored = name in FLOORED or (name in DIVIDED and more.get("rounding_mode") is not None)
        if not (cut or floored or name in FLAT):
            return result
        self.met.add(CALLED.get(name, name))
        return _bridged(result, first / _other(rest, more) if floored else first)

    def _follow(self, result: Tensor, way: Tensor, what: str) -> None:
        """From here on `result`, which has no gradient, is known to come from `way`."""
        if way.requires_grad:
            self.ways[id(result)] = (result, way, what)

    def _carried(
        self, name: str, func: Callable[..., Any], result: Tensor, first: Tensor, rest: tuple,
        more: dict,
    ) -> Tensor:  # fmt: skip
        """What is made of integers or flags: once it is numbers again, with the gradient of the
        numbers that they were."""
        _, way, what = self.ways[id(first)]
        if result.requires_grad:
            return result
        try:
            way = _alike(name, func)(way, *rest, **more)
            if way.shape != result.shape or not way.requires_grad:
                raise TypeError
        except Exception:  # as for logic, which masks of an honest model go through too
            if what == "integers":
                self.missed.add(name)
            return result
        if not result.is_floating_point():
            self._follow(result, way, what)
            return result
        self.met.add(what)
        return _bridged(result, way)


def _other(rest: tuple, more: dict) -> Any:
    """What a function of two is called with besides the first."""
    return rest[0] if rest else more["other"]


def _alike(name: str, func: Callable[..., Any]) -> Callable[..., Tensor]:
    """What a function of integers or flags does to numbers."""
    if name in CAST:
        return lambda way, *rest, **more: way
    if name in FLOORED:
        return torch.true_divide
    if name == "where":
        return lambda way, one, other: way * (one - other)
    return func


def _bridged(value: Tensor, way: Tensor) -> Tensor:
    """The value, with the gradient of `way`."""
    with torch.enable_grad():
        return value.detach() + (way - way.detach()).to(value.dtype)


def hidden(model: Classifier, x: Images) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The operations without a gradient through which these images go: those that were bridged,
    and those that carry them out of reach; none of a model that fails when it is looked through,
    forward or backward."""
    leaf = x.detach().requires_grad_()
    quiet, mode = warnings.catch_warnings(action="ignore"), StraightThrough()
    try:
        with quiet, eval_mode(model), torch.enable_grad(), mode:
            torch.autograd.grad(at_least_fp32(model(leaf)).sum(), leaf, allow_unused=True)
    except Exception:  # of a model that takes gradients inside, say, or writes in place
        return (), ()
    return tuple(sorted(mode.met)), tuple(sorted(mode.missed))
