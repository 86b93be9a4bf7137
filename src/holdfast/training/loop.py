"""The training loop: epochs of steps, a look at the result after each, a checkpoint."""

import logging
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from holdfast import record
from holdfast import team as teams
from holdfast.data import Augment, Dataset
from holdfast.feedback import CrossEntropy
from holdfast.result import Trained
from holdfast.training import checkpoint, folder
from holdfast.training.checkpoint import Session
from holdfast.training.epoch import present_adversary, run_epoch
from holdfast.training.guard import ROLLBACKS, Guard, attacked
from holdfast.training.job import (
    OnEpoch,
    OnStep,
    TrainingJob,
    as_network,
    require_batches,
)
from holdfast.training.optimizer import AdamW, Optimizer
from holdfast.training.perturb import AWP
from holdfast.training.ready import recipe_of, set_up, warn_beforehand
from holdfast.training.recipe import Adversarial, Watch
from holdfast.training.rehearsal import rehearse_model
from holdfast.training.schedule import Constant, Schedule
from holdfast.training.watching import collapse, lost_classes
from holdfast.training.watching import measure as watch_model
from holdfast.types import Attack, Objective

log = logging.getLogger("holdfast")


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
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
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
            robust where there is an adversary and its radius or `watch.radius` is known.
        keep_every: keep the checkpoint of every so many epochs; 0: only last and best.
        precision: of matrix products; auto measures which is faster here.
        device: cpu, cuda, cuda:1, ...; auto: the GPU where there is one.
        processes: that share each batch; more than one run the same command again (extra `scale`),
            on CPUs or on a GPU each. Under torchrun its own number counts.
        seed: of everything random; seeds of 0 in objective and adversary become this one too.
        out: run folder; None: nothing is written.
        resume: continue the run in `out` with the settings it was started with; auto: where there
            is one, else begin it.
        force: replace the run in `out`.
        on_step: called after each step with (epoch, steps done, steps in the epoch).
        on_epoch: called after each epoch with its row of metrics.

    Raises BadInput for settings that make no sense, an existing `out`, or a resume with other
    settings; Diverged where the loss is no number any more; OSError where the disk is full.
    """
    recipe = recipe_of(
        data, objective=objective, adversary=adversary, adversarial=adversarial, epochs=epochs,
        batch_size=batch_size, optimizer=optimizer, schedule=schedule, augment=augment, clip=clip,
        ema=ema, awp=awp, guard=guard, watch=watch, best=best, keep_every=keep_every,
        precision=precision, device=device, seed=seed,
    )  # fmt: skip
    network = as_network(model, data)
    rehearse_model(network, data)
    team = teams.join(processes, device)
    run = team.broadcast_object(None if out is None else Path(out))
    team.gather_or_raise(lambda: record.recovered(run) if run and team.leads else None)
    start: folder.Start = team.broadcast_object(folder.entry_mode(run, resume, force))
    recipe = folder.require_resumable(run, recipe, data, network, start)
    require_batches(network, recipe, team, len(data.train))
    recipe, job, session = set_up(network, data, recipe, team, run, on_step, on_epoch)
    if team.leads:
        warn_beforehand(recipe)
    with folder.opened(run, recipe, data, session, start, team):
        return _fit(job, session)


def _fit(job: TrainingJob, session: Session) -> Trained:
    history = job.team.broadcast_object(record.rows(job.run / record.METRICS) if job.run else [])
    stopped = _over(job, session, history)
    while session.epoch < job.recipe.epochs and not stopped:
        before = checkpoint.snapshot(session) if job.recipe.guard.rolls_back else None
        row = run_epoch(job, session)
        session.epoch += 1
        row |= _look(job, session)
        alarm = job.recipe.guard.alarm(row, history)
        if alarm and before and session.rollbacks < ROLLBACKS:
            _roll_back(job, session, before, alarm)
            continue
        _warn(job, row, history, alarm)
        history.append(row)
        _keep(job, session, history)
        stopped = _over(job, session, history)
    if stopped and job.team.leads:
        log.warning("stopped after epoch %d: %s", session.epoch, stopped)
    return Trained(
        history=tuple(history), best_epoch=session.best_epoch, criterion=job.recipe.criterion,
        precision=job.engine.precision, averaged=session.ema, folder=job.run, stopped=stopped,
    )  # fmt: skip


def _roll_back(job: TrainingJob, session: Session, before: checkpoint.Snapshot, alarm: str) -> None:
    """The session as it was before this epoch, with a harder adversary for what follows."""
    epoch = session.epoch
    checkpoint.roll_back(session, before)
    session.rollbacks += 1
    if job.team.leads:
        now = present_adversary(job, session)
        log.warning(
            "epoch %d: %s; done again with %d steps", epoch, alarm, getattr(now, "steps", 1)
        )


def _over(job: TrainingJob, session: Session, history: list[record.Row]) -> str | None:
    """Why to go no further behind these epochs, in this call or in one that resumes the run."""
    guard = job.recipe.guard
    if not attacked(history):
        return None
    if guard.catastrophe != "warn" and (alarm := guard.alarm(history[-1], history[:-1])):
        return alarm
    if job.recipe.criterion not in history[-1]:  # only a measurement can say so
        return None
    return guard.out_of_patience(session.epoch, session.best_epoch)


def _warn(job: TrainingJob, row: record.Row, history: list[record.Row], alarm: str | None) -> None:
    """Warnings of this epoch, in its row and aloud."""
    if not alarm:
        _warn_of_collapse(job, row, history)
        return
    row["warning"] = alarm
    if job.team.leads:
        log.warning("epoch %d: %s", row["epoch"], alarm)


def _look(job: TrainingJob, session: Session) -> record.Row:
    """Measure the model after an epoch; a collapse, or classes lost, are noted in the row."""
    recipe = job.recipe
    due = session.epoch % recipe.watch.every == 0 or session.epoch == recipe.epochs
    watch = partial(
        watch_model, recipe=recipe, engine=job.engine, team=job.team, epoch=session.epoch - 1,
        attacked=due,
    )  # fmt: skip
    row: record.Row = {**watch(session.judged, job.watched)}
    if session.ema is not None:  # the raw weights, beside the averaged ones
        raw = watch(session.model, {"validation": job.watched["validation"]})
        row |= {f"raw_{name}": value for name, value in raw.items()}
    if session.rollbacks:
        row["rollbacks"] = session.rollbacks
    classes, missed = job.data.classes, row.get("validation_missed_classes", 0)
    warning = collapse(row["validation_largest_class"], job.watched["validation"], classes)
    warning = warning or lost_classes(missed, classes)
    if warning:
        row["warning"] = warning
    return row


def _warn_of_collapse(job: TrainingJob, row: record.Row, before: list[record.Row]) -> None:
    """Say a collapse aloud at its second epoch, or at the end: many good runs begin with one."""
    streak = ["warning" in past for past in before[-2:]]
    second = streak in ([True], [False, True])
    if job.team.leads and "warning" in row and (second or row["epoch"] == job.recipe.epochs):
        log.warning("epoch %d: %s", row["epoch"], row["warning"])


def _keep(job: TrainingJob, session: Session, history: list[record.Row]) -> None:
    """Remember the best, write the last row, then the checkpoint: a row without one is dropped
    later. What was best before the adversary came is no longer."""
    row, reached = history[-1], history[-1].get(job.recipe.criterion)
    first = [past["epoch"] for past in attacked(history) if job.recipe.criterion in past][:1]
    if reached is not None and (reached > session.best or first == [row["epoch"]]):
        session.best, session.best_epoch = reached, session.epoch
    if job.run is not None and job.team.leads:
        record.append(job.run / record.METRICS, row)
        checkpoint.save(session, job.run, job.data, job.recipe.keep_every)
    if job.on_epoch:
        job.on_epoch(row)
