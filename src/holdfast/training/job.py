"""What a run is set up from: the job, which stays the same, and the session, which changes."""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast import model as models
from holdfast import record
from holdfast.data import Dataset, Split, batches
from holdfast.engine import Engine
from holdfast.errors import BadInput, cause
from holdfast.team import Team
from holdfast.training.checkpoint import Session
from holdfast.training.recipe import Recipe
from holdfast.types import Batch

log = logging.getLogger("holdfast")
OnStep = Callable[[int, int, int], None]
OnEpoch = Callable[[record.Row], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingJob:
    """What stays the same while a run goes on.

    on_step, on_epoch: see `train`.
    """

    recipe: Recipe
    engine: Engine
    team: Team
    data: Dataset
    watched: dict[str, Split]
    run: Path | None
    on_step: OnStep | None
    on_epoch: OnEpoch | None

    @cached_property
    def positions(self) -> int:
        """One more than the largest index of a training image."""
        return int(self.data.train.index.max()) + 1

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.data.train) / self.recipe.batch_size)


def as_network(model: nn.Module, data: Dataset) -> models.Network:
    """The model as one that can be saved; a module of the user's own shares its weights.

    Raises BadInput where it does not fit the data.
    """
    if isinstance(model, models.Network):
        wanted, got = (data.image, data.classes), (model.card.image, model.card.classes)
        if wanted != got:
            raise BadInput(
                f"expected a model for images {wanted[0]} and {wanted[1]} classes, got "
                f"one for {got[0]} and {got[1]}; create it with data.image, data.classes"
            )
        return model
    kind = type(model)
    card = models.Card(
        architecture=f"{kind.__module__}:{kind.__qualname__}",
        image=data.image,
        classes=data.classes,
    )
    return models.Network(model, card)


def make_job(
    recipe: Recipe, engine: Engine, team: Team, data: Dataset, run: Path | None,
    on_step: OnStep | None, on_epoch: OnEpoch | None,
) -> TrainingJob:  # fmt: skip
    """The job, its data on the engine's device."""
    data = data.to(engine.device)
    splits = {"train": data.train, "validation": data.validation}
    watched = {k: s.sample(min(recipe.watch.images, len(s))) for k, s in splits.items()}
    return TrainingJob(
        recipe=recipe, engine=engine, team=team, data=data, watched=watched, run=run,
        on_step=on_step, on_epoch=on_epoch if team.leads else None,
    )  # fmt: skip


def require_batches(network: nn.Module, recipe: Recipe, team: Team, images: int) -> None:
    """Raises BadInput where the last batch of so many images cannot be shared out, and where batch
    normalisation would meet one image."""
    last = images % recipe.batch_size or recipe.batch_size
    if last < team.size:
        raise BadInput(
            f"expected an image for each of {team.size} processes in every batch, got {last} in "
            "the last one; take another batch_size"
        )
    if last // team.size == 1 and any(isinstance(part, _BatchNorm) for part in network.modules()):
        raise BadInput(
            f"expected 2 images or more for batch normalisation, got 1 of {images} in the last "
            f"batch of {recipe.batch_size}; take another batch_size"
        )


def make_session(network: models.Network, recipe: Recipe, engine: Engine, team: Team) -> Session:
    """The start of a run: the network on its device, the same in all processes, its averaged twin,
    a fresh optimiser. Raises BadInput for a twin of a network that cannot be copied."""
    engine.place(network)
    team.broadcast([*network.parameters(), *network.buffers()])
    try:
        averaged = None if recipe.ema is None else copy.deepcopy(network).requires_grad_(False)
    except (RuntimeError, TypeError) as error:  # as for tensors with a history, or locks
        raise BadInput(
            f"expected a model that can be copied for ema={recipe.ema}, got: "
            f"{cause(error)}; leave ema out"
        ) from error
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return Session(network, averaged, recipe.optimizer.build(weights), {})


def epoch_of(job: TrainingJob, epoch: int) -> Iterator[Batch]:
    """This process's images of each batch of an epoch."""
    found = batches(
        job.data.train, job.recipe.batch_size, epoch=epoch, seed=job.recipe.seed,
        augment=job.recipe.augment, channels_last=job.engine.channels_last,
        part=(job.team.rank, job.team.size),
    )  # fmt: skip
    return (replace(batch, positions=job.positions) for batch in found)
