"""One attack before the judge: what it claims is checked here, in fp32, and nothing is believed."""

import math
import time
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from holdfast import attack as attacks_of
from holdfast import record
from holdfast.errors import BadInput
from holdfast.geometry import length, per_image
from holdfast.loss import is_correct, margin
from holdfast.model import Metered, eval_mode, predict
from holdfast.result import SLACK, AttackResult, Flags
from holdfast.types import (
    Attack,
    Classifier,
    Images,
    Labels,
    Logits,
    Norm,
    Note,
    PerImage,
    Progress,
)

FAULTS = "no numbers", "outside the pixel box", "beyond the budget"  # of images that do not count


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """What every attack of an evaluation is given: the model and the images, with their logits.

    fast: the cheaper form of the model that attacks are given.
    """

    model: Classifier
    fast: Classifier
    x: Images
    y: Labels
    index: Labels
    clean: Logits
    radius: float
    norm: Norm
    batch_size: int
    progress: Progress | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What one attack came back with, for the images it was shown.

    offered: the image it returned for each, x in place of what was refused.
    height: margin of those; positive where they fool the model.
    """

    result: AttackResult
    offered: Images
    height: PerImage


@dataclass(frozen=True, eq=False, kw_only=True)
class Checked:
    """What an attack returned for a batch, checked: a value for each image.

    adv: the image it returned, x in place of one that was refused. height: margin of those.
    fault: for which of the FAULTS it was refused; -1: none. distance: see `AttackResult`, as are
    prediction and target.
    """

    adv: Images
    fault: Labels
    height: PerImage
    distance: PerImage
    prediction: Labels
    target: Labels


def run_checked(
    name: str, attack: Attack, case: Case, shown: Labels, start: Images | None
) -> Outcome:
    """Run one attack on the images of these rows, batch by batch, and check what it returns.

    start: for each of them the point from which an attack that names `start` may set out.
    """
    meter, clock = Metered(case.fast), time.perf_counter()
    radius, norm = budget(attack, case.radius, case.norm)
    fell = torch.full_like(shown, -1)
    parts = []
    for rows in torch.arange(len(shown), device=shown.device).split(case.batch_size):
        if not len(rows):  # of nothing, split makes one batch of nothing
            break
        origin = None if start is None else start[rows]
        heard = _listener(fell, rows, radius)
        parts.append(_run(name, attack, case, meter, shown[rows], origin, heard))
        if case.progress:
            case.progress(name, int(rows[-1]) + 1, len(shown))
    found = _joined(parts, case)
    distance, counts = found.distance.cpu(), attacks_of.counts_queries(attack)
    faults = {name: n for k, name in enumerate(FAULTS) if (n := int((found.fault == k).sum()))}
    result = AttackResult(
        name=name, settings=described(attack), norm=norm, radius=radius,
        correct=distance > radius + SLACK, distance=distance, refused=sum(faults.values()),
        faults=faults,
        queries=_believed(fell.cpu(), distance, radius) if counts else None,
        prediction=found.prediction.cpu(), target=found.target.cpu(),
        minimal=bool(getattr(attack, "minimal", False)),
        forward=meter.forward, backward=meter.backward, seconds=time.perf_counter() - clock,
    )  # fmt: skip
    return Outcome(result=result, offered=found.adv, height=found.height)


def _run(
    name: str, attack: Attack, case: Case, meter: Classifier, rows: Labels,
    start: Images | None, note: Note,
) -> Checked:  # fmt: skip
    """The attack on the images of one batch, and what of it is true."""
    x, y, index = case.x[rows], case.y[rows], case.index[rows]
    with eval_mode(case.fast):
        target = attacks_of.aimed_at(attack, case.fast, x, y, index)
        try:
            made = attacks_of.run(
                attack, meter, x.clone(), y.clone(), index, start, stop=True, note=note
            )
        except Exception as error:
            error.add_note(f"in the attack {name}")
            raise
    adv = images_of(name, made, x)
    radius, norm = budget(attack, case.radius, case.norm)
    fault = fault_of(x, adv, reach(attack, radius), norm)
    adv = torch.where(per_image(fault < 0, x), adv, x)
    height, distance, prediction = _judged(case, rows, adv, norm)
    return Checked(
        adv=adv, fault=fault, height=height, distance=distance, prediction=prediction,
        target=torch.full_like(y, -1) if target is None else _led(target, y, case.clean[rows]),
    )  # fmt: skip


def _led(target: Labels, y: Labels, clean: Logits) -> Labels:
    """The target, where it is neither the true class nor what the image is taken for anyhow; -1."""
    return target.where((target != y) & (target != clean.argmax(1)), -1)


def images_of(name: str, made: object, x: Images) -> Images:
    """What an attack gave back, as images like those it was given. Raises BadInput."""
    got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    if not isinstance(made, Tensor) or made.shape != x.shape:
        raise BadInput(f"expected images {tuple(x.shape)} from {name}, got {got}")
    return made.detach().to(x)


def _listener(fell: Tensor, batch: Tensor, radius: float) -> Note:
    """Keeps in `fell` the queries at which each image first came within the radius.

    batch: the places in `fell` of the images that the attack sees.
    """

    def note(rows: Labels, queries: Labels, distance: PerImage) -> None:
        places = batch[rows]
        new = (fell[places] < 0) & (distance <= radius + SLACK)
        fell[places[new]] = queries[new]

    return note


def _believed(fell: Labels, distance: PerImage, radius: float) -> Labels:
    """The queries noted where the image did fall; -1 elsewhere, and 0 where it was wrong before."""
    return torch.where(distance > 0, fell.where(distance <= radius + SLACK, -1), 0)


def fault_of(x: Images, adv: Images, radius: float, norm: Norm) -> Labels:
    """For each image the first of the FAULTS that it has; -1: none."""
    finite = torch.isfinite(adv).flatten(1).all(1)
    box = ((adv >= 0) & (adv <= 1)).flatten(1).all(1)
    sound = torch.stack([finite, box, length(adv - x, norm) <= radius + SLACK])
    return torch.where(sound.all(0), -1, sound.int().argmin(0))


def acceptable(x: Images, adv: Images, radius: float, norm: Norm) -> Flags:
    """Whether each image is finite, inside the pixel box, and within the budget."""
    return fault_of(x, adv, radius, norm) < 0


def _judged(
    case: Case, rows: Labels, offered: Images, norm: Norm
) -> tuple[PerImage, PerImage, Labels]:
    """Margins of the images offered; the length of each change that fools the model: 0 if the
    clean image is wrong already, inf if the change does not fool it; what each image is taken for.
    Logits that are no numbers are no prediction, whatever the label."""
    x, y = case.x[rows], case.y[rows]
    logits = predict(case.model, offered)
    distance = torch.where(is_correct(logits, y), torch.inf, length(offered - x, norm))
    prediction = logits.argmax(1).where(~logits.isnan().any(1), -1)
    return (
        margin(logits, y),
        torch.where(is_correct(case.clean[rows], y), distance, 0.0),
        prediction,
    )


def _joined(parts: list[Checked], case: Case) -> Checked:
    """The batches as one; of none, where no image was shown."""
    none = case.y[:0]
    nothing = Checked(
        adv=case.x[:0], fault=none, height=case.clean[:0, 0],
        distance=case.x.new_zeros(0), prediction=none, target=none,
    )  # fmt: skip
    whole = {
        field.name: torch.cat([getattr(part, field.name) for part in parts or [nothing]])
        for field in fields(Checked)
    }
    return Checked(**whole)


def budget(attack: Attack, radius: float, norm: Norm) -> tuple[float, Norm]:
    """The attack's own radius and norm, where it states them; else these."""
    stated = getattr(attack, "radius", None)
    return radius if stated is None else stated, getattr(attack, "norm", norm)


def reach(attack: Attack, radius: float) -> float:
    """How far its images may be; one that looks for the nearest may go anywhere."""
    return math.inf if getattr(attack, "minimal", False) else radius


def described(attack: Attack) -> record.Row:
    """Its settings; of a function its name alone."""
    described = record.plain(attack)
    return described if isinstance(described, dict) else {"name": described}
