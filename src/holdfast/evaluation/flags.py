"""Cheap signs that an evaluation cannot be believed as it stands.

AutoAttack's checks (Croce and Hein, arXiv 2003.01690, and `flags_doc.md` of its authors' code) and
the one that it lacks: gradients that are zero because the logits saturate the softmax in fp32.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from holdfast import loss
from holdfast.evaluation.judge import Case
from holdfast.loss import Loss
from holdfast.model import by_batch, examined, predict
from holdfast.record import Row
from holdfast.result import SLACK, AttackResult, Finding, Flags
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

LOOKS = 9  # passes that should agree (AutoAttack asks for 5); a model may draw once per batch
SAMPLE = 100  # correctly classified images on which gradients are looked at
FEW = 0.01  # share of zero gradients that is worth a word
SHORT = 0.5  # of the radius: a way that all steps together should pass
GAIN = 0.002  # share of images that only attacks without gradients felled (AutoAttack's own bound)


def of_model(case: Case) -> Iterator[Finding]:
    """What in the model casts doubt on any result; nothing where all is well."""
    rows = (case.clean.argmax(1) == case.y).nonzero().flatten()[:SAMPLE]
    x, y = case.x[rows], case.y[rows]
    if len(rows):
        yield from randomness(case, x)
        yield from probabilities(case, x)
        yield from dynamics(case, x[:1])
        yield from gradients(case, x, y)


def of_results(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """What casts doubt on results over all images."""
    yield from refusals(results)
    yield from blind_gain(results)
    yield from short_ways(results)
    yield from at_their_target(results)


def budgets(results: Sequence[AttackResult], asked: float | None, norm: Norm) -> Iterator[Finding]:
    """Budgets of attacks of one's own that are not the one asked for, or not comparable."""
    norms = sorted({one.norm for one in results})
    if len(norms) > 1:
        yield Finding(
            name="several norms", evidence={"norms": norms},
            meaning=f"attacks are within {' and '.join(norms)}, so that the worst case over them "
            "is that of none of these budgets",
            advice="evaluate each norm by itself",
        )  # fmt: skip
    elif norms and norms != [norm]:
        yield Finding(
            name="no attack of the budget", evidence={"asked": norm, "norms": norms},
            meaning=f"within {norm} was asked for, but all attacks are within {norms[0]}, where "
            "the same length is another budget",
            advice=f"say norm='{norms[0]}', or attack within {norm}",
        )  # fmt: skip
    radii = sorted({one.radius for one in results if one.norm == norm})
    if (beyond := [one for one in radii if asked is not None and one > asked + SLACK]) or (
        asked is None and len(radii) > 1
    ):
        yield Finding(
            name="several budgets", evidence={"asked": asked, "radii": radii},
            meaning=f"attacks go as far as {norm} {(beyond or radii)[-1]:g}"
            + (f" where {asked:g} was asked for" if asked is not None else f", others {radii[0]:g}")
            + ", so that the worst case over them is that of the largest budget",
            advice="give all attacks one radius; for several use holdfast.evaluation.curve",
        )  # fmt: skip
    reach = radii[-1] if radii else None
    if asked is not None and reach is not None and reach + SLACK < asked:
        yield Finding(
            name="no attack of the budget", evidence={"asked": asked, "radius": reach},
            meaning=f"within {norm} {asked:g} was asked for, but no attack goes further than "
            f"{reach:g}",
            advice=f"give the attacks their budget: radius={asked:g}",
        )  # fmt: skip


def short_ways(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Attacks whose steps do not add up to their radius."""
    for one in results:
        settings = _innermost(one.settings)
        steps, stride = (settings.get(name) for name in ("steps", "stride"))
        within = "radius" in settings  # a stride is a share of that, or a length
        if within and steps and stride and (share := steps * stride) < SHORT:
            yield Finding(
                name="steps too short", evidence={"attack": one.name, "share": share},
                meaning=f"all steps of {one.name} together cross {share:.0%} of its radius",
                advice="a stride is a share of the radius, 0.25 and not 2/255: take longer ones",
            )  # fmt: skip


def at_their_target(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Images of the class to which an attack leads, which is given nothing to do by them."""
    for one in results:
        still = ~one.distance.isnan() & (one.target < 0)
        share = still.double().mean().item()
        if _leads(one.settings) and share > FEW:
            yield Finding(
                name="images of the target", evidence={"attack": one.name, "share": share},
                meaning=f"{share:.1%} of the images are of the class to which {one.name} leads, "
                "or taken for it anyhow, and say nothing of it",
                advice="count the others alone, or lead each image to a class of its own",
            )  # fmt: skip


def _leads(settings: Row) -> bool:
    """Whether they are of an attack that leads to a class, itself or within another."""
    within = settings.get("attack")
    return settings.get("name") == "targeted" or (isinstance(within, dict) and _leads(within))


def _innermost(settings: Row) -> Row:
    """Those of the attack within all others."""
    within = settings.get("attack")
    return _innermost(within) if isinstance(within, dict) else settings


def refusals(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Images that an attack returned and that do not count: outside its budget, or no numbers."""
    for one in results:
        if (share := one.refused / len(one.correct)) > FEW:
            yield Finding(
                name="images refused", evidence={"attack": one.name, "share": share},
                meaning=f"{share:.1%} of the images of {one.name} were outside its budget or the "
                "pixel box, or no numbers, and count as if they had not been attacked",
                advice=f"repair {one.name}, or a model whose gradient is no number",
            )  # fmt: skip


def randomness(case: Case, x: Images) -> Iterator[Finding]:
    """Logits that differ from pass to pass by more than rounding."""
    apart, differs = wavering(case.model, x, case.batch_size)
    if differs.any():
        share = differs.double().mean().item()
        yield Finding(
            name="random outputs", evidence={"share": share, "largest": apart.max().item()},
            meaning="the same images give other logits from pass to pass, so that one gradient "
            "is a noisy one and one prediction is a draw",
            advice="attack the mean over draws: the suite rand",
        )  # fmt: skip


def wavering(model: Classifier, x: Images, batch_size: int | None) -> tuple[PerImage, Flags]:
    """By how much each image's logits differ over a few passes, and where by more than rounding."""
    looks = torch.stack([predict(model, x, batch_size) for _ in range(LOOKS)])
    looks = torch.where(looks.isinf(), 0.0, looks)  # of a class that is masked
    apart = (looks.amax(0) - looks.amin(0)).amax(1)
    return apart, apart > 1e-4 * looks[0].abs().amax(1)


def probabilities(case: Case, x: Images) -> Iterator[Finding]:
    """Outputs that are a distribution already."""
    outputs = predict(case.model, x, case.batch_size)
    if (outputs >= 0).all() and (outputs.sum(1) - 1).abs().max() < 1e-4:
        yield Finding(
            name="probabilities for logits", evidence={"largest": outputs.max().item()},
            meaning="the outputs are not negative and sum to 1, as after a softmax, which flattens "
            "the gradients that attacks climb",
            advice="give the model without its last softmax",
        )  # fmt: skip


def dynamics(case: Case, x: Images) -> Iterator[Finding]:
    """Gradients taken inside the forward pass: a defence that adapts to its input."""
    with torch.no_grad(), examined(case.model), _Watch() as watch:
        case.model(x)
    if watch.seen:
        yield Finding(
            name="gradients inside the forward pass", evidence={"calls": sorted(watch.seen)},
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


def gradients(case: Case, x: Images, y: Labels) -> Iterator[Finding]:
    """Gradients that are zero in every pixel: of cross-entropy alone, or of the margin too."""
    lost = {
        name: _zero(case, x, y, of).double().mean().item()
        for name, of in (("ce", loss.cross_entropy), ("margin", loss.margin))
    }
    evidence = {f"zero_{name}": share for name, share in lost.items()} | {"images": len(x)}
    if lost["margin"] >= FEW:
        yield Finding(
            name="zero gradients", evidence=evidence,
            meaning=f"the gradient of the margin is zero in every pixel on {lost['margin']:.0%} of "
            "images, so that attacks by gradient stand still",
            advice="look for an operation without a derivative (rounding, a threshold, detach), "
            "and attack with square or hop-skip-jump",
        )  # fmt: skip
    elif lost["ce"] >= FEW:
        evidence["median_logit"] = case.clean.abs().amax(1).median().item()
        yield Finding(
            name="saturated cross-entropy", evidence=evidence,
            meaning=f"the gradient of cross-entropy is zero in every pixel on {lost['ce']:.0%} of "
            f"images, that of the margin is not: logits of {evidence['median_logit']:.3g} saturate "
            "the softmax in fp32",
            advice="do not believe attacks on cross-entropy here (FGSM, PGD, APGD-CE); those on "
            "the margin or DLR see the slope: the suites reliable and standard",
        )  # fmt: skip


def _zero(case: Case, x: Images, y: Labels, of: Loss) -> Tensor:
    """`[batch]` flags: a gradient that is zero in every pixel."""

    def flat(x: Images, y: Labels) -> Tensor:
        return (loss.gradient(case.model, x, y, of)[0] == 0).flatten(1).all(1)

    with examined(case.model):
        return by_batch(flat, case.batch_size, x, y)


def blind_gain(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Images that fell to attacks without gradients and withstood all those with."""
    with_gradient = [result for result in results if result.backward]
    blind = [result for result in results if not result.backward]
    if not (with_gradient and blind):
        return
    withstood = torch.stack([result.correct for result in with_gradient]).all(0)
    felled = ~torch.stack([result.correct for result in blind]).all(0)
    share = (withstood & felled).double().mean().item()
    if share > GAIN:
        yield Finding(
            name="blind attacks find more", evidence={"share": share},
            meaning=f"attacks that see no gradient felled {share:.1%} of images that every attack "
            "with gradients left standing, as where gradients mislead",
            advice="do not believe the attacks with gradients alone; take more images and queries, "
            "and transfer from another model",
        )  # fmt: skip
