"""Cheap signs in the results of attacks that an evaluation cannot be believed as it stands."""

from collections.abc import Iterator, Sequence

import torch

from holdfast.record import Row
from holdfast.result import SLACK, AttackResult, Evaluation, Finding, Flags, Sign, fraction
from holdfast.types import Norm

FEW = 0.01  # share of images that is worth a word
SHORT = 0.5  # of the radius: a way that all steps together should pass
GAIN = 0.002  # share of images that only attacks without gradients felled (AutoAttack's own bound)


def doubts_of_results(found: Evaluation) -> Iterator[Finding]:
    """What casts doubt on an evaluation's results over all images."""
    yield from refusals(found.attacks)
    yield from blind_gain(found)
    yield from short_ways(found.attacks)
    yield from at_their_target(found.attacks)


def budgets(found: Evaluation, asked: float | None) -> Iterator[Finding]:
    """Budgets of attacks of one's own that are not the one asked for, or not comparable."""
    norms = sorted({one.norm for one in found.attacks})
    radii = sorted({one.radius for one in found.attacks if one.norm == found.norm})
    if len(norms) > 1:
        yield _several_norms(norms, found.norm)
    elif norms and not radii:
        yield _no_attack(
            {"asked": found.norm, "norms": norms},
            f"within {found.norm} was asked for, but all attacks are within {norms[0]}, where the "
            "same length is another budget: the worst case is that of clean images",
            f"say norm='{norms[0]}', or attack within {found.norm}",
        )
    if not radii:
        return
    least, most = radii[0], radii[-1]
    if asked is None and least < most:
        yield _several_budgets(
            {"asked": asked, "radii": radii},
            f"attacks go as far as {found.norm} {most:g}, others {least:g}, so that the worst case "
            "over them is that of the largest budget",
        )
    elif asked is not None and most > asked + SLACK:
        yield _several_budgets(
            {"asked": asked, "radii": radii},
            f"attacks go as far as {found.norm} {most:g} where {asked:g} was asked for: the worst "
            "case counts what they found within that, and few look for the nearest",
        )
    elif asked is not None and most + SLACK < asked:
        yield _no_attack(
            {"asked": asked, "radius": most},
            f"within {found.norm} {asked:g} was asked for, but no attack goes further than "
            f"{most:g}",
            f"give the attacks their budget: radius={asked:g}",
        )


def _several_norms(norms: Sequence[str], counted: Norm) -> Finding:
    return Finding(
        name=Sign.SEVERAL_NORMS, evidence={"norms": norms},
        meaning=f"attacks are within {' and '.join(norms)}; the worst case counts those within "
        f"{counted} alone",
        advice="evaluate each norm by itself",
    )  # fmt: skip


def _several_budgets(evidence: Row, meaning: str) -> Finding:
    advice = "give all attacks one radius; for several use holdfast.evaluation.curve"
    return Finding(name=Sign.SEVERAL_BUDGETS, evidence=evidence, meaning=meaning, advice=advice)


def _no_attack(evidence: Row, meaning: str, advice: str) -> Finding:
    return Finding(
        name=Sign.NO_ATTACK_OF_THE_BUDGET, evidence=evidence, meaning=meaning, advice=advice
    )


def short_ways(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Attacks whose steps do not add up to their radius."""
    for one in results:
        settings = _innermost(one.settings)
        share = (settings.get("steps") or 0) * (settings.get("rel_stepsize") or 0)
        if 0 < share < SHORT:
            yield Finding(
                name=Sign.STEPS_TOO_SHORT, evidence={"attack": one.name, "share": share},
                meaning=f"all steps of {one.name} together cross {share:.0%} of its radius",
                advice="rel_stepsize is a share of the radius, 0.25 and not 2/255: raise it",
            )  # fmt: skip


def at_their_target(results: Sequence[AttackResult]) -> Iterator[Finding]:
    """Targeted attacks that were shown images already of, or taken for, their target class: those
    test nothing."""
    for one in results:
        still = ~one.distance.isnan() & (one.target < 0)
        share = fraction(still)
        if _leads(one.settings) and share > FEW:
            yield Finding(
                name=Sign.IMAGES_OF_THE_TARGET, evidence={"attack": one.name, "share": share},
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
            why = ", ".join(f"{n / len(one.correct):.1%} {name}" for name, n in one.faults.items())
            yield Finding(
                name=Sign.IMAGES_REFUSED,
                evidence={"attack": one.name, "share": share, "faults": dict(one.faults)},
                meaning=f"{share:.1%} of the images of {one.name} ({why}) count as if they had not "
                "been attacked",
                advice=f"repair {one.name}, or a model whose gradient is no number",
            )  # fmt: skip


def _sees_gradients(one: AttackResult) -> bool:
    """Whether it asks for gradients, be there none: it climbs a loss, or went back, and counts no
    queries."""
    return one.queries is None and ("loss" in _innermost(one.settings) or one.backward > 0)


def blind_gain(found: Evaluation) -> Iterator[Finding]:
    """Images that fell to attacks without gradients and withstood all those with, within the
    budget."""
    fooled: dict[bool, list[Flags]] = {True: [], False: []}
    for one in found.attacks:
        if one.norm == found.norm:
            fooled[_sees_gradients(one)].append(one.fooled(found.norm, found.radius))
    if not (fooled[True] and fooled[False]):
        return
    seeing, blind = (torch.stack(fooled[kind]).any(0) for kind in (True, False))
    only = found.clean.correct & ~seeing & blind
    share = fraction(only)
    if share > GAIN:
        yield Finding(
            name=Sign.BLIND_ATTACKS_FIND_MORE, evidence={"share": share},
            meaning=f"attacks that see no gradient felled {int(only.sum())} of {len(only)} images, "
            "which every attack with gradients left standing, as where gradients mislead",
            advice="do not believe the attacks with gradients alone; take more images and queries, "
            "and transfer from another model",
        )  # fmt: skip
