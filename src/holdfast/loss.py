"""Losses, one number per image; what an attack climbs and an objective descends."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from holdfast.errors import BadInput, choose, require_call, require_value
from holdfast.types import Classifier, Images, Labels, Logits, PerImage

Loss = Callable[[Logits, Labels], PerImage]
LossName = Literal["ce", "margin", "dlr", "reward"]


def at_least_fp32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Numbers in fp32 where they came in less; wider ones as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cross_entropy(logits: Logits, y: Labels) -> PerImage:
    """-log softmax(logits)[y], in nats."""
    return F.cross_entropy(logits, y.long(), reduction="none")


def margin(logits: Logits, y: Labels) -> PerImage:
    """Largest other logit minus the true one: positive where the prediction is wrong, 0 at a tie,
    +inf where any logit is NaN, since NaN predicts nothing."""
    true = logits.gather(1, y[:, None]).squeeze(1)
    gap = without_true_class(logits, y).amax(1) - true
    gap = gap.nan_to_num(0.0, torch.inf, -torch.inf)  # of two infinite ones: a tie
    return gap.masked_fill(logits.isnan().any(1), torch.inf)


def without_true_class(logits: Logits, y: Labels) -> Logits:
    """The logits with the true class out of the question."""
    return logits.scatter(1, y[:, None], -torch.inf)


def rivals(logits: Logits, y: Labels) -> Int[Tensor, "batch others"]:
    """The wrong classes, the likeliest first. Raises BadInput where there are none."""
    if logits.shape[1] < 2:
        raise BadInput(f"expected logits of 2 classes or more, got {logits.shape[1]}")
    return without_true_class(logits, y).argsort(1, descending=True)[:, :-1]


def is_correct(logits: Logits, y: Labels) -> Bool[Tensor, " batch"]:
    """Whether the largest logit is the label's; logits that are no numbers are no prediction."""
    return (logits.argmax(1) == y) & ~logits.isnan().any(1)


def lead(logits: Logits, y: Labels, target: Labels) -> PerImage:
    """The target's logit minus the true one."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def negative_expected_reward(logits: Logits, y: Labels) -> PerImage:
    """Minus the expected reward of the policy softmax(logits), told +1 for the true class and -1
    for any other (Gupta 2020, arXiv 2012.04353): 1 - 2 p_y, from -1 to 1.

    It saturates on both sides: an image of a sure policy, right or wrong, has hardly a gradient.
    """
    return -1 - 2 * torch.expm1(-cross_entropy(logits, y))


def dlr(logits: Logits, y: Labels) -> PerImage:
    """The margin, divided by the difference of the largest and the third largest logit.

    The difference of logits ratio (Croce and Hein, arXiv 2003.01690, section 4) depends neither on
    a logit scale nor on a shift. -1 to 0 for a correct image, 0 to 1 for a wrong one whose true
    class is among the first three. Raises BadInput for fewer than 3 classes, which it cannot rank.
    """
    top = _largest(logits, 3, "the DLR loss", "'ce' or 'margin'")
    return margin(logits, y) / _above(top[:, 0] - top[:, 2])


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> PerImage:
    """The target's lead over the true class, as a share of the largest logit's lead over the mean
    of the third and fourth (arXiv 2003.01690, section 4).

    Raises BadInput for fewer than 4 classes, which it cannot rank.
    """
    top = _largest(logits, 4, "the targeted DLR loss", "'ce', 'margin' or (3 classes) 'dlr'")
    return lead(logits, y, target) / _above(top[:, 0] - (top[:, 2] + top[:, 3]) / 2)


def _largest(logits: Logits, count: int, what: str, instead: str) -> Float[Tensor, "batch count"]:
    if logits.shape[1] < count:
        raise BadInput(
            f"expected {count} classes or more for {what}, got {logits.shape[1]}; "
            f"take the loss {instead}"
        )
    return logits.topk(count, dim=1).values


def _above(gap: PerImage) -> PerImage:
    """A gap to divide by: tied logits have none."""
    return gap.clamp_min(1e-12)


def are_probabilities(logits: Logits) -> bool:
    """Whether these are a distribution for each image already, as after a softmax."""
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-3).all())


def entropy(logits: Logits) -> PerImage:
    """Entropy of the policy softmax(logits), in nats; 0 where it is certain, log K if uniform."""
    logp = logits.log_softmax(1)
    return -(logp.exp() * logp.clamp_min(torch.finfo(logp.dtype).min)).sum(1)  # of -inf: 0


def kl_divergence(logits: Logits, reference: Logits) -> PerImage:
    """KL(softmax(reference) || softmax(logits)), in nats; a class that the reference rules out
    adds nothing."""
    found, wanted = logits.log_softmax(1), reference.log_softmax(1)
    apart = (wanted - found).masked_fill(wanted == -torch.inf, 0.0)
    return (wanted.exp() * apart).sum(1)


def gradient(
    model: Classifier, x: Images, y: Labels, loss: Loss, draws: int = 1
) -> tuple[Images, Logits]:
    """Gradient of each image's own loss with respect to its pixels, and the logits.

    The losses are summed, not averaged, so that an image's gradient does not shrink with the
    batch it is in. Nothing but the pixels is differentiated. draws: passes over whose gradients
    the mean is taken, for a model that is random; the logits are those of the last.
    """
    found, logits = _gradient(model, x, y, loss)
    for _ in range(draws - 1):
        more, logits = _gradient(model, x, y, loss)
        found = found + more
    return found / draws, logits


def _gradient(model: Classifier, x: Images, y: Labels, loss: Loss) -> tuple[Images, Logits]:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = at_least_fp32(model(leaf))
        return pixel_gradient(each(loss, logits, y).sum(), leaf), logits.detach()


def each(loss: Loss, logits: Logits, y: Labels) -> PerImage:
    """The loss of each image. Raises BadInput for a loss that gives something else."""
    found = loss(logits, y)
    if not isinstance(found, Tensor) or found.shape != y.shape:
        got = list(found.shape) if isinstance(found, Tensor) else f"{found!r:.60}"
        remedy = "leave out the mean (reduction='none')" if got == [] else "give each one number"
        raise BadInput(f"expected a loss of each image, [{len(y)}], got {got}; {remedy}")
    return found


def pixel_gradient(height: Tensor, pixels: Images, again: bool = False) -> Images:
    """Gradient of a sum with respect to pixels, zero where a model hides that it depends on them,
    and in pixels where it is no number.

    again: the same graph will be asked for another. Raises BadInput in torch's inference mode, in
    which no gradient can be had.
    """
    if torch.is_inference_mode_enabled():
        raise BadInput("expected gradients to be allowed, got inference_mode; take torch.no_grad")
    if not height.requires_grad:
        return torch.zeros_like(pixels)
    found = torch.autograd.grad(height, pixels, retain_graph=again, allow_unused=True)[0]
    return torch.zeros_like(pixels) if found is None else found.nan_to_num(0.0, 0.0, 0.0)


def resolve_loss(loss: LossName | Loss) -> Loss:
    """The loss of this name; a function of one's own, checked at every call. Raises BadInput for
    what is neither."""
    if isinstance(loss, str):
        return choose(NAMED, loss, "loss")
    require_value("loss", loss, "loss.margin")
    require_call("loss", loss, ("logits", "y"))
    return loss if loss in NAMED.values() else partial(_checked, loss)


def _checked(loss: Loss, logits: Logits, y: Labels) -> PerImage:
    """A loss that may change what it is given. Raises BadInput for one that nothing can climb."""
    found = each(loss, logits.clone(), y.clone())
    if not found.is_floating_point():
        raise BadInput(
            f"expected a loss in floating point, got {found.dtype}; give one real number per image"
        )
    if torch.is_grad_enabled() and logits.requires_grad and not found.requires_grad:
        raise BadInput(
            "expected a loss that depends on the logits, got one without gradient; leave out "
            "detach, argmax, comparisons and torch.no_grad"
        )
    return found


NAMED: dict[str, Loss] = {
    "ce": cross_entropy,
    "margin": margin,
    "dlr": dlr,
    "reward": negative_expected_reward,
}


def rounding(logits: Logits) -> Tensor:
    """`[batch]` differences of logits that the order of a network's sums may well cause. Infinite
    logits, as of a class that is masked, are exact."""
    size = logits.abs()
    return 100 * torch.finfo(logits.dtype).eps * size.where(size.isfinite(), 0).amax(1)


def is_clearly_wrong(logits: Logits, y: Labels) -> Bool[Tensor, " batch"]:
    """Wrong by more than rounding can undo when the image is seen again alone."""
    return margin(logits, y) > rounding(logits)


def margin_height(logits: Logits, y: Labels, stop: bool = True) -> PerImage:
    """The margin, and more than any once the image is clearly wrong and may rest."""
    return inf_once_wrong(margin(logits, y), logits, y, stop)


def inf_once_wrong(height: PerImage, logits: Logits, y: Labels, stop: bool = True) -> PerImage:
    """What an attack climbs; inf where the image is clearly wrong and `stop` lets it rest."""
    return height.masked_fill(is_clearly_wrong(logits, y), torch.inf) if stop else height
