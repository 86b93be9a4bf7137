"""Models by name: pixels in [0, 1] in, logits out, their normalisation inside.

An architecture of the user's own, `module:function`, is only called where the caller names it: a
card from elsewhere cannot choose what is run.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, SupportsFloat

import torch
from torch import Tensor, nn

from holdfast import noise, own
from holdfast.errors import BadInput, cause, choose
from holdfast.limits import COUNT, require_range
from holdfast.model.networks import LIBRARIES, NETWORKS

ALWAYS = {"image", "classes"}  # given to every builder, and on the card beside the options
TAKEN = {"name", "mean", "std", "seed"}  # of `create` itself


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is needed to rebuild a model: everything but its weights.

    architecture: a name of holdfast, `torchvision:NAME`, `timm:NAME` or `module:function`;
    options: its further arguments.
    image: (channels, height, width). mean, std: per channel, pixel units of [0, 1].
    data: name of the training set; class_names: what its labels mean, if that is known.
    provenance: who made the weights, with what, when.
    """

    architecture: str
    image: tuple[int, int, int]
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    data: str | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Network(nn.Module):
    """An architecture behind its normalisation, with the card that rebuilds it."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, card: Card) -> None:
        super().__init__()
        self.body = body
        self.card = card
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean or (0.0,)).reshape(shape), False)
        spread = torch.tensor([s or 1.0 for s in card.std] or [1.0])  # 0: a channel never changes
        self.register_buffer("std", spread.reshape(shape), False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.std if self.card.mean else x)


def create(
    name: str,
    *,
    image: tuple[int, int, int],
    classes: int,
    mean: Iterable[SupportsFloat] = (),
    std: Iterable[SupportsFloat] = (),
    seed: int | None = None,
    **options: Any,
) -> Network:
    """A new model: pixels in [0, 1] in, `[batch, classes]` logits out.

    name: one of NETWORKS, `torchvision:NAME`, `timm:NAME`, or `module:function` of your own,
    called with `image`, `classes` and `options`. mean, std: the model normalises its input by them,
    a number for each channel.
    seed: of the first weights; None draws them from torch's global generator.
    Raises BadInput: unknown name or option, a library that is not installed, an image that the
    network cannot take, a function that cannot be found or called.
    """
    if seed is not None:
        noise.require_seed(seed)
    require_range("classes", classes, COUNT)
    sizes = list(image) if isinstance(image, Sequence) else []
    if len(sizes) != 3 or not all(isinstance(n, Integral) and n > 0 for n in sizes):
        raise BadInput(
            f"expected image as whole numbers (channel, height, width), got {image!r:.60}"
        )
    mean, std = (_per_channel(some, image[0]) for some in (mean, std))
    if min([0.0, *std]) < 0:
        raise BadInput(f"expected a std of 0 or more for each channel, got {std}")
    if bool(mean) != bool(std):
        raise BadInput(f"expected mean and std together, got mean {mean} and std {std}")
    build = function(name) if ":" in name else choose(NETWORKS, name, "model")
    options = _all_options(name, build, options)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # the GPU's own stay as they are
        body = _built(name, build, {"image": image, "classes": classes, **options})
    made = Card(
        architecture=name, image=image, classes=classes, options=options, mean=mean, std=std
    )
    return Network(body, made)


def _per_channel(given: Any, channels: int) -> tuple[float, ...]:
    """Numbers out of a tuple, a list, an array or a tensor. Raises BadInput for another count than
    one for each channel or none at all, and for what is no number."""
    try:
        found = tuple(float(one) for one in given)
    except (TypeError, ValueError):
        raise BadInput(f"expected mean and std as numbers, got {given!r:.60}") from None
    if len(found) not in (0, channels) or not all(map(math.isfinite, found)):
        raise BadInput(
            f"expected a mean and a std for each of the {channels} channels, got {found}"
        )
    return found


def function(name: str) -> Callable[..., nn.Module]:
    """What `torchvision:NAME`, `timm:NAME` or `module:function` names. Raises BadInput.

    A module is looked for in the current folder too.
    """
    module, _, entry = name.partition(":")
    if module in LIBRARIES:
        return LIBRARIES[module](entry)
    found: Callable[..., nn.Module] = own.load_name(name, "a function to build the model")
    if taken := TAKEN & set(inspect.signature(found).parameters):
        raise BadInput(
            f"expected a function to build the model at '{name}', got one with a parameter called "
            f"{min(taken)}, which is taken; rename it"
        )
    return found


def is_own(name: str) -> bool:
    """Whether the name stands for the user's code, not for holdfast's or a library's."""
    return ":" in name and name.partition(":")[0] not in LIBRARIES


def _built(name: str, build: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """What the function builds. Raises BadInput where it fails or builds no module."""
    try:
        body = build(**arguments)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # of the user's code, or of torch for an odd option
        raise BadInput(
            f"expected {name} to build a network for these options, "
            f"got {cause(error)}; correct the options or the function"
        ) from error
    if not isinstance(body, nn.Module):
        raise BadInput(f"expected {name} to return a torch.nn.Module, got {type(body).__name__}")
    return body


def _all_options(
    name: str, build: Callable[..., nn.Module], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options and the defaults of those left out, so that a card does not depend on how much
    was spelled out. Raises BadInput for an option that the function does not take."""
    try:
        signature = inspect.signature(build)
        signature.bind(image=None, classes=None, **options)
    except TypeError as error:
        raise BadInput(
            f"expected {name} to take image, classes"
            f"{''.join(', ' + option for option in options)}, {error}; name a function "
            "(image, classes) that builds the module"
        ) from None
    plain = (bool, int, float, str, tuple)  # what a card can hold
    defaults = {p.name: p.default for p in signature.parameters.values() if p.name not in ALWAYS}
    given = {k: tuple(v) if isinstance(defaults.get(k), tuple) and isinstance(v, list) else v
             for k, v in options.items()}  # fmt: skip
    held = {k: v for k, v in defaults.items() if isinstance(v, plain)} | given
    return {k: v for k, v in held.items() if v is not None or defaults.get(k) is not None}
