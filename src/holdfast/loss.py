"""Losses, one number per image; what an attack climbs and an objective descends."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from holdfast.errors import choose
from holdfast.types import Labels, Logits, PerImage

Loss = Callable[[Logits, Labels], PerImage]
LossName = Literal["ce", "margin"]


def full(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Numbers in fp32 where they came in less; wider ones as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Logits, y: Labels) -> PerImage:
    """-log softmax(logits)[y], in nats."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Logits, y: Labels) -> PerImage:
    """Largest other logit minus the true one: positive exactly where the prediction is wrong."""
    true = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return other - true


def entropy(logits: Logits) -> PerImage:
    """Entropy of the policy softmax(logits), in nats; 0 where it is certain, log K if uniform."""
    logp = logits.log_softmax(1)
    return -(logp.exp() * logp).sum(1)


def divergence(logits: Logits, reference: Logits) -> PerImage:
    """KL(softmax(reference) || softmax(logits)), in nats."""
    found, wanted = logits.log_softmax(1), reference.log_softmax(1)
    return F.kl_div(found, wanted, reduction="none", log_target=True).sum(1)


def called(loss: LossName | Loss) -> Loss:
    """The loss of this name; a function is taken as it is."""
    return loss if callable(loss) else choose(NAMED, loss, "loss")


NAMED: dict[str, Loss] = {"ce": cross_entropy, "margin": margin}
