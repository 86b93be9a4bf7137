"""Cheap signs in a model that an evaluation cannot be believed as it stands.

AutoAttack's checks (Croce and Hein, arXiv 2003.01690, and `flags_doc.md` of its authors' code) and
two that it lacks: gradients that are zero because the logits saturate the softmax in fp32, and
answers that depend on what else is in the batch.
"""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from holdfast import loss
from holdfast.attack import counts_queries, draws_of
from holdfast.errors import name_of
from holdfast.evaluation.judge import Case
from holdfast.loss import Loss
from holdfast.model import eval_mode, map_batches, predict
from holdfast.result import Finding, Flags, Sign, fraction
from holdfast.types import Attack, Classifier, Images, Labels, PerImage

LOOKS = 9  # passes that should agree (AutoAttack asks for 5); a model may draw once per batch
MATES = 8  # images that are asked for alone
MOST = 0.5  # share of them that answers otherwise; a few do where logits leap, by rounding
SAMPLE = 100  # correctly classified images on which gradients are looked at
ENOUGH = 10  # images that one prediction for all of them is no chance
SHIFTED = 0.3  # share of predictions that are one from the label, at least
FEW = 0.01  # share of zero gradients that is worth a word


def doubts_of_model(case: Case, attacks: Collection[Attack]) -> Iterator[Finding]:
    """What in the model casts doubt on any result; nothing where all is well. The advice is what
    the attacks do not do yet."""
    blind, draws = any(map(counts_queries, attacks)), max(map(draws_of, attacks), default=1)
    rows = loss.is_correct(case.clean, case.y).nonzero().flatten()[:SAMPLE]
    x, y = case.x[rows], case.y[rows]
    yield from sameness(case)
    yield from shift(case)
    if len(rows):
        yield from randomness(case, x, draws)
        yield from dependence(case, x)
        yield from probabilities(case, x)
        yield from dynamics(case, x[:1])
        yield from coarseness(case, rows)
        yield from gradients(case, x, y, blind)
        yield from flat_losses(case, x, y, attacks)


def sameness(case: Case) -> Iterator[Finding]:
    """One prediction for all images, of several classes: there is nothing to attack."""
    taken = case.clean.argmax(1)
    several = len(taken) >= ENOUGH and bool((case.y != case.y[0]).any())
    if several and (taken == taken[0]).all() and not case.clean.isnan().any():
        yield Finding(
            name=Sign.ONE_CLASS, evidence={"class": int(taken[0]), "images": len(taken)},
            meaning=f"all {len(taken)} images are taken for class {int(taken[0])}: no attack moves "
            "that, and what stands is chance",
            advice="train it anew; docs/adversarial-training.md says what makes training start",
        )  # fmt: skip


def shift(case: Case) -> Iterator[Finding]:
    """Labels that would fit far better were they all one more or one less."""
    taken, several = case.clean.argmax(1), case.clean.shape[1] > 2 and len(case.y) >= ENOUGH
    right = fraction(loss.is_correct(case.clean, case.y))
    for step in (-1, 1) if several else ():
        fits = fraction(taken == case.y + step)
        if fits >= SHIFTED and fits > 3 * right:
            yield Finding(
                name=Sign.SHIFTED_LABELS, evidence={"step": step, "fits": fits, "right": right},
                meaning=f"{right:.1%} of the labels are predicted, and {fits:.1%} of them "
                f"{'plus' if step > 0 else 'minus'} one",
                advice="count labels from 0, in the order of the model's classes",
            )  # fmt: skip


def randomness(case: Case, x: Images, draws: int) -> Iterator[Finding]:
    """Logits that differ from pass to pass by more than rounding. draws: of the attacks' steps."""
    apart, differs = output_spread(case.model, x, case.batch_size)
    if differs.any():
        share = fraction(differs)
        average = "" if draws > 1 else "attack the mean over draws, as the suite rand does, and "
        yield Finding(
            name=Sign.RANDOM_OUTPUTS, evidence={"share": share, "largest": apart.max().item()},
            meaning="the same images give other logits from pass to pass, so that one gradient "
            "is a noisy one and one prediction is a draw: what stands is no bound for its mean",
            advice=f"{average}look at other seeds; holdfast diagnose judges the mean",
        )  # fmt: skip


def output_spread(model: Classifier, x: Images, batch_size: int | None) -> tuple[PerImage, Flags]:
    """By how much each image's logits differ over a few passes, and where by more than rounding."""
    looks = torch.stack([predict(model, x, batch_size) for _ in range(LOOKS)])
    looks = torch.where(looks.isinf(), 0.0, looks)  # of a class that is masked
    apart = (looks.amax(0) - looks.amin(0)).amax(1)
    return apart, apart > 1e-4 * looks[0].abs().amax(1)


def dependence(case: Case, x: Images) -> Iterator[Finding]:
    """Logits of an image alone that are others than among its batch mates."""
    together = predict(case.model, x, case.batch_size)[:MATES]
    alone, again = (predict(case.model, x[:MATES], 1) for _ in range(2))
    apart, drawn = (
        torch.where(one.isinf(), 0.0, one - alone).abs().amax(1) for one in (together, again)
    )
    share = fraction(apart > 1e-6 + 1e-3 * alone.abs().amax(1))
    if share >= MOST and not drawn.any():
        yield Finding(
            name=Sign.BATCH_MATES, evidence={"share": share, "largest": apart.max().item()},
            meaning="an image alone gives other logits than among others, so that results depend "
            "on the batch size",
            advice="put batch normalisation into evaluation mode, with running statistics; of a "
            "function, the network within: model.eval()",
        )  # fmt: skip


def probabilities(case: Case, x: Images) -> Iterator[Finding]:
    """Outputs that are a distribution already."""
    outputs = predict(case.model, x, case.batch_size)
    if loss.are_probabilities(outputs):
        yield Finding(
            name=Sign.PROBABILITIES_FOR_LOGITS, evidence={"largest": outputs.max().item()},
            meaning="the outputs are not negative and sum to 1, as after a softmax, which flattens "
            "the gradients that attacks climb",
            advice="give the model without its last softmax",
        )  # fmt: skip


def dynamics(case: Case, x: Images) -> Iterator[Finding]:
    """Gradients taken inside the forward pass: a defence that adapts to its input."""
    with torch.no_grad(), eval_mode(case.model), _Watch() as watch:
        case.model(x)
    if watch.seen:
        yield Finding(
            name=Sign.GRADIENTS_INSIDE_THE_FORWARD_PASS, evidence={"calls": sorted(watch.seen)},
            meaning="the model optimises something at inference, which attacks on its "
            "outputs do not see through",
            advice="attack the classifier below the defence, and transfer",
        )  # fmt: skip


class _Watch(TorchFunctionMode):
    """Notes the calls that take gradients."""

    CALLS = frozenset({"backward", "grad"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.CALLS:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def coarseness(case: Case, rows: Labels) -> Iterator[Finding]:
    """Logits so large beside their gaps that fp32 tells near ties no longer apart."""
    logits, y = case.clean[rows], case.y[rows]
    grain = (loss.rounding(logits) / -loss.margin(logits, y)).median().item()
    if grain > FEW:
        yield Finding(
            name=Sign.COARSE_LOGITS, evidence={"share": grain},
            meaning="logits are so large that what rounding may do to them is "
            f"{grain:.0%} of their gaps: attacks that look for the nearest image stop short",
            advice="subtract what all logits have in common, or evaluate in float64",
        )  # fmt: skip


def gradients(case: Case, x: Images, y: Labels, blind: bool) -> Iterator[Finding]:
    """Gradients that are zero in every pixel: of cross-entropy alone, or of the margin too. blind:
    whether an attack asks for none."""
    lost = {
        name: fraction(_zero(case, x, y, of))
        for name, of in (("ce", loss.cross_entropy), ("margin", loss.margin))
    }
    evidence = {f"zero_{name}": share for name, share in lost.items()} | {"images": len(x)}
    ask = "believe" if blind else "attack with square or hop-skip-jump: believe"
    if lost["margin"] >= FEW:
        yield Finding(
            name=Sign.ZERO_GRADIENTS, evidence=evidence,
            meaning=f"the gradient of the margin is zero in every pixel on {lost['margin']:.0%} of "
            "images, so that attacks by gradient stand still",
            advice="look for an operation without a derivative (rounding, a threshold, detach), "
            f"and {ask} the attacks without gradients alone",
        )  # fmt: skip
    elif lost["ce"] >= FEW:
        evidence["median_logit"] = case.clean.abs().amax(1).median().item()
        yield Finding(
            name=Sign.SATURATED_CROSS_ENTROPY, evidence=evidence,
            meaning=f"the gradient of cross-entropy is zero in every pixel on {lost['ce']:.0%} of "
            f"images, that of the margin is not: logits of {evidence['median_logit']:.3g} saturate "
            "the softmax in fp32",
            advice="do not believe attacks on cross-entropy here (FGSM, PGD, APGD-CE); those on "
            "the margin or DLR see the slope: the suites reliable and standard",
        )  # fmt: skip


def flat_losses(case: Case, x: Images, y: Labels, attacks: Collection[Attack]) -> Iterator[Finding]:
    """Losses of one's own, such as one that is NaN, that give no gradient where the margin does."""
    sloped = ~_zero(case, x, y, loss.margin)
    for climbed in {one for one in map(_own_loss, attacks) if one is not None}:
        lost = fraction(_zero(case, x, y, climbed) & sloped)
        if lost > MOST:
            name = name_of(climbed)
            yield Finding(
                name=Sign.LOSS_WITHOUT_GRADIENT, evidence={"loss": name, "share": lost},
                meaning=f"the gradient of {name} is zero or no number in every pixel on {lost:.0%} "
                "of images, that of the margin is not: an attack that climbs it stands still",
                advice="look at its values (NaN, inf, a constant) on clean images, or take margin",
            )  # fmt: skip


def _own_loss(attack: Attack) -> Loss | None:
    """The function that an attack on this model climbs, where that is one's own."""
    own: Any = attack
    return own.loss if callable(getattr(own, "loss", None)) else None


def _zero(case: Case, x: Images, y: Labels, of: Loss) -> Tensor:
    """`[batch]` flags: a gradient that is zero in every pixel."""

    def flat(x: Images, y: Labels) -> Tensor:
        return (loss.gradient(case.model, x, y, of)[0] == 0).flatten(1).all(1)

    with eval_mode(case.model):
        return map_batches(flat, case.batch_size, x, y)
