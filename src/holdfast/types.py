"""The shared words of holdfast as types; every other module is written in them.

x         images, float, `[batch, channel, height, width]`, pixels in [0, 1]; attacks and
          evaluation take inputs of any shape, `[batch, ...]`
y         integer labels, `[batch]`
logits    what a classifier returns, `[batch, classes]`; `softmax(logits)` read as a policy
action    a class that the policy picked
reward    the number that the picked class is told in return
adv       adversarial images made from x by an attack
radius    an attack's budget, in `norm`, in pixel units of [0, 1]
index     position of an image in its data set; it keys every random number spent on the image
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

Images = Float[Tensor, "batch *pixels"]
Pixels = UInt8[Tensor, "batch channel height width"]
Labels = Int[Tensor, " batch"]
Logits = Float[Tensor, "batch classes"]
PerImage = Float[Tensor, " batch"]
Norm = Literal["linf", "l2", "l1"]
State = dict[str, Tensor]
OF_BATCH = "this/"  # in the names of what a state holds for one batch only

Classifier = Callable[[Tensor], Tensor]
"""Images to logits. A `torch.nn.Module` is one; so is any function."""

Attack = Callable[..., Tensor]
"""`attack(model, x, y) -> adv`. It is handed what else it names among its parameters:

- `index`: positions of the images in their data set, so that its noise does not depend on how they
  are batched (by an environment: a number for each visit);
- `start`: images within the budget that earlier attacks of a cascade came to;
- `stop`: whether an image may rest once it is wrong;
- `note`: a `Note`.

Training gives a frozen attack with a `seed` another one in every epoch."""

Note = Callable[[Tensor, Tensor, Tensor], None]
"""`note(rows, queries, distance)`: told by an attack by queries whenever images of its batch have
come to a wrong image, or to a nearer one. rows: their places in the batch; queries: what each has
asked for so far; distance: of the wrong images, pixel units of [0, 1]. Images that are wrong from
the start are not told of."""


Progress = Callable[[str, int, int], None]
"""`progress(what, done, whole)`: told how far a long piece of work has come."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """What one training step sees.

    index: position of each image in its data set, `[batch]`.
    positions: one more than the largest index in the data set; 0 where that is not known.
    epoch: how many epochs came before this one.
    adv: adversarial twins of x where there is an adversary.
    whole: images of the batch that several processes share; 0: these are all.
    """

    x: Images
    y: Labels
    index: Labels
    positions: int = 0
    epoch: int = 0
    adv: Images | None = None
    whole: int = 0


@runtime_checkable
class Reward(Protocol):
    """Told to the policy for each action; any function of this form will do.

    A reward that has a `lowest` attribute (the smallest number it can return) lets the
    policy gradient check whether exploration with it can diverge.
    """

    def __call__(self, action: Labels, y: Labels) -> PerImage: ...


@runtime_checkable
class Objective(Protocol):
    """What training minimises: one loss per image, and the state it carries on.

    The state is a plain dictionary of tensors (empty at the start) and is all that a resumed
    run needs: whatever an objective must remember belongs there. Where several processes train,
    floating-point entries become their mean over processes after each batch, and changes of
    integer entries add up. An entry whose name contains `OF_BATCH` is dropped after its batch.
    """

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]: ...


def image_shape(x: Tensor) -> tuple[int, int, int]:
    """`(channel, height, width)` of a batch of images."""
    channel, height, width = x.shape[1:]
    return channel, height, width


def device_of(model: object, default: torch.device) -> torch.device:
    """Where a model's weights are; `default` for a model without any that we can see."""
    if isinstance(model, torch.nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return default
