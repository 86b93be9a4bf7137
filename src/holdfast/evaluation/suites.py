"""Named batteries of attacks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.attack import (
    APGD,
    BIM,
    CW,
    DDN,
    FAB,
    FGSM,
    MIM,
    PGD,
    BoundaryAttack,
    DeepFool,
    GaussianNoise,
    HopSkipJump,
    MinMargin,
    SimBA,
    Square,
    UniformNoise,
)
from holdfast.result import Finding, Sign
from holdfast.types import Attack, Norm


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a battery is built for. pixels: numbers in an image; seed: of random starts."""

    radius: float
    norm: Norm
    classes: int
    pixels: int
    seed: int = 0

    @property
    def budget(self) -> dict[str, Any]:
        """The settings of an attack that has a budget."""
        return {"radius": self.radius, "norm": self.norm}

    @property
    def drawn(self) -> dict[str, Any]:
        """The settings of an attack with a budget that draws random numbers too."""
        return self.budget | {"seed": self.seed}

    @property
    def in_l2(self) -> float:
        """The budget of attacks that know l2 alone: under linf a quarter of the l2 length of its
        corners, which gives 2.1 for 0.3 on MNIST and 0.43 for 8/255 on CIFAR-10."""
        return self.radius * math.sqrt(self.pixels) / 4 if self.norm == "linf" else self.radius


@dataclass(frozen=True, kw_only=True)
class Suite:
    """attacks: by name, in their order; cascade: each sees only what the ones before it left.

    radii: of attacks that are judged at another radius than the evaluation's.
    findings: what is to be known of the battery itself.
    """

    attacks: Mapping[str, Attack]
    cascade: bool = False
    radii: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def quick(task: Task) -> Suite:
    """FGSM, PGD-20 on cross-entropy and PGD-20 on the margin, which saturation cannot stop; within
    l1, whose steps move few pixels to their ends, in shorter ones, of which the best counts."""
    climb: dict[str, Any] = task.drawn | {"steps": 20}
    if task.norm == "l1":
        climb |= {"rel_stepsize": 0.1, "best": True}
    return Suite(
        attacks={
            "fgsm": FGSM(**task.budget),
            "pgd": PGD(**climb),
            "pgd-margin": PGD(**climb, loss="margin"),
        }
    )


def seeds(task: Task) -> Suite:
    """The eight of Song et al. 2019, Table III, which states no budgets. Here: the radius for all,
    40 steps for PGD, BIM and MIM, one draw for each noise, and C&W at `task.in_l2`."""
    attacks = {
        "fgsm": FGSM(**task.budget),
        "cw": CW(),
        "pgd": PGD(**task.drawn, steps=40),
        "bim": BIM(**task.budget, steps=40),
        "mim": MIM(**task.budget, steps=40),
        "deepfool": DeepFool(norm=task.norm),
        "uniform-noise": UniformNoise(**task.drawn),
        "gaussian-noise": GaussianNoise(**task.drawn),
    }
    return Suite(attacks=attacks, radii={"cw": task.in_l2})


def standard(task: Task) -> Suite:
    """AutoAttack's `standard` (Croce and Hein, arXiv 2003.01690), to its published schedule:
    APGD-CE and APGD-T with 100 steps, FAB-T with 100 steps, Square with 5,000 queries; 9 targets.

    The targeted DLR loss needs 4 classes: with 3 there is the untargeted one, with 2 the margin
    (which is what it comes to) in its place, and FAB-T has as many targets as other classes.
    """
    targets = min(9, task.classes - 1)
    if task.classes >= 4:
        second = {"apgd-t": APGD(loss="dlr", targets=targets, **task.drawn)}
    elif task.classes == 3:
        second = {"apgd-dlr": APGD(loss="dlr", **task.drawn)}
    else:
        second = {"apgd-margin": APGD(loss="margin", **task.drawn)}
    attacks = {
        "apgd-ce": APGD(**task.drawn),
        **second,
        "fab-t": FAB(targets=targets, **task.drawn),
        "square": Square(**task.drawn),
    }
    said = () if task.classes >= 4 else (_few(task.classes, *second),)
    return Suite(attacks=attacks, cascade=True, findings=said)


def rand(task: Task) -> Suite:
    """AutoAttack's `rand`, for a model that is random: APGD-CE and APGD-DLR (the margin where there
    are fewer than 3 classes), each step along the mean gradient of 20 passes."""
    second = "dlr" if task.classes >= 3 else "margin"
    attacks = {
        "apgd-ce": APGD(**task.drawn, draws=20),
        f"apgd-{second}": APGD(**task.drawn, loss=second, draws=20),
    }
    return Suite(attacks=attacks, cascade=True)


def reliable(task: Task) -> Suite:
    """About as strong as `standard`, at less than a tenth of its passes where many images survive
    and there are ten classes: docs/evaluation.md has the figures.

    Attacks in the order of what they fell per pass, each on what the ones before it left: a short
    climb of the margin; a longer one towards the class that came nearest; short ones towards nine,
    as another class may be the one in reach; longer ones for images that came most of their way;
    random search from the best point, for what gradients do not see.
    """
    attacks = {
        "margin": MinMargin(steps=20, targets=0, **task.drawn),
        "nearest": MinMargin(steps=50, targets=1, **task.drawn),
        "others": MinMargin(steps=10, targets=9, **task.drawn),
        "again": MinMargin(steps=50, targets=3, near=0.3, **task.drawn),
        "square": Square(queries=300, share=0.1, rescale=True, warm=True, **task.drawn),
    }
    return Suite(attacks=attacks, cascade=True)


def full(task: Task) -> Suite:
    """Many attacks, each on all images, so that their strengths can be compared: those of `seeds`
    and `standard`, PGD on the margin, the other minimum-norm attacks and those by queries."""
    gathered = [quick(task), seeds(task), standard(task)]
    attacks = {name: attack for suite in gathered for name, attack in suite.attacks.items()}
    other = {
        "ddn": DDN(),
        "simba": SimBA(seed=task.seed),
        "hop-skip-jump": HopSkipJump(norm=task.norm, seed=task.seed),
        "boundary": BoundaryAttack(seed=task.seed),
    }
    radii: dict[str, float] = dict.fromkeys(("cw", "ddn", "simba", "boundary"), task.in_l2)
    return Suite(attacks=attacks | other, radii=radii, findings=gathered[-1].findings)


def for_rows(suite: Suite) -> Suite:
    """The suite without attacks that move patches of images, for inputs that have none."""
    left = [name for name, attack in suite.attacks.items() if isinstance(attack, Square)]
    if not left:
        return suite
    attacks = {name: attack for name, attack in suite.attacks.items() if name not in left}
    said = Finding(
        name=Sign.NO_IMAGES, evidence={"left_out": left},
        meaning=f"the inputs are rows of numbers, and {', '.join(left)} moves patches of images: "
        "it was left out",
        advice="attack with hop-skip-jump or simba too, which see no gradient either",
    )  # fmt: skip
    return replace(suite, attacks=attacks, findings=(*suite.findings, said))


def _few(classes: int, instead: str) -> Finding:
    return Finding(
        name=Sign.FEW_CLASSES, evidence={"classes": classes},
        meaning=f"the targeted DLR loss ranks 4 classes, so with {classes} {instead} stands in "
        "its place",
        advice="say so where you compare with AutoAttack's published numbers",
    )  # fmt: skip


SUITES: dict[str, Callable[[Task], Suite]] = {
    "quick": quick,
    "seeds": seeds,
    "standard": standard,
    "rand": rand,
    "reliable": reliable,
    "full": full,
}
