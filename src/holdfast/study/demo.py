"""The demonstration: four classifiers of handwritten digits, with and without reward and attack."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import holdfast.model as models
from holdfast import data as datasets
from holdfast.attack import FGSM, PGD
from holdfast.evaluation import evaluate, save
from holdfast.feedback import CrossEntropy, PolicyGradient
from holdfast.result import Evaluation
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
    """name of the classifier, its evaluation on the test images, seconds of training."""

    name: str
    evaluation: Evaluation
    seconds: float

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
ATTACKS: dict[str, Attack] = {"fgsm": FGSM(radius=RADIUS), "pgd": PGD(radius=RADIUS, steps=20)}


def run(
    out: Path, epochs: int = EPOCHS, seed: int = 0, said: Callable[[str], None] | None = None
) -> list[Outcome]:
    """Train and attack each entrant; each leaves a run folder in `out`, replacing an older one."""
    digits = datasets.load("digits")
    outcomes = []
    for entrant in ENTRANTS:
        if said:
            said(entrant.name)
        outcomes.append(_outcome(entrant, digits, out, epochs, seed))
    return outcomes


def _outcome(
    entrant: Entrant, digits: datasets.Dataset, out: Path, epochs: int, seed: int
) -> Outcome:
    run_folder = out / entrant.name.replace(" + ", "-")
    model = models.create(
        "gupta_cnn", image=digits.image, classes=digits.classes, mean=digits.mean, std=digits.std,
        seed=seed, widths=(16, 32), dense=128,
    )  # fmt: skip
    trained = train(
        model, digits, objective=entrant.objective, adversary=entrant.adversary,
        adversarial=Adversarial(start=epochs // 10, ramp=epochs / 4), epochs=epochs, batch_size=32,
        optimizer=AdamW(rate=2e-3), schedule=Cosine(), watch=Watch(images=100, every=epochs),
        precision="fp32", device="cpu", seed=seed, out=run_folder, force=True,
    )  # fmt: skip
    test = digits.test
    found = evaluate(model, test.x, test.y, attacks=ATTACKS, index=test.index)
    save(found, run_folder, test.index, test.y, {"checkpoint": "last", "split": "test"})
    return Outcome(name=entrant.name, evaluation=found, seconds=trained.seconds)


def verdict(outcomes: list[Outcome]) -> str:
    """What the table shows, in a sentence or two of plain English, from its numbers alone."""
    by_name = {o.name: o.accuracies for o in outcomes}
    plain, reward = by_name["supervised"], by_name["reward"]
    robust = max(by_name, key=lambda name: by_name[name]["pgd"])
    points = 100 * (reward["pgd"] - plain["pgd"])
    alone = (
        f"Reward alone leaves {reward['pgd']:.0%} of the images standing under PGD, labels alone "
        f"{plain['pgd']:.0%} ({points:+.0f} points)"
    )
    return (
        f"{alone}; training under attack leaves up to {by_name[robust]['pgd']:.0%} ({robust}), at "
        f"{by_name[robust]['clean']:.0%} on clean images. These are upper bounds: "
        "a stronger attack may break more."
    )
