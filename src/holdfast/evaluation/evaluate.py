"""Attack a classifier and believe nothing: every claim of an attack is checked here, in fp32."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from holdfast import attack as attacks_of
from holdfast import loss, record
from holdfast.errors import BadInput, choose
from holdfast.evaluation.inputs import clean_logits, require_settings, usable
from holdfast.evaluation.suites import SUITES, Suite
from holdfast.geometry import length
from holdfast.model import Metered, lent, predict
from holdfast.result import SLACK, AttackResult, Evaluation, Standing
from holdfast.types import Attack, Classifier, Images, Labels, Logits, Norm

Said = Callable[[str, int, int], None]


def evaluate(
    model: Classifier,
    x: Images,
    y: Labels,
    *,
    suite: str = "quick",
    attacks: Mapping[str, Attack] | None = None,
    cascade: bool = False,
    radius: float = 8 / 255,
    norm: Norm = "linf",
    batch_size: int = 250,
    index: Labels | None = None,
    seed: int = 0,
    said: Said | None = None,
) -> Evaluation:
    """Clean accuracy and what each attack leaves of it.

    Args:
        model: images `[batch, channel, height, width]` in [0, 1] to logits of 2 classes or more;
            left as it was.
        x: images; converted to the dtype of the model's weights, which is float32 or float64. A
            function gets them as they are, but never narrower than float32.
        y: integer labels, from 0 to the number of classes - 1.
        suite: a named battery; used where `attacks` is not given.
        attacks: attacks of your own by name, each with its own budget; `radius` and `norm` are
            then what they are checked against where they do not state theirs. One that has
            `minimal = True` looks for the nearest image of another class: what it returns may lie
            anywhere in the box, and an image counts as fooled where that is within the radius.
        cascade: attacks of your own see only the images that the ones before them left standing,
            as in AutoAttack; a suite knows for itself.
        radius, norm: the budget, pixel units of [0, 1].
        batch_size: images attacked together; results depend on it by rounding alone.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        seed: of the suite's random starts.
        said: called after each batch with (attack, images done, images).

    Raises BadInput: images, labels or a model that do not fit each other, pixels outside [0, 1],
    settings out of range, an unknown suite.
    """
    require_settings(radius, norm, batch_size, attacks)
    x, y, index = usable(model, x, y, index)
    clean = clean_logits(model, x, y, batch_size)
    battery = Suite(attacks=attacks or {}, cascade=cascade)
    if attacks is None:
        battery = choose(SUITES, suite, "a suite")(radius, norm, clean.shape[1], seed)
    right = standing = clean.argmax(1) == y
    results = []
    for name, one in battery.attacks.items():
        seen = standing if battery.cascade else torch.ones_like(standing)
        rows = seen.nonzero().flatten()
        images = (x[rows], y[rows], index[rows], clean[rows])
        found = _attacked(name, one, model, images, radius, norm, batch_size, said)
        results.append(_over_all(found, seen.cpu(), standing.cpu(), battery.cascade))
        standing = standing & results[-1].correct.to(standing.device)
    bits = loss.entropy(clean).mean().item() / math.log(2)
    return Evaluation(clean=Standing(correct=right.cpu()), attacks=tuple(results), entropy=bits)


def _attacked(
    name: str, attack: Attack, model: Classifier, images: tuple[Images, Labels, Labels, Logits],
    radius: float, norm: Norm, batch_size: int, said: Said | None,
) -> AttackResult:  # fmt: skip
    """Run one attack over these images, batch by batch, and check what it returns."""
    radius, norm = _budget(attack, radius, norm)
    reach = math.inf if getattr(attack, "minimal", False) else radius
    meter, start, found, refused = Metered(model), time.perf_counter(), [], 0
    parts = zip(*(part.split(batch_size) for part in images), strict=True)
    for done, (x, y, index, logits) in enumerate(parts):
        with lent(model):
            adv = attacks_of.run(attack, meter, x.clone(), y.clone(), index).detach()
        if adv.shape != x.shape:
            raise BadInput(f"expected images {tuple(x.shape)} from {name}, got {tuple(adv.shape)}")
        valid = acceptable(x, adv, reach, norm)
        refused += int((~valid).sum())
        found.append(_distance(model, x, adv, y, logits, valid, norm))
        if said:
            said(name, min((done + 1) * batch_size, len(images[0])), len(images[0]))
    distance = torch.cat(found or [images[0].new_zeros(0)]).cpu()
    return AttackResult(
        name=name, settings=_settings(attack), norm=norm, radius=radius,
        correct=distance > radius + SLACK, distance=distance, refused=refused,
        forward=meter.forward, backward=meter.backward, seconds=time.perf_counter() - start,
    )  # fmt: skip


def _over_all(found: AttackResult, seen: Tensor, standing: Tensor, cascade: bool) -> AttackResult:
    """The result of an attack that saw some images, as one over all of them: what it did not see
    stands as it did, at a distance that is no number."""
    if not cascade:
        return found
    correct = standing.clone()
    distance = torch.full(seen.shape, torch.nan, dtype=found.distance.dtype)
    correct[seen], distance[seen] = found.correct, found.distance
    return replace(found, correct=correct, distance=distance)


def _budget(attack: Attack, radius: float, norm: Norm) -> tuple[float, Norm]:
    """The attack's own radius and norm, where it states them."""
    stated = getattr(attack, "radius", None)
    return radius if stated is None else stated, getattr(attack, "norm", norm)


def acceptable(x: Images, adv: Images, radius: float, norm: Norm) -> Tensor:
    """`[batch]` flags: finite, inside the pixel box, and within the budget."""
    finite = torch.isfinite(adv).flatten(1).all(1)
    box = ((adv >= 0) & (adv <= 1)).flatten(1).all(1)
    return finite & box & (length(adv - x, norm) <= radius + SLACK)


def _distance(
    model: Classifier, x: Images, adv: Images, y: Labels, clean: Logits, valid: Tensor, norm: Norm
) -> Tensor:
    """Per image: length of a change that fools the model, 0 if clean is wrong, inf if none."""
    offered = torch.where(valid.reshape(-1, 1, 1, 1), adv, x)
    fooled = valid & (predict(model, offered).argmax(1) != y)
    distance = torch.where(fooled, length(offered - x, norm), torch.inf)
    return torch.where(clean.argmax(1) != y, 0.0, distance)


def _settings(attack: Attack) -> record.Row:
    described = record.plain(attack)
    return described if isinstance(described, dict) else {"name": described}
