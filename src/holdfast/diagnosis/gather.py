"""The evidence of a diagnosis: what remedies find, indicators, probes and blind attacks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from holdfast import attack as attacks_of
from holdfast import noise
from holdfast.attack import HopSkipJump
from holdfast.diagnosis import probes
from holdfast.diagnosis.dynamic import Dynamic, dynamic
from holdfast.diagnosis.entropy import Entropy, entropy
from holdfast.diagnosis.evidence import Evidence, Ladder, climbed
from holdfast.diagnosis.hidden import hidden
from holdfast.diagnosis.patient import Depth, Patient
from holdfast.diagnosis.points import RandomPoints
from holdfast.diagnosis.remedies import full_range_claim, remedies, repairs
from holdfast.diagnosis.spread import Difference, difference
from holdfast.diagnosis.static import Static, static
from holdfast.evaluation import acceptable
from holdfast.geometry import ORDER, confine, per_image, sample
from holdfast.loss import LossName
from holdfast.model import check_inputs, eval_mode, map_batches, resolve_batch_size
from holdfast.result import Evaluation, Flags, fraction
from holdfast.types import Attack, Classifier, Images, Labels

Run = Callable[[Mapping[str, Attack], Labels], Evaluation]
"""Attacks by name, on the images of these rows: the evaluation of them."""


def gather(patient: Patient, claimed: Evaluation, depth: Depth, run: Run) -> Evidence:
    """All evidence. `claimed` is the evaluation of the claim on all images; `run` evaluates."""
    rows = patient.sample(depth.sample)
    part = patient.only(rows)
    clean, claim = claimed.clean.correct[rows], claimed.worst_case.correct[rows]
    right = clean.nonzero().flatten().to(part.x.device)
    met, missed = hidden(part.model, part.x[:1])
    probed = _probed(part, right, bool(met or missed))
    around, paths = _indicators(part.model, part, right, depth)

    def within(attacks: Mapping[str, Attack], some: Labels) -> Evaluation:
        return run(attacks, rows[some])

    wanted = remedies(part, depth)
    wanted |= repairs(part, met + missed, probed["rise"], probed["agreement"])
    tried = {one.name: one.correct for one in run(wanted, rows).attacks}
    ladders: dict[str, Any] = {}
    for setting, most in (("steps", depth.steps), ("restarts", depth.restarts)):
        ladders[setting], after = _doubled(part, claim, setting, most, within)
        if len(ladders[setting]) > 1:
            tried[f"more {setting}"] = after
    few = climbed(claim, tried).nonzero().flatten()[: depth.few]
    return Evidence(
        rows=rows, claim=claim, few=tuple(few.tolist()),
        blind=_blind(part, depth, few, within), remedies=tried, **ladders,
        budgets=_budgets(part, claim, within), static=around, dynamic=paths,
        entropy=_entropies(part), **probed, hidden=met, missed=missed,
        beside=_beside(part, right, depth, around, paths),
        flags=claimed.findings,
    )  # fmt: skip


def _probed(part: Patient, right: Labels, bridged: bool) -> dict[str, Any]:
    """What the probes say of the images that are right, by the names of `Evidence`.

    bridged: whether there are operations to be passed straight through.
    """
    x, y, index = part.x[right], part.y[right], part.index[right]
    model, size = part.model, resolve_batch_size(part.batch_size, x)

    def batched(probe: Callable[..., Tensor], *more: object) -> Tensor:
        return map_batches(lambda *some: probe(model, *some, *more), size, x, y)

    unknown = torch.full((len(x),), torch.nan)
    return {
        "bridged": batched(probes.bridged, part.seed) if bridged else x.new_zeros(0),
        "rise": batched(probes.rise, part.radius, part.norm, part.seed),
        "agreement": unknown if part.random else batched(probes.agreement),
        "wobble": probes.wobble(model, x, y, index, part.seed, part.random, size=size),
        "leaps": probes.jumps(model, x, y, index, part.radius, part.norm, part.seed, size=size),
    }


def _indicators(
    model: Classifier, part: Patient, rows: Labels, depth: Depth
) -> tuple[dict[str, Static], dict[str, Dynamic]]:
    """Static and dynamic indicators of a model on these images, by loss."""
    if not len(rows):
        return {}, {}
    x, y, index = (some[rows.to(some.device)] for some in (part.x, part.y, part.index))
    ball: dict[str, Any] = {"radius": part.radius, "norm": part.norm, "batch_size": part.batch_size}
    losses: list[LossName] = [loss for loss in depth.losses if loss != "dlr" or part.classes >= 3]
    held = partial(_under_one_draw, model, part.seed) if part.random else model
    around = {
        loss: static(held, x, y, loss, **ball, index=index, seed=part.seed) for loss in losses
    }
    return around, {
        loss: dynamic(model, x, y, loss, **ball, **_pace(part.claim)) for loss in losses
    }


def _under_one_draw(model: Classifier, seed: int, x: Images) -> Tensor:
    """What a model that draws says under one and the same draw: the difference of two of its
    gradients is else that of two draws."""
    noise.settle(seed)
    return model(x)


def _entropies(part: Patient) -> dict[str, Entropy]:
    """Of the images as they are, under the claim with all its steps, and in uniform noise."""
    change = sample(part.x, part.radius, part.norm, part.index, part.seed, noise.Stream.GATHER)
    noisy = confine(part.x, part.x + change, part.radius, part.norm)
    shown = {"clean": part.x, "attacked": under_claim(part), "noisy": noisy}
    return {
        name: entropy(part.judged, some, part.y, part.batch_size) for name, some in shown.items()
    }


def under_claim(part: Patient) -> Images:
    """The images under the claim with all its steps; those that it takes beyond the budget, as an
    attack of minimal norm does, as they are."""
    work = partial(attacks_of.run, part.per_draw(part.claim), part.judged)
    with eval_mode(part.model):
        adv = map_batches(work, part.batch_size, part.x, part.y, part.index).detach().to(part.x)
    within = acceptable(part.x, adv, part.radius, part.norm)
    return torch.where(per_image(within, part.x), adv, part.x)


def _beside(
    part: Patient, rows: Labels, depth: Depth, around: dict[str, Static],
    paths: dict[str, Dynamic],
) -> dict[str, Difference]:  # fmt: skip
    """Each indicator less the twin's, on the images that the model gets right."""
    if part.twin is None or not len(rows):
        return {}
    with eval_mode(part.twin):
        twins = _indicators(part.twin, _shown(part, part.twin), rows, depth)
    pairs = {
        f"{loss} {name}": (values, other[loss].indicators[name].to(values))
        for own, other in zip((around, paths), twins, strict=True)
        for loss, found in own.items()
        for name, values in found.indicators.items()
    }
    both = {name: pair for name, pair in pairs.items() if (pair[0] - pair[1]).isfinite().any()}
    return {name: difference(*pair, seed=part.seed) for name, pair in both.items()}


def _shown(part: Patient, twin: Classifier) -> Patient:
    """The same with images of the twin's own precision, on its device."""
    x, y, index = check_inputs(twin, part.x, part.y, part.index)
    return replace(part, x=x, y=y, index=index)


def _pace(claim: Attack) -> dict[str, Any]:
    """Steps of the claim and their length as a share of the radius, where it has them."""
    known = sorted({"steps", "rel_stepsize"} & attacks_of.settings_of(claim))
    return {name: value for name in known if (value := getattr(claim, name))}


def _doubled(
    part: Patient, claim: Flags, setting: str, most: int, run: Run
) -> tuple[Ladder, Flags]:
    """The claim with twice the steps (or restarts), and twice those, on what still stands, until
    two doublings in a row fell nothing."""
    known = setting in attacks_of.settings_of(part.claim)
    count = (getattr(part.claim, setting) or 0) if known else 0
    left, idle = claim.clone(), 0
    ladder = [(float(count), fraction(left))]
    while 0 < 2 * count <= most and idle < 2 and left.any():
        count, rows = 2 * count, left.nonzero().flatten()
        again = part.per_draw(attacks_of.with_settings(part.claim, **{setting: count}))
        stands = run({f"{setting} {count}": again}, rows).worst_case.correct
        idle = idle + 1 if stands.all() else 0
        left[rows] = stands
        ladder.append((float(count), fraction(left)))
    return tuple(ladder), left


def _budgets(part: Patient, claim: Flags, run: Run) -> Ladder:
    """Accuracy of the sample under the claim, or an attack that can cross the ball where it
    cannot, at growing budgets, the last the whole box."""
    attack = full_range_claim(part)
    if not part.radius:
        return ()
    whole = float(part.x[0].numel()) ** (1 / ORDER[part.norm])
    own = [(part.radius, fraction(claim))] if attack is part.claim else []
    growing = [share * part.radius for share in ((2, 4) if own else (1, 2, 4))]
    radii = [radius for radius in growing if radius < whole] + [whole]
    wanted = {
        f"budget {i}": part.per_draw(attacks_of.with_settings(attack, radius=radius))
        for i, radius in enumerate(radii)
    }
    found = run(wanted, torch.arange(len(part.x))).attacks
    left = [(radius, one.accuracy) for radius, one in zip(radii, found, strict=True)]
    return (*own, *left)


def _blind(part: Patient, depth: Depth, few: Labels, run: Run) -> dict[str, Flags]:
    """What random points and decisions alone leave of a few images that all climbs left."""
    if not len(few):
        return {}
    ball: dict[str, Any] = {"radius": part.radius, "norm": part.norm}
    wanted: dict[str, Attack] = {
        "random points": RandomPoints(points=depth.points, seed=part.seed, **ball),
        "hard label": HopSkipJump(norm=part.norm, queries=depth.hard, seed=part.seed),
    }
    return {one.name: one.correct for one in run(wanted, few).attacks}
