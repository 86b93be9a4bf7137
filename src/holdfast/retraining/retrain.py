"""Measure margins, generate examples beyond the boundary, train on them too, measure again."""

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast import engine, noise, record
from holdfast import model as models
from holdfast import team as teams
from holdfast.data import Dataset, Split
from holdfast.errors import BadInput, require_value
from holdfast.feedback import Boundary
from holdfast.limits import COUNT, SHARE, require_range
from holdfast.loss import is_correct
from holdfast.margin import Gradient, Margins, Orthonormal
from holdfast.result import fraction
from holdfast.retraining import folder as folders
from holdfast.retraining.examples import examples, mixed
from holdfast.retraining.probe import Probe
from holdfast.retraining.rounds import Retrained, Round
from holdfast.team import Team
from holdfast.training import Recipe, as_network, rehearse, train
from holdfast.types import Progress, device_of

JUDGE = Probe(images=200, directions=Orthonormal(count=50))
ALIKE = 1 - 1e-5  # cosine of two directions that are the same
log = logging.getLogger("holdfast")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Retraining:
    """What all rounds share."""

    data: Dataset
    images: Split
    judges: Split
    feedback: Boundary
    probe: Probe
    judge: Probe
    max_drop: float
    start: str | None
    reuse: bool
    seed: int
    folder: Path | None
    progress: Progress | None
    team: Team
    training: Mapping[str, Any]


def retrain(
    model: nn.Module,
    data: Dataset,
    *,
    feedback: Boundary = Boundary(),  # noqa: B008
    probe: Probe = Probe(),  # noqa: B008
    judge: Probe = JUDGE,
    rounds: int = 1,
    reuse: bool = False,
    max_drop: float = 0.01,
    seed: int = 0,
    out: Path | str | None = None,
    force: bool = False,
    processes: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
    **training: Any,
) -> Retrained:
    """Boundary feedback (Song et al. 2019, arXiv 1909.05443, Algorithm 1), in rounds, in place.

    Each round measures the margins of training images, generates examples beyond the boundary,
    and trains the trained model further on them and all training images. It is judged on held-out
    images along fresh directions, and undone where clean accuracy on the whole validation split
    fell by more than `max_drop` or the mean margin did not grow; then no further round is begun.

    Args:
        model: trained; any torch module from images to logits.
        data: its data set.
        feedback: which images give examples, and where.
        probe: how the margins of training images are measured.
        judge: how those of validation images are, which judge a round.
        rounds: at most so many.
        reuse: later rounds draw their examples from the margins of the first, as the paper allows;
            False: from a fresh search.
        max_drop: how much clean accuracy on the validation split one round may cost, a share.
        seed: of directions, examples and training.
        out: run folder; each round is a run folder within it, and its checkpoints those of the
            last round that was kept. A killed call that is made again with the same settings goes
            on behind the last piece of its search, or the last epoch of its training.
        force: replace what is there; after a kill the search resumes and the training restarts.
        processes: that share each search and each batch, as in `holdfast.train`.
        device: to train on, as there.
        progress: called after each piece of a search with ("search", images done, images).
        training: further settings of `holdfast.train`, such as objective, adversary, epochs.

    Raises BadInput for settings that make no sense, an existing `out`, or where no ray crosses a
    boundary from the first (later, the rounds end there); the model has the weights of the last
    round that was kept, whatever is raised while another is made; see also `holdfast.train` and
    `holdfast.margin.search`.
    """
    _require_kinds(model, data, feedback, probe, judge)
    require_range("rounds", rounds, COUNT)
    require_range("max_drop", max_drop, SHARE)
    _require_fitting(data, probe, reuse and rounds > 1)
    team = teams.join(processes, device)
    _require_training(model, data, training | {"device": device}, team)
    model.to(engine.find_device(team.device or device))
    job = _Retraining(
        data=data, images=probe.sample(data.train), judges=judge.sample(data.validation),
        feedback=noise.seeded(feedback, seed), probe=probe, judge=judge, max_drop=max_drop,
        reuse=reuse, seed=seed, start=_start(model), folder=None if out is None else Path(out),
        progress=progress, team=team, training={**training, "device": device},
    )  # fmt: skip
    judge.require(model, job.judges)
    _warn_of_known_directions(model, job)
    with folders.opened(job.folder, force, team):
        return _retrained(job, model, rounds)


def _retrained(job: _Retraining, model: nn.Module, rounds: int) -> Retrained:
    """The rounds themselves."""
    measured, drawn, done = None, 0, []
    for number in range(rounds):
        if measured is None or not job.reuse:
            drawn = noise.scramble(job.seed, noise.Stream.DRAWN, number)
            drafts = job.folder and folders.drafts(job.folder)
            measured = job.probe(model, job.images, drawn, drafts, job.progress, job.team.size)
        if done and not ((measured.entered >= 0) & (measured.distance > 0)).any():
            log.info("no ray crosses a boundary any more: no round %d", number + 1)
            break
        done.append(_round(job, model, number, measured, drawn))
        _recorded(job, done)
        if not done[-1].kept:
            break
    if job.folder and job.team.leads:
        folders.cleared(job.folder)
    return Retrained(rounds=tuple(done), folder=job.folder)


def _require_kinds(model: Any, data: Any, feedback: Any, probe: Any, judge: Any) -> None:
    for name, value, example, kind in (
        ("model", model, "model.create('gupta_cnn')", nn.Module),
        ("data", data, "data.load('digits')", Dataset),
        ("feedback", feedback, "feedback.Boundary()", Boundary),
        ("probe", probe, "retraining.Probe()", Probe),
        ("judge", judge, "retraining.Probe()", Probe),
    ):  # fmt: skip
        require_value(name, value, example, kind)


def _require_fitting(data: Dataset, probe: Probe, reuse: bool) -> None:
    """Raises BadInput for a probe whose margins no example can be made from, or no second round,
    and for data that cannot judge."""
    if reuse and isinstance(probe.directions, Gradient):
        raise BadInput(
            "expected directions that do not depend on the model with reuse, got gradient; they "
            "are others once it is trained"
        )
    if not probe.clip:
        raise BadInput(
            "expected a probe with clip, as examples lie in the pixel box, got none; what lies "
            "beyond the boundary outside may not inside"
        )
    if not len(data.validation):
        raise BadInput("expected validation images, which judge each round, got none")


def _warn_of_known_directions(model: nn.Module, job: _Retraining) -> None:
    """Say it where the judge's directions are those that examples come from, since families such as
    low_frequency know no chance."""
    given, seen = (
        probe.shared(model, job.judges, seed) for seed, probe in enumerate((job.probe, job.judge))
    )
    if given is None or seen is None or not job.team.leads:
        return
    if ((seen @ given.T).abs().amax(1) > ALIKE).all():
        log.warning(
            "rounds are judged along directions that examples come from, since %s has no others; "
            "give the judge other ones, such as orthonormal",
            getattr(job.judge.directions, "name", "that family"),
        )


def _start(model: nn.Module) -> str | None:
    """The checkpoint that the command line has read the model from."""
    return model.card.provenance.get("start") if isinstance(model, models.Network) else None


def _require_training(
    model: nn.Module, data: Dataset, training: Mapping[str, Any], team: Team
) -> None:
    """Raises BadInput for settings of training that make no sense, before a search is begun."""
    if "resume" in training:
        raise BadInput("expected retrain without resume, got it; the same call again goes on")
    held = inspect.signature(train).bind(model, data, **training)
    held.apply_defaults()
    rehearse(model, data, team, **{one.name: held.arguments[one.name] for one in fields(Recipe)})


def _round(job: _Retraining, model: nn.Module, number: int, measured: Margins, drawn: int) -> Round:
    """Examples from these margins, training with them, and the judgement; undone if not kept."""
    feedback = replace(job.feedback, seed=noise.scramble(job.feedback.seed, number))
    made = examples(model, job.images, measured, job.probe.directions, feedback, drawn)
    fresh = noise.scramble(job.seed, noise.Stream.JUDGED, number)
    judged = partial(job.judge, model, job.judges, fresh, processes=job.team.size)
    before, accuracy = judged(), _accuracy(model, job.data.validation)
    with _undone(model) as weights:
        trained = train(
            model, mixed(job.data, made), seed=(job.seed + number) % noise.SEEDS,
            processes=job.team.size, out=job.folder and job.folder / f"round-{number + 1}",
            resume="auto", **job.training,
        )  # fmt: skip
        if trained.averaged is not None:
            as_network(model, job.data).load_state_dict(trained.averaged.state_dict())
        found = Round(
            examples=made.counts(job.data.classes), measured=measured, before=before,
            after=judged(), clean=(accuracy, _accuracy(model, job.data.validation)),
            trained=trained, max_drop=job.max_drop,
        )  # fmt: skip
    if found.kept:  # what was judged is the best
        return replace(found, trained=replace(trained, best_epoch=len(trained.history)))
    model.load_state_dict(weights)
    if job.team.leads:
        log.warning("round %d undone: %s", number + 1, found.fault)
    return found


@contextmanager
def _undone(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The weights as they are, which the model gets back if anything is raised meanwhile."""
    weights = copy.deepcopy(model.state_dict())
    try:
        yield weights
    except BaseException:
        model.load_state_dict(weights)
        raise


def _accuracy(model: nn.Module, split: Split) -> float:
    """Clean accuracy, a share."""
    where = device_of(model, torch.device("cpu"))
    logits = models.predict(model, split.x.to(where)).cpu()
    return fraction(is_correct(logits, split.y.cpu()))


def _recorded(job: _Retraining, done: list[Round]) -> None:
    """A row for the last round; where it was kept, its checkpoints and settings are the run's."""
    if job.folder and job.team.leads:
        _written(job.folder, job, done)
        folders.settled(job.folder)
    job.team.barrier()  # no process goes on to write what another removes


def _written(folder: Path, job: _Retraining, done: list[Round]) -> None:
    """What `_recorded` says, by the process that leads."""
    about = record.provenance(
        round=len(done), feedback=job.feedback, probe=job.probe, judge=job.judge,
        max_drop=job.max_drop, reuse=job.reuse, seed=job.seed, start=job.start,
        images=len(job.images),
        data=job.data.name,
    )  # fmt: skip
    if len(record.rows(folder / record.ROUNDS)) < len(done):  # else a killed call has written it
        record.append(folder / record.ROUNDS, done[-1].as_dict() | about)
    if done[-1].kept:
        made = folder / f"round-{len(done)}" / record.CHECKPOINTS
        record.link(made / "best", (made / "last").readlink().name)  # what was judged
        for name in (record.CHECKPOINTS, record.CONFIG, record.PROVENANCE, record.METRICS):
            record.link(folder / name, f"round-{len(done)}/{name}")
