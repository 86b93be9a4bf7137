"""What is measured after an epoch, and what it warns of."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from holdfast import attack, loss
from holdfast.data import Split
from holdfast.engine import Engine
from holdfast.feedback import Signed, Trades, active_objective, expected_reward, leaves
from holdfast.model import frozen, map_batches, predict
from holdfast.team import Team
from holdfast.training.recipe import Recipe
from holdfast.types import Attack, Images, Reward

SEEN = 5  # images of a class, of which none is predicted, that are no chance
MISSED = 0.1  # share of the classes without a prediction that is worth a word
COLLAPSED = 0.8  # share of the way from a class's true frequency to all predictions
ADVICE = (
    "see docs/adversarial-training.md: clean training first, a radius ramp, another rate; of a "
    "reward also more actions per image with a leave_one_out baseline, an entropy bonus, a start "
    "of ce"
)


def measure(
    model: nn.Module, splits: Mapping[str, Split], recipe: Recipe, engine: Engine, team: Team,
    epoch: int, attacked: bool,
) -> dict[str, float]:  # fmt: skip
    """Accuracies (shares), entropy (bits) and expected reward of each split, `NAME_measure`, and
    the gaps from train to validation, where both are there.

    epoch: the one just trained, counted from 0, by whose reward predictions are judged; +1 and -1
    where its objective has none. attacked: with the watching attacks too. Those run in the engine's
    precision, every prediction that is counted in fp32. Processes share the images.
    """
    attacks = recipe.watch.attacks(recipe.adversary) if attacked else {}
    at_work = leaves(active_objective(recipe.objective, epoch))
    bases = [active_objective(one.base, epoch) for one in at_work if isinstance(one, Trades)]
    at_work += [part for base in bases for part in leaves(base)]
    told = next((one.reward for one in at_work if hasattr(one, "reward")), Signed())  # pyright: ignore
    found: dict[str, float] = {}
    for name, split in splits.items():
        measured = _measure(model, split, attacks, told, engine, team)
        found |= {f"{name}_{key}": value for key, value in measured.items()}
    for key in ("clean", *attacks) if "train" in splits else ():
        gap = "gap" if key == "clean" else f"{key}_gap"
        found[gap] = found[f"train_{key}"] - found[f"validation_{key}"]
    return found


def _measure(
    model: nn.Module, split: Split, attacks: Mapping[str, Attack], told: Reward, engine: Engine,
    team: Team,
) -> dict[str, float]:  # fmt: skip
    images, whole, split = len(split), split, split.part(team.rank, team.size)
    x, y = split.x.contiguous(memory_format=engine.memory_format), split.y
    logits = predict(model, x)
    found = {
        "clean": loss.is_correct(logits, y),
        "reward": expected_reward(told, logits, y),
        "entropy": loss.entropy(logits) / math.log(2),
    }
    for name, rival in attacks.items():
        adv = _adversarial(model, split, x, rival, engine)
        found[name] = loss.is_correct(predict(model, adv), y)
    picked = torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double()
    sums = torch.stack([value.double().sum() for value in found.values()])
    team.all_reduce([picked, sums])
    means = dict(zip(found, (sums / images).tolist(), strict=True))
    seen = torch.tensor(whole.counts(len(picked)), device=picked.device) >= SEEN
    missed = int(((picked == 0) & seen).sum())
    return means | {"largest_class": (picked.max() / images).item(), "missed_classes": missed}


def _adversarial(
    model: nn.Module, split: Split, x: Images, rival: Attack, engine: Engine
) -> Images:
    with frozen(model), engine.autocast():
        return map_batches(partial(attack.run, rival, model), None, x, split.y, split.index)


def lost_classes(missed: int, classes: int) -> str | None:
    """A warning where so many classes that have images get no prediction."""
    if missed < max(1, MISSED * classes):
        return None
    return f"{missed} of {classes} classes are never predicted; {ADVICE}"


def collapse(largest: float, split: Split, classes: int) -> str | None:
    """A warning where one class gets nearly all predictions and that is not the data's doing.

    largest: share of the predictions that the most predicted class gets.
    """
    honest = max(split.counts(classes)) / len(split)
    if honest == 1 or largest < honest + COLLAPSED * (1 - honest):
        return None
    return f"collapsed: one of {classes} classes gets {largest:.0%} of all predictions; {ADVICE}"
