"""The training loop: epochs of steps, a look at the result after each, a checkpoint."""

import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from holdfast import attack, feedback, noise, own, record
from holdfast import team as teams
from holdfast.data import Augment, Dataset
from holdfast.engine import choose_engine
from holdfast.feedback import CrossEntropy
from holdfast.result import Trained
from holdfast.training import checkpoint, folder
from holdfast.training.checkpoint import Session
from holdfast.training.guard import ROLLBACKS, Guard, hardened
from holdfast.training.job import (
    Job,
    Tell,
    Tick,
    as_network,
    epoch_of,
    make_job,
    make_session,
    require_batches,
)
from holdfast.training.optimizer import AdamW, Optimizer
from holdfast.training.perturb import AWP
from holdfast.training.recipe import Adversarial, Recipe, Watch, require_values
from holdfast.training.rehearsal import rehearse_model, rehearse_update
from holdfast.training.schedule import Constant, Schedule
from holdfast.training.step import Bench, Tally, step
from holdfast.training.watching import collapse
from holdfast.training.watching import watch as watch_model
from holdfast.types import Attack, Objective

log = logging.getLogger("holdfast")


class Diverged(RuntimeError):
    """Training reached a loss that is no number; the last checkpoint is from before."""


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
    awp: AWP = AWP(),  # noqa: B008
    guard: Guard = Guard(),  # noqa: B008
    watch: Watch = Watch(),  # noqa: B008
    best: Literal["auto", "clean", "robust"] = "auto",
    keep_every: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: str = "auto",
    processes: int = 1,
    seed: int = 0,
    out: Path | str | None = None,
    resume: bool | Literal["auto"] = False,
    force: bool = False,
    tick: Tick | None = None,
    tell: Tell | None = None,
) -> Trained:
    """Train a classifier in place and say how it went.

    The model is left with its last weights (averaged ones are `Trained.averaged`); those of the
    best epoch are in `out/checkpoints/best`, for `holdfast.model.load`.

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
        ema: decay of a moving average of the weights per update, smaller in the first updates;
            where given, the averaged weights are measured and kept, the raw ones measured too.
        awp: adversarial weight perturbation; off by default.
        guard: when to stop early, or to roll back.
        watch: what is measured after each epoch.
        best: checkpoints are chosen by clean or PGD-10 accuracy on the validation split; auto:
            robust where there is an adversary with a radius, or `watch.radius`.
        keep_every: keep the checkpoint of every so many epochs; 0: only last and best.
        precision: of matrix products; auto measures which is faster here.
        device: cpu, cuda, cuda:1, ...; auto: the GPU where there is one.
        processes: that share each batch; more than one run the same command again (extra `scale`),
            on CPUs or on a GPU each. Under torchrun its own number counts.
        seed: of everything random; also see the seeds of objective and adversary.
        out: run folder; None: nothing is written.
        resume: continue the run in `out` with the settings it was started with; auto: where there
            is one, else begin it.
        force: replace the run in `out`.
        tick: called after each step with (epoch, steps done, steps in the epoch).
        tell: called after each epoch with its row of metrics.

    Raises BadInput for settings that make no sense, an existing `out`, or a resume with other
    settings; Diverged where the loss is no number any more; OSError where the disk is full.
    """
    require_values(
        data=data, objective=objective, adversary=adversary, adversarial=adversarial,
        optimizer=optimizer, schedule=schedule, augment=augment, awp=awp, guard=guard, watch=watch,
    )  # fmt: skip
    recipe = Recipe(
        objective=feedback.suited(objective, data.train.counts(data.classes)),
        adversary=own.valued(adversary, 3, attack.FILLED), adversarial=adversarial,
        epochs=epochs, batch_size=batch_size,
        optimizer=optimizer, schedule=schedule, augment=augment, clip=clip, ema=ema, awp=awp,
        guard=guard, watch=watch, best=best, keep_every=keep_every, precision=precision,
        device=device, seed=seed,
    )  # fmt: skip
    network = as_network(model, data)
    rehearse_model(network, data)
    run = None if out is None else Path(out)
    team = teams.join(processes, device)
    run = team.same(run)
    going_on, replaced = team.same(folder.settled(run, resume, force))
    recipe = folder.prepare(run, recipe, data, network, going_on, replaced)
    engine = choose_engine(network, data.image, recipe.precision, team.device or recipe.device)
    recipe = replace(recipe, precision=team.same(engine.precision))
    engine = replace(engine, precision=recipe.precision)
    require_batches(network, recipe, team, len(data.train))
    job = make_job(recipe, engine, team, data, run, tick, tell)
    session = make_session(network, recipe, engine, team)
    rehearse_update(_bench(job, session), next(epoch_of(job, 0)))
    with folder.opened(run, recipe, data, session, going_on, replaced, team):
        return _fit(job, session)


def _fit(job: Job, session: Session) -> Trained:
    history = job.team.same(record.rows(job.run / "metrics.jsonl") if job.run else [])
    stopped = _tired(job, session, history)
    while session.epoch < job.recipe.epochs and not stopped:
        before = checkpoint.snapshot(session) if job.recipe.guard.rolls_back else None
        row = _epoch(job, session)
        session.epoch += 1
        row |= _look(job, session)
        alarm = job.recipe.guard.alarm(row, history)
        if alarm and before and session.rollbacks < ROLLBACKS:
            _roll_back(job, session, before, alarm)
            continue
        stopped = _judge(job, row, history, alarm)
        history.append(row)
        _keep(job, session, row)
        stopped = stopped or _tired(job, session, history)
    if stopped and job.team.leads:
        log.warning("stopped after epoch %d: %s", session.epoch, stopped)
    return Trained(
        history=tuple(history), best_epoch=session.best_epoch, criterion=job.recipe.criterion,
        precision=job.engine.precision, averaged=session.ema, folder=job.run, stopped=stopped,
    )  # fmt: skip


def _roll_back(job: Job, session: Session, before: checkpoint.Snapshot, alarm: str) -> None:
    """The session as it was before this epoch, with a harder adversary for what follows."""
    epoch = session.epoch
    checkpoint.roll_back(session, before)
    session.rollbacks += 1
    if job.team.leads:
        now = _adversary(job, session)
        log.warning(
            "epoch %d: %s; done again with %d steps", epoch, alarm, getattr(now, "steps", 1)
        )


def _tired(job: Job, session: Session, history: list[record.Row]) -> str | None:
    """Why to stop, where nothing better came in time; only a measurement can say so."""
    if not history or job.recipe.criterion not in history[-1]:
        return None
    return job.recipe.guard.tired(session.epoch, session.best_epoch)


def _judge(job: Job, row: record.Row, history: list[record.Row], alarm: str | None) -> str | None:
    """Warnings of this epoch, in its row and aloud; the reason to stop, if there is one."""
    if alarm:
        row["warning"] = alarm
        if job.team.leads:
            log.warning("epoch %d: %s", row["epoch"], alarm)
        return alarm if job.recipe.guard.catastrophe != "warn" else None
    _warn_of_collapse(job, row, history)
    return None


def _epoch(job: Job, session: Session) -> record.Row:
    """One pass over the training images; its means, per image or per update."""
    recipe, epoch, steps = job.recipe, session.epoch, job.per_epoch
    bench = _bench(job, session)
    zero = torch.zeros((), device=job.engine.device)
    tally, share, rate = Tally(loss=zero, norm=zero), 0.0, 0.0
    start = time.perf_counter()
    on_gpu = [job.engine.device] if job.engine.device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu):
        noise.settle(noise.scramble(recipe.seed, noise.Stream.DROPOUT, epoch, *job.team.others))
        session.model.train()
        for done, batch in enumerate(epoch_of(job, epoch)):
            share = recipe.adversarial.share(epoch + done / steps)
            rate = _set_rate(job, session)
            found = step(bench, batch, share, batch.index + epoch * job.positions, session.state)
            tally.add(found)
            session.state = found.state
            session.updates += 1
            if session.ema is not None and recipe.ema is not None:
                checkpoint.average(session.ema, session.model, recipe.ema, session.updates)
            if job.tick and job.team.leads:
                job.tick(epoch, done + 1, steps)
    images = len(job.data.train)
    means = tally.means(images, steps, job.team)
    seconds = time.perf_counter() - start
    row = {"epoch": epoch + 1} | means | {
        "rate": rate, "radius_share": share, "seconds": seconds,
        "images_per_second": images / seconds,
    }  # fmt: skip
    _check_finite(row, session)
    return row


def _check_finite(row: record.Row, session: Session) -> None:
    if not math.isfinite(row["loss"] + row["gradient_norm"]):
        raise Diverged(
            f"the loss became {row['loss']}, its gradient {row['gradient_norm']} in epoch "
            f"{row['epoch']}; the last checkpoint is of "
            f"epoch {session.epoch}; lower optimizer.rate, or set clip"
        )


def _bench(job: Job, session: Session) -> Bench:
    return Bench(
        model=session.model, optimizer=session.optimizer, recipe=job.recipe, engine=job.engine,
        adversary=_adversary(job, session), team=job.team,
    )  # fmt: skip


def _adversary(job: Job, session: Session) -> Attack | None:
    """The recipe's adversary, hardened once for each time the guard rolled back."""
    adversary = job.recipe.adversary
    return adversary if adversary is None else hardened(adversary, session.rollbacks)


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
    attacked = session.epoch % recipe.watch.every == 0 or session.epoch == recipe.epochs
    watching = (job.watched, recipe, job.engine, job.team, session.epoch - 1, attacked)
    row: record.Row = {**watch_model(session.judged, *watching)}
    if session.ema is not None:  # the raw weights, beside the averaged ones
        held = {"validation": job.watched["validation"]}
        raw = watch_model(session.model, held, *watching[1:])
        row |= {f"raw_{name}": value for name, value in raw.items()}
    if session.rollbacks:
        row["rollbacks"] = session.rollbacks
    warning = collapse(row["validation_largest_class"], job.watched["validation"], job.data.classes)
    if warning:
        row["warning"] = warning
    return row


def _warn_of_collapse(job: Job, row: record.Row, before: list[record.Row]) -> None:
    """Say a collapse aloud at its second epoch, or at the end: many good runs begin with one."""
    streak = ["warning" in past for past in before[-2:]]
    second = streak in ([True], [False, True])
    if job.team.leads and "warning" in row and (second or row["epoch"] == job.recipe.epochs):
        log.warning("epoch %d: %s", row["epoch"], row["warning"])


def _keep(job: Job, session: Session, row: record.Row) -> None:
    """Remember the best, write the row, then the checkpoint: a row without one is dropped later."""
    reached = row.get(job.recipe.criterion)
    if reached is not None and reached > session.best:
        session.best, session.best_epoch = reached, session.epoch
    if job.run is not None and job.team.leads:
        record.append(job.run / "metrics.jsonl", row)
        checkpoint.save(session, job.run, job.data.name, job.recipe.keep_every)
    if job.tell:
        job.tell(row)
