"""The demonstration: classifiers of handwritten digits, with and without reward, attack, feedback
from the decision boundary."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

import holdfast.model as models
from holdfast import data as datasets
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate, save
from holdfast.feedback import Boundary, CrossEntropy, PolicyGradient
from holdfast.margin import Margins, Orthonormal, growth
from holdfast.result import Evaluation
from holdfast.retraining import Probe, retrain
from holdfast.training import AdamW, Adversarial, Cosine, Watch, train
from holdfast.types import Attack, Objective

RADIUS = 0.15  # Linf; digits have 17 grey levels, so this is about two and a half of them
EPOCHS = 30
REWARD = PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1)


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One classifier of the demonstration."""

    name: str
    objective: Objective
    adversary: Attack | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """name of the classifier, its evaluation on the test images, seconds of training; margins of
    test images along directions that no training has seen, of the two that are compared by them."""

    name: str
    evaluation: Evaluation
    seconds: float
    margins: Margins | None = None

    @property
    def accuracies(self) -> dict[str, float]:
        """Clean accuracy and what each attack leaves of it, as shares."""
        left = {attack.name: attack.accuracy for attack in self.evaluation.attacks}
        return {"clean": self.evaluation.clean.accuracy} | left


ENTRANTS = (
    Entrant(name="supervised", objective=CrossEntropy(), adversary=None),
    Entrant(name="reward", objective=REWARD, adversary=None),
    Entrant(name="supervised + adversary", objective=CrossEntropy(), adversary=FGSM(radius=RADIUS)),
    Entrant(name="reward + adversary", objective=REWARD, adversary=FGSM(radius=RADIUS)),
)
FEEDBACK = "boundary feedback"
MARK = "demo.json"  # tells a demonstration's folder from others, in which nothing is replaced
FIGURES, PAGE = ("demo.png", "margins.png"), "report.html"
NEAR = Boundary(low=5, medium=3, high=1, rays=8, nearest=1.01, furthest=1.1)  # of few images
DROP = 0.02  # of clean accuracy: of the 145 images that judge a round, two are 1.4 points
PROBE = Probe(images=200, reach=1.0, step=0.05)
FRESH = Probe(images=0, directions=Orthonormal(count=10), reach=1.0, step=0.05)
ATTACKS: dict[str, Attack] = {"fgsm": FGSM(radius=RADIUS), "pgd": PGD(radius=RADIUS, steps=20)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One demonstration: folder of its runs, training epochs of each classifier, seed of everything
    random; the probe whose margins feed back, and that which judges them along fresh directions."""

    out: Path
    epochs: int = EPOCHS
    seed: int = 0
    feeding: Probe = PROBE
    judging: Probe = FRESH


def run(
    plan: Plan, processes: int = 1, progress: Callable[[str], None] | None = None
) -> list[Outcome]:
    """Train and attack each entrant, and retrain the first by boundary feedback; each leaves a run
    folder, replacing that of an earlier demonstration. So many processes, of one thread each, share
    the classifiers out, with the same result as one; `progress` hears of each that is done.

    Raises BadInput where a folder of that name is of something else."""
    _claim(plan.out)
    with parallel_config("loky", inner_max_num_threads=1):
        shared: Any = Parallel(n_jobs=processes, return_as="generator_unordered")
        done: dict[str, Outcome] = {}
        for outcomes in shared(delayed(_made)(entrant, plan) for entrant in ENTRANTS):
            for outcome in outcomes:
                done[outcome.name] = outcome
                if progress:
                    progress(outcome.name)
    return [done[name] for name in (*(entrant.name for entrant in ENTRANTS), FEEDBACK)]


def folder(out: Path, name: str) -> Path:
    """The run folder of one of the classifiers."""
    return out / name.replace(" + ", "-").replace(" ", "-")


def _claim(out: Path) -> None:
    """Mark the folder as a demonstration's. Raises BadInput for one that holds what is another's:
    a run, or something by a name that the demonstration gives."""
    mark = out / MARK
    runs = [folder(out, name) for name in (*(one.name for one in ENTRANTS), FEEDBACK)]
    files = [out / name for name in (record.CONFIG, MARK, *FIGURES, PAGE)]
    taken = [path for path in (*runs, *files) if path.exists()]
    if taken and not _is_mark(mark):
        raise BadInput(
            f"expected a new folder or that of an earlier demonstration, got {out}, which holds "
            f"{taken[0].name}; choose another with --out"
        )
    record.write_json(mark, record.provenance())


def _is_mark(file: Path) -> bool:
    """Whether a demonstration has written it."""
    try:
        return "holdfast" in record.read_json(file)
    except (BadInput, OSError):
        return False


def _made(entrant: Entrant, plan: Plan) -> list[Outcome]:
    """The entrant's outcome; behind that of the first, what boundary feedback makes of it."""
    digits = datasets.load("digits")
    outcome = _outcome(entrant, digits, plan)
    if entrant.name != ENTRANTS[0].name:
        return [outcome]
    before, after = _retrained(digits, plan)
    return [replace(outcome, margins=before), after]


def _outcome(entrant: Entrant, digits: datasets.Dataset, plan: Plan) -> Outcome:
    run_folder, epochs = folder(plan.out, entrant.name), plan.epochs
    model = models.create(
        "gupta_cnn", image=digits.image, classes=digits.classes, mean=digits.mean, std=digits.std,
        seed=plan.seed, widths=(16, 32), dense=128,
    )  # fmt: skip
    trained = train(
        model, digits, objective=entrant.objective, adversary=entrant.adversary,
        adversarial=Adversarial(start=epochs // 10, ramp=epochs / 4), epochs=epochs,
        optimizer=AdamW(lr=3e-3), seed=plan.seed, out=run_folder, force=True, **_shared(epochs),
    )  # fmt: skip
    found = _attacked(model, digits.test, run_folder)
    return Outcome(name=entrant.name, evaluation=found, seconds=trained.seconds)


def _retrained(digits: datasets.Dataset, plan: Plan) -> tuple[Margins, Outcome]:
    """The first entrant's margins, and what boundary feedback made of it."""
    run_folder = folder(plan.out, FEEDBACK)
    model = models.load(folder(plan.out, ENTRANTS[0].name) / record.CHECKPOINTS / "last")
    before = plan.judging(model, digits.test, plan.seed)
    done = retrain(
        model, digits, feedback=NEAR, probe=plan.feeding, judge=plan.judging, max_drop=DROP,
        epochs=max(2 * plan.epochs // 3, 1), optimizer=AdamW(lr=3e-4), seed=plan.seed,
        out=run_folder, force=True, **_shared(plan.epochs),
    )  # fmt: skip
    outcome = Outcome(
        name=FEEDBACK, evaluation=_attacked(model, digits.test, run_folder),
        seconds=done.rounds[0].trained.seconds,
        margins=plan.judging(model, digits.test, plan.seed),
    )  # fmt: skip
    return before, outcome


def _shared(epochs: int) -> dict[str, Any]:
    """The settings of training that all have in common."""
    return {
        "batch_size": 64, "schedule": Cosine(), "watch": Watch(images=100, every=epochs),
        "precision": "fp32", "device": "cpu",
    }  # fmt: skip


def _attacked(model: models.Network, test: datasets.Split, run_folder: Path) -> Evaluation:
    found = evaluate(model, test.x, test.y, attacks=ATTACKS, index=test.index)
    about = {"checkpoint": "last", "split": "test"}
    save(found, run_folder, test.y, index=test.index, about=about)
    return found


def verdict(outcomes: list[Outcome]) -> str:
    """What the table shows, in a sentence or two of plain English, from its numbers alone."""
    by_name = {o.name: o.accuracies for o in outcomes}
    plain, reward = by_name["supervised"], by_name["reward"]
    attacked = [one.name for one in ENTRANTS if one.adversary is not None and one.name in by_name]
    robust = max(attacked, key=lambda name: by_name[name]["pgd"])
    points = 100 * (reward["pgd"] - plain["pgd"])
    alone = (
        f"Reward alone leaves {reward['pgd']:.0%} of the images standing under PGD, labels alone "
        f"{plain['pgd']:.0%} ({points:+.0f} points)"
    )
    first, last = outcomes[0], outcomes[-1]
    moved = ""
    if first.margins and last.margins:
        near = growth(first.margins, last.margins)
        moved = (
            f" Boundary feedback changed the mean margin along directions that it had not seen by "
            f"{near.value:+.3f} ({near.low:+.3f} to {near.high:+.3f}) from "
            f"{first.margins.mean_margin():.3f}, and clean accuracy by "
            f"{100 * (last.accuracies['clean'] - first.accuracies['clean']):+.1f} points."
        )
    return (
        f"{alone}; training under attack leaves up to {by_name[robust]['pgd']:.0%} ({robust}), at "
        f"{by_name[robust]['clean']:.0%} on clean images. These are upper bounds: "
        f"a stronger attack may break more.{moved}"
    )
