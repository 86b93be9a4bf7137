"""One epoch: its steps, and what they come to."""

import math
import time

import torch

from holdfast import noise, record
from holdfast.training import checkpoint
from holdfast.training.checkpoint import Session
from holdfast.training.guard import hardened
from holdfast.training.job import TrainingJob, epoch_of
from holdfast.training.step import StepContext, Tally, step
from holdfast.types import Attack


class Diverged(RuntimeError):
    """Training reached a loss that is no number; the last checkpoint is from before."""


def run_epoch(job: TrainingJob, session: Session) -> record.Row:
    """One pass over the training images; its means, per image or per update."""
    recipe, done, steps = job.recipe, session.epoch, job.per_epoch
    context = step_context(job, session)
    present = recipe.adversary is not None
    zero = torch.zeros((), device=job.engine.device)
    tally, share, rate = Tally(loss=zero, norm=zero), 0.0, 0.0
    start = time.perf_counter()
    with noise.forked(job.engine.device):
        noise.settle(noise.scramble(recipe.seed, noise.Stream.DROPOUT, done, *job.team.others))
        session.model.train()
        for i, batch in enumerate(epoch_of(job, done)):
            share = recipe.adversarial.share(done + i / steps) if present else 1.0
            rate = _set_rate(job, session)
            found = step(context, batch, share, session.state)
            tally.add(found)
            session.state = found.state
            session.updates += 1
            if session.ema is not None and recipe.ema is not None:
                checkpoint.average(session.ema, session.model, recipe.ema, session.updates)
            if job.on_step and job.team.leads:
                job.on_step(done, i + 1, steps)
    images = len(job.data.train)
    means = tally.means(images, steps, job.team)
    seconds = time.perf_counter() - start
    row = {"epoch": done + 1} | means | {
        "lr": rate, "radius_share": share, "seconds": seconds,
        "images_per_second": images / seconds,
    }  # fmt: skip
    _check_finite(row, session)
    return row


def _check_finite(row: record.Row, session: Session) -> None:
    if not math.isfinite(row["loss"] + row["gradient_norm"]):
        raise Diverged(
            f"the loss became {row['loss']}, its gradient {row['gradient_norm']} in epoch "
            f"{row['epoch']}; the last checkpoint is of "
            f"epoch {session.epoch}; lower optimizer.lr, or set clip"
        )


def step_context(job: TrainingJob, session: Session) -> StepContext:
    """What the steps of the coming epoch work with."""
    return StepContext(
        model=session.model, optimizer=session.optimizer, recipe=job.recipe, engine=job.engine,
        adversary=noise.reseeded(present_adversary(job, session), session.epoch), team=job.team,
    )  # fmt: skip


def present_adversary(job: TrainingJob, session: Session) -> Attack | None:
    """The recipe's adversary, hardened once for each time the guard rolled back."""
    own = job.recipe.adversary
    if own is None:
        return None
    return noise.seeded(hardened(own, session.rollbacks), job.recipe.seed)


def _set_rate(job: TrainingJob, session: Session) -> float:
    total = job.per_epoch * job.recipe.epochs
    factor = job.recipe.schedule(session.updates, job.per_epoch, total)
    rate = factor * job.recipe.optimizer.lr
    for group in session.optimizer.param_groups:
        group["lr"] = rate
    return rate
