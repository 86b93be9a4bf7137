"""Cheap signs in the results of attacks that an evaluation cannot be believed as it stands."""

from collections.abc import Iterator, Sequence

import torch

from holdfast.record import Row
from holdfast.result import SLACK, AttackResult, Finding
from holdfast.types import Norm

FEW = 0.01  # share of images that is worth a word
SHORT = 0.5  # of the radius: a way that all steps together should pass
GAIN = 0.002  # share of images that only attacks without gradients felled (AutoAttack's own bound)


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
