"""The training loop: epochs of steps, a look at the result after each, a checkpoint."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from holdfast import model as models
from holdfast import noise, record
from holdfast.data import Augment, Dataset, Split, batches
from holdfast.engine import Engine, choose_engine
from holdfast.errors import BadInput
from holdfast.feedback import CrossEntropy
from holdfast.result import Trained
from holdfast.training import checkpoint, folder
from holdfast.training.checkpoint import Session
from holdfast.training.optimizer import AdamW, Constant, Optimizer, Schedule
from holdfast.training.recipe import Adversarial, Recipe, Watch
from holdfast.training.step import step
from holdfast.training.watching import collapse
from holdfast.training.watching import watch as watch_model
from holdfast.types import Attack, Batch, Objective

DROPOUT = 3  # keeps its seed apart from those of shuffling, actions and attacks
log = logging.getLogger("holdfast")
Tick = Callable[[int, int, int], None]
Tell = Callable[[record.Row], None]


class Diverged(RuntimeError):
    """Training reached a loss that is no number; the last checkpoint is from before."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What stays the same while a run goes on.

    positions: one more than the largest index of a training image.
    """

    recipe: Recipe
    engine: Engine
    data: Dataset
    watched: dict[str, Split]
    run: Path | None
    tick: Tick | None
    tell: Tell | None
    positions: int

    @property
    def per_epoch(self) -> int:
        return math.ceil(len(self.data.train) / self.recipe.batch_size)


def train(
    model: nn.Module,
    data: Dataset,
    *,
    objective: Objective = CrossEntropy(),  # noqa: B008
    adversary: Attack | None = None,
    adversarial: Adversarial = Adversarial(),  # noqa: B008
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer = AdamW(),  # noqa: B008
    schedule: Schedule = Constant(),  # noqa: B008
    augment: Augment = Augment(),  # noqa: B008
    clip: float | None = None,
    ema: float | None = None,
    watch: Watch = Watch(),  # noqa: B008
    best: Literal["auto", "clean", "robust"] = "auto",
    keep_every: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: str = "auto",
    seed: int = 0,
    out: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    tick: Tick | None = None,
    tell: Tell | None = None,
) -> Trained:
    """Train a classifier in place and say how it went.

    Args:
        model: any torch module from images `[batch, channel, height, width]` to logits.
        data: what `holdfast.data.load` gives.
        objective: what is minimised.
        adversary: attack that makes the training images adversarial; None: clean training.
        adversarial: how those images enter training.
        epochs: passes over the training images.
        batch_size: images per update.
        optimizer: with its learning rate.
        schedule: the rate over time.
        augment: random changes of the training images.
        clip: largest norm of the gradient; None: not clipped.
        ema: decay of a moving average of the weights per update; where given, the averaged
            weights are measured and kept.
        watch: what is measured after each epoch.
        best: checkpoints are chosen by clean or PGD-10 accuracy on the validation split; auto:
            robust where there is an adversary.
        keep_every: keep the checkpoint of every so many epochs; 0: only last and best.
        precision: of matrix products; auto measures which is faster here.
        device: cpu, cuda, cuda:1, ...; auto: the GPU where there is one.
        seed: of everything random; also see the seeds of objective and adversary.
        out: run folder; None: nothing is written.
        resume: continue the run in `out` with the settings it was started with.
        force: replace the run in `out`.
        tick: called after each step with (epoch, steps done, steps in the epoch).
        tell: called after each epoch with its row of metrics.

    Raises BadInput for settings that make no sense, an existing `out`, or a resume with other
    settings; Diverged where the loss is no number any more; OSError where the disk is full.
    """
    recipe = Recipe(
        objective=objective, adversary=adversary, adversarial=adversarial, epochs=epochs,
        batch_size=batch_size, optimizer=optimizer, schedule=schedule, augment=augment, clip=clip,
        ema=ema, watch=watch, best=best, keep_every=keep_every, precision=precision,
        device=device, seed=seed,
    )  # fmt: skip
    network = as_network(model, data)
    run = None if out is None else Path(out)
    recipe = folder.prepare(run, recipe, data, network, resume, force)
    engine = choose_engine(network, data.image, recipe.precision, recipe.device)
    recipe = replace(recipe, precision=engine.precision)
    job = _job(recipe, engine, data, run, tick, tell)
    session = _session(network, recipe, engine)
    _rehearse(job, session)
    if run is not None:
        folder.open_run(run, recipe, data, session, resume)
    return _fit(job, session)


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


def _job(
    recipe: Recipe, engine: Engine, data: Dataset, run: Path | None,
    tick: Tick | None, tell: Tell | None,
) -> Job:  # fmt: skip
    data = data.to(engine.device)
    splits = {"train": data.train, "validation": data.validation}
    watched = {k: s.sample(min(recipe.watch.images, len(s))) for k, s in splits.items()}
    return Job(
        recipe=recipe, engine=engine, data=data, watched=watched, run=run, tick=tick, tell=tell,
        positions=int(data.train.index.max()) + 1,
    )  # fmt: skip


def _session(network: models.Network, recipe: Recipe, engine: Engine) -> Session:
    engine.place(network)
    averaged = None if recipe.ema is None else copy.deepcopy(network).requires_grad_(False)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return Session(network, averaged, recipe.optimizer.build(weights), {})


def _rehearse(job: Job, session: Session) -> None:
    """Two images all the way to their logits, so that what cannot work fails before anything is
    written. Raises BadInput where the model's answer is not `[batch, classes]`."""
    batch = next(iter(_batches(job, 0)))
    with torch.no_grad(), models.lent(session.model):
        logits = session.model(batch.x[:2])
    wanted = (len(batch.x[:2]), job.data.classes)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise BadInput(f"expected logits of shape {wanted} from the model, got {got}")


def _fit(job: Job, session: Session) -> Trained:
    history = record.rows(job.run / "metrics.jsonl") if job.run else []
    while session.epoch < job.recipe.epochs:
        row = _epoch(job, session)
        if not math.isfinite(row["loss"] + row["gradient_norm"]):
            raise Diverged(
                f"the loss became {row['loss']}, its gradient {row['gradient_norm']} in epoch "
                f"{row['epoch']}; the last checkpoint is of "
                f"epoch {session.epoch}; lower optimizer.rate, or set clip"
            )
        session.epoch += 1
        row |= _look(job, session)
        _warn(job, row, history)
        history.append(row)
        _keep(job, session, row)
    return Trained(
        history=tuple(history), best_epoch=session.best_epoch, criterion=job.recipe.criterion,
        precision=job.engine.precision, averaged=session.ema, folder=job.run,
    )  # fmt: skip


def _epoch(job: Job, session: Session) -> record.Row:
    """One pass over the training images; its means, per image or per update."""
    recipe, epoch, steps = job.recipe, session.epoch, job.per_epoch
    total_loss = total_norm = torch.zeros((), device=job.engine.device)
    share = rate = 0.0
    start = time.perf_counter()
    on_gpu = [job.engine.device] if job.engine.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu):
        torch.manual_seed(noise.scramble(recipe.seed, DROPOUT, epoch))
        session.model.train()
        for done, batch in enumerate(_batches(job, epoch)):
            share = recipe.adversarial.share(epoch + done / steps)
            rate = _set_rate(job, session)
            visit = batch.index + epoch * job.positions
            loss, norm, session.state = step(
                session.model, batch, recipe, job.engine, session.optimizer, share, visit,
                session.state,
            )  # fmt: skip
            session.updates += 1
            if session.ema is not None and recipe.ema is not None:
                checkpoint.average(session.ema, session.model, recipe.ema)
            total_loss, total_norm = total_loss + loss.sum(), total_norm + norm
            if job.tick:
                job.tick(epoch, done + 1, steps)
    images = len(job.data.train)
    mean_loss = (total_loss / images).item()  # waits for the GPU, so that the clock is right
    seconds = time.perf_counter() - start
    return {
        "epoch": epoch + 1, "loss": mean_loss, "gradient_norm": (total_norm / steps).item(),
        "rate": rate, "radius_share": share, "seconds": seconds,
        "images_per_second": images / seconds,
    }  # fmt: skip


def _batches(job: Job, epoch: int) -> Iterator[Batch]:
    return batches(
        job.data.train, job.recipe.batch_size, epoch=epoch, seed=job.recipe.seed,
        augment=job.recipe.augment, channels_last=job.engine.channels_last,
    )  # fmt: skip


def _set_rate(job: Job, session: Session) -> float:
    total = job.per_epoch * job.recipe.epochs
    factor = job.recipe.schedule(session.updates, job.per_epoch, total)
    rate = factor * job.recipe.optimizer.rate
    for group in session.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _look(job: Job, session: Session) -> record.Row:
    """Measure the model after an epoch; a collapse is noted in the row."""
    recipe = job.recipe
    full = session.epoch % recipe.watch.every == 0 or session.epoch == recipe.epochs
    row: record.Row = {**watch_model(session.judged, job.watched, recipe, job.engine, full)}
    warning = collapse(row["validation_largest_class"], job.watched["validation"], job.data.classes)
    if warning:
        row["warning"] = warning
    return row


def _warn(job: Job, row: record.Row, before: list[record.Row]) -> None:
    """Say a collapse aloud at its second epoch, or at the end: many good runs begin with one."""
    streak = ["warning" in past for past in before[-2:]]
    second = streak in ([True], [False, True])
    if "warning" in row and (second or row["epoch"] == job.recipe.epochs):
        log.warning("epoch %d: %s", row["epoch"], row["warning"])


def _keep(job: Job, session: Session, row: record.Row) -> None:
    """Remember the best, write the row, then the checkpoint: a row without one is dropped later."""
    reached = row.get(job.recipe.criterion)
    if reached is not None and reached > session.best:
        session.best, session.best_epoch = reached, session.epoch
    if job.run is not None:
        record.append(job.run / "metrics.jsonl", row)
        checkpoint.save(session, job.run, job.data.name, job.recipe.keep_every)
    if job.tell:
        job.tell(row)
