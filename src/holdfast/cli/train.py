"""`holdfast train`: options, a new or resumed run, what is said at the end."""

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from holdfast import data as datasets
from holdfast import feedback, own, record, report, team, training
from holdfast import model as models
from holdfast.cli import attacks, show
from holdfast.cli.choices import Slot, build
from holdfast.cli.options import Parsed, parse
from holdfast.errors import BadInput
from holdfast.loss import LossName
from holdfast.model import is_own
from holdfast.record import Row
from holdfast.result import Trained
from holdfast.training import has_no_checkpoint
from holdfast.types import Objective, Reward

ALONE = ("--resume", "--out", "--force", "--weights", "--config", "--precision")
SUPPLIED = frozenset({"model", "data", "resume", "out", "force", "on_step", "on_epoch"})
OBJECTIVE = Slot(
    table=feedback.OBJECTIVES,
    default="ce",
    find=partial(
        own.factory_of,
        what="an objective",
        call=("model", "batch", "state"),
        remedy=", or say --objective loss --objective.loss MODULE:NAME for a loss of (logits, y)",
    ),
    others=("MODULE:NAME",),
)
REWARD = Slot(
    table=feedback.REWARDS,
    default="signed",
    find=partial(own.factory_of, what="a reward", call=("action", "y")),
    others=("MODULE:NAME",),
)
SLOTS = {
    "model": Slot(
        table=models.NETWORKS,
        default="gupta_cnn",
        skip=frozenset({"image", "classes"}),
        find=models.function,
        others=("torchvision:NAME", "timm:NAME", "MODULE:FUNCTION"),
    ),
    "objective": replace(
        OBJECTIVE, inner={Objective: OBJECTIVE, Reward: REWARD, LossName: attacks.LOSS}
    ),
    "adversary": replace(attacks.ATTACK, skip=frozenset()),
    "optimizer": Slot(table=training.OPTIMIZERS, default="adamw"),
    "schedule": Slot(
        table=training.SCHEDULES,
        default="constant",
        find=partial(own.factory_of, what="a schedule", call=("update", "per_epoch", "total")),
        others=("MODULE:NAME",),
    ),
}


def train_options(
    *,
    data: str = "digits",
    data_root: str | None = None,
    image_size: int | None = None,
    normalize: bool | None = None,
    weights: str | None = None,
    out: str | None = None,
    resume: str | None = None,
    force: bool = False,
    tensorboard: bool = False,
    json: bool = False,
) -> None:
    """Train a classifier by reward, by its expectation, or with labels; under attack or not.

    The options of a choice are shown with it: holdfast train --objective reward --help

    Args:
        data: digits, mnist, fashion_mnist, cifar10, cifar100, imagenet100, or of your own
            npz:PATH (arrays) or folder:PATH (class folders of images).
        data_root: folder of the data sets; else HOLDFAST_DATA, else a cache folder.
        image_size: side in pixels to which the images of imagenet100 or a folder are brought; 64
            unless given.
        normalize: the model subtracts the training set's mean and divides by its deviation; by
            default it does, but for a MODULE:FUNCTION of your own, which may do so itself.
        weights: checkpoint folder, such as runs/NAME/checkpoints/best, to start from: a warm start.
        out: run folder; by default runs/ and a readable name.
        resume: run folder of a run to continue with its own settings; one that was stopped before
            its first checkpoint begins again.
        force: replace an existing run folder.
        tensorboard: write the metrics for TensorBoard too, into the run folder.
        json: print the result as JSON.
    """


def train(argv: Sequence[str]) -> None:
    argv, resumed = _resumed(list(argv))
    parsed = parse("train", {train_options: frozenset(), training.train: SUPPLIED}, SLOTS, argv)
    values = parsed.values
    front = {name: values.pop(name) for name in inspect.signature(train_options).parameters}
    data = _data(front, resumed)
    anew = resumed is None or _may_begin_again(Path(resumed))
    model = _new_model(parsed, data, front, anew)
    out = resumed or front["out"] or _fresh_name(parsed, data.name)
    begin = partial(
        training.train, model, data, out=out, force=front["force"],
        resume="auto" if resumed and anew else resumed is not None,
        **values, **{name: build(parsed.slots[name]) for name in SLOTS if name != "model"},
    )  # fmt: skip
    trained = _followed(begin, values["epochs"], front, out, resumed is not None)
    if team.leads():
        _say_trained(trained, parsed.slots["model"].name, front["json"])


def _data(front: Mapping[str, Any], resumed: str | None) -> datasets.Dataset:
    """The data that were asked for. Raises BadInput for a run that cannot go on from here."""
    if front["resume"]:
        raise BadInput("expected resume on the command line alone, got it in the configuration")
    if resumed and not datasets.loadable(front["data"]):
        raise BadInput(
            f"expected a run on data that can be loaded again, got '{front['data']}', arrays that "
            "Python was given; go on there, with hf.train(..., resume=True)"
        )
    with show.progress(front["json"] or not team.leads()) as (bar, _):
        return datasets.load(
            front["data"], root=front["data_root"], size=front["image_size"],
            progress=show.bars(bar),
        )  # fmt: skip


def _followed(
    begin: Callable[..., Trained], epochs: int, front: Mapping[str, Any], out: str, resumed: bool
) -> Trained:
    """What training gives, watched on the way; where it is broken off, how to go on is noted."""
    boards = [report.tensorboard(Path(out) / "tensorboard")] if front["tensorboard"] else []
    with show.progress(front["json"] or not team.leads()) as (bar, console):
        seen = show.Training(bar, console, epochs, front["json"])

        def on_epoch(row: Row) -> None:
            for told in (seen.on_epoch, *boards):
                told(row)

        try:
            return begin(on_step=seen.on_step, on_epoch=on_epoch)
        except (KeyboardInterrupt, OSError) as error:
            if (seen.begun or resumed) and not hasattr(error, "__notes__"):
                error.add_note(f"go on with {_resuming(out, front)}")
            raise


def _resumed(argv: list[str]) -> tuple[list[str], str | None]:
    """`--resume RUN` reads the run's own configuration, as `--config` does."""
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name == "--resume":
            run = os.path.expanduser(value if equals else "".join(argv[i + 1 : i + 2]))
            config = Path(run) / record.CONFIG
            if team.leads():
                record.recovered(Path(run))
            if not run or not config.exists():
                raise BadInput(f"expected a run folder after --resume, got '{run}': no config.yaml")
            rest = [*argv[:i], *argv[i + (1 if equals else 2) :]]
            clash = [w for w in rest if w.partition("=")[0] in ALONE]
            if clash:
                raise BadInput(
                    f"expected --resume without {clash[0]}: the run has settings of its own"
                )
            return ["--config", str(config), *rest], run
    return argv, None


def _resuming(run: str, front: Mapping[str, Any]) -> str:
    """The command that goes on with a run; what its folder does not hold is given again."""
    words = ["holdfast", "train", "--resume", run]
    words += ["--data-root", front["data_root"]] if front["data_root"] else []
    return shlex.join([*words, *(["--tensorboard"] if front["tensorboard"] else [])])


def _new_model(
    parsed: Parsed, data: datasets.Dataset, front: Mapping[str, Any], anew: bool
) -> models.Network:
    """The network, with the weights that it begins with where it does not go on from a checkpoint.
    Raises BadInput."""
    chosen, normalize = parsed.slots["model"], front["normalize"]
    normalize = not is_own(chosen.name) if normalize is None else normalize
    mean, std = (data.mean, data.std) if normalize else ((), ())
    model = models.create(
        chosen.name, image=data.image, classes=data.classes, mean=mean, std=std,
        seed=parsed.values["seed"], **chosen.options,
    )  # fmt: skip
    start = Path(front["weights"]).absolute() if front["weights"] else None
    place = Path(front["out"]).resolve() if front["out"] and front["force"] else None
    if start and place in start.resolve().parents:
        raise BadInput(
            f"expected weights outside {front['out']}, which is replaced, got {start}; copy them, "
            "or name another --out"
        )
    model.card = replace(model.card, provenance={"weights": start and str(start)})
    if start and anew:
        models.restore(model, models.read_weights(start), start)
    return model


def _may_begin_again(run: Path) -> bool:
    """Whether a run was stopped before its first checkpoint and says what weights it began with:
    one that Python made does not."""
    return has_no_checkpoint(run) and "weights" in record.read_yaml(run / record.CONFIG)


def _fresh_name(parsed: Parsed, data: str) -> str:
    """`runs/mnist-gupta_cnn-reward-pgd`, numbered where it exists."""
    parts = [Path(data.partition(":")[2] or data).absolute().stem]
    parts += [parsed.slots[slot].name.replace(":", ".") for slot in ("model", "objective")]
    adversary = parsed.slots["adversary"].name
    name = "-".join(parts if adversary == "none" else [*parts, adversary])
    taken, number = Path("runs") / name, 1
    while taken.exists():
        number += 1
        taken = Path("runs") / f"{name}-{number}"
    return str(taken)


def _say_trained(trained: Trained, model: str, json: bool) -> None:
    if not trained.history:
        raise BadInput(f"expected rows in {trained.folder}/metrics.jsonl, got none; train it anew")
    last = trained.history[-1]
    if json:
        print(record.as_json({"run": str(trained.folder), "best_epoch": trained.best_epoch,
                             "criterion": trained.criterion, **last}))  # fmt: skip
        return
    best = next((row for row in trained.history if row["epoch"] == trained.best_epoch), last)
    print(
        f"{trained.folder}: {last['epoch']} epochs in {trained.seconds:.0f} s "
        f"({trained.precision}); best epoch {trained.best_epoch} with "
        f"{trained.criterion.replace('_', ' ')} accuracy {best[trained.criterion]:.1%}\n"
        f"next: holdfast evaluate {shlex.quote(str(trained.folder))}{show.model(model)}"
    )
