"""From the settings of a call to a job that has been tried, before anything is written."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from holdfast import attack, feedback, noise, own
from holdfast.data import Dataset
from holdfast.engine import choose_engine
from holdfast.errors import BadInput
from holdfast.model import Network
from holdfast.team import Team
from holdfast.training.checkpoint import Session
from holdfast.training.epoch import step_context
from holdfast.training.job import (
    OnEpoch,
    OnStep,
    TrainingJob,
    as_network,
    epoch_of,
    make_job,
    make_session,
)
from holdfast.training.recipe import Recipe, require_values
from holdfast.training.rehearsal import rehearse_model, rehearse_update

SHORT = 0.5  # of the radius: a way that all steps together should pass
OURS = {*feedback.OBJECTIVES.values(), *attack.ATTACKS.values()}
FUNCTIONS = {"first": 3, "second": 3, "base": 3, "reward": 2, "loss": 2}
"""Fields of ours that may hold a function, and how many arguments that takes."""
log = logging.getLogger("holdfast")


def recipe_of(data: Any, **settings: Any) -> Recipe:
    """The recipe of these settings, which are its fields: functions as values, and with the class
    weights that its objective takes from the data. Raises BadInput."""
    require_values(data=data, **settings)
    for name in ("train", "validation"):
        if not len(getattr(data, name)):
            raise BadInput(f"expected images in the {name} split, got none; give it some")
    counts = data.train.counts(data.classes)
    objective = feedback.suited(_as_values(settings["objective"]), counts)
    adversary = _as_values(settings["adversary"], offered=attack.OPTIONAL_ARGUMENTS)
    return Recipe(**settings | {"objective": objective, "adversary": adversary})


def rehearse(model: nn.Module, data: Dataset, team: Team, **settings: Any) -> None:
    """Raises BadInput where `train` would refuse these settings, the fields of a recipe, whatever
    the number of images; nothing is trained, and nothing is written."""
    recipe = recipe_of(data, **settings)
    network = as_network(model, data)
    rehearse_model(network, data)
    measured = "fp32" if recipe.precision == "auto" else recipe.precision  # without measuring
    set_up(network, data, replace(recipe, precision=measured), team)


def set_up(
    network: Network, data: Dataset, recipe: Recipe, team: Team, run: Path | None = None,
    on_step: OnStep | None = None, on_epoch: OnEpoch | None = None,
) -> tuple[Recipe, TrainingJob, Session]:  # fmt: skip
    """The recipe with the precision that was measured, the job and its start, when an update has
    been rehearsed."""
    engine = choose_engine(network, data.image, recipe.precision, team.device or recipe.device)
    recipe = replace(recipe, precision=team.broadcast_object(engine.precision))
    engine = replace(engine, precision=recipe.precision)
    filled = noise.seeded(recipe, recipe.seed)  # not on disk, whose seed another call may change
    job = make_job(filled, engine, team, data, run, on_step, on_epoch)
    session = make_session(network, recipe, engine, team)
    rehearse_update(step_context(job, session), next(epoch_of(job, 0)))
    return recipe, job, session


def warn_beforehand(recipe: Recipe) -> None:
    """Of what is likely not meant: an adversary without a radius or that cannot cross its ball, as
    where a step's length stands for its share, and a handover behind the last epoch."""
    if recipe.adversary is not None and recipe.best == "auto" and "clean" in recipe.criterion:
        log.warning("the adversary states no radius: the best epoch is chosen by clean accuracy; "
                    "say watch=Watch(radius=...) for PGD's")  # fmt: skip
    objective = recipe.objective
    if isinstance(objective, feedback.Handover) and objective.at >= recipe.epochs:
        log.warning("objective.at=%d: the second objective does not come in %d epochs",
                    objective.at, recipe.epochs)  # fmt: skip
    way = attack.share_crossed(recipe.adversary)
    if 0 < way < SHORT:
        log.warning(
            "all steps of the adversary together cross %.0f%% of its radius: take more, or a "
            "longer rel_stepsize, which is a share of the radius and no length", 100 * way,
        )  # fmt: skip


def _as_values(found: Any, taken: int = 3, offered: Sequence[str] = ()) -> Any:
    """A function as a value, and so those within objectives and attacks of holdfast: their options
    are written down."""
    if type(found) not in OURS:
        return own.as_settings(found, taken, offered)
    held = {name: getattr(found, name) for name in FUNCTIONS if hasattr(found, name)}
    made = {name: _as_values(one, FUNCTIONS[name]) for name, one in held.items()}
    changed = {name: one for name, one in made.items() if one is not held[name]}
    return replace(found, **changed) if changed else found
