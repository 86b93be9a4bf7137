"""What attacks left of a classifier."""

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from holdfast.errors import BadInput, choose
from holdfast.limits import require_numbers
from holdfast.record import Row
from holdfast.result.finding import Finding
from holdfast.result.standing import SLACK, WORST, Flags, Standing, fraction, median
from holdfast.result.tables import Table, cells, doubted, remarks
from holdfast.types import Images, Labels, Norm, PerImage

log = logging.getLogger("holdfast")


PER_IMAGE = ("correct", "distance", "prediction", "target")
"""Fields of an `AttackResult` with a value for each image."""
IF_ASKED = ("queries", "adv")
"""Likewise, None where the attack counts no queries and where its images are not kept."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AttackResult(Standing):
    """What one attack did, checked by the evaluator.

    distance: length in `norm` of the change that fooled the model, pixel units of [0, 1]; 0 where
    the clean image is wrong already, inf where nothing was found, NaN for an image that the
    attack was not shown, since an earlier one had fooled it.
    refused: images of the attack that were not finite, or outside the pixel box or the budget;
    they count as not found. faults: how many for each of these, the first that an image has.
    forward, backward: passes through the network over all images. seconds: wall time.
    prediction: the class that each image returned is taken for; -1 where no number says it, and for
    an image that the attack was not shown. target: the class that it was led to; -1 where that is
    none, the true class or what the image is taken for without attack, and for an image that the
    attack was not shown.
    queries: of an attack by queries, how many it had asked on each image when that first fell
    within the budget, by its own count, where the final image did fall; 0 where it was wrong
    before, -1 where it never fell. None for other attacks.
    minimal: whether it looks for the nearest image of another class, and so below its radius too.
    adv: the images that it returned, where they were asked for: the clean one in place of what was
    refused, and of an image that it was not shown.
    """

    name: str
    settings: Row
    norm: Norm
    radius: float
    distance: PerImage
    refused: int
    forward: int
    backward: int
    seconds: float
    prediction: Labels
    target: Labels
    queries: Labels | None = None
    minimal: bool = False
    adv: Images | None = None
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def reached(self) -> Standing:
        """Of the images that were led to another class, in their order, which are taken for it."""
        return Standing(correct=(self.prediction == self.target)[self.target >= 0])

    @property
    def passes(self) -> int:
        return self.forward + self.backward

    def fooled(self, norm: Norm, radius: float) -> Flags:
        """Images that it brought to another class within this budget; of an attack in another norm
        no distance says it: none."""
        return (self.distance <= radius + SLACK) & (self.norm == norm)

    def over_queries(self, counts: Sequence[int]) -> list[float]:
        """Accuracy left after each of these numbers of queries on an image: an upper bound.

        Raises BadInput for an attack that does not count them.
        """
        if self.queries is None:
            raise BadInput(
                f"expected an attack that counts queries, got {self.name}; take square, simba, "
                "hop-skip-jump or boundary"
            )
        first = torch.where(self.queries < 0, torch.inf, self.queries)
        return [fraction(first > count) for count in counts]

    def _short_curve(self) -> Row:
        """Accuracy after 10, 30, 100, 300, ... queries, up to the budget."""
        if self.queries is None:
            return {}
        budget, seen = self.settings.get("queries"), int(self.queries.max())
        most = max(budget, seen) if isinstance(budget, int) else seen
        counts = [k * 10**power for power in range(1, len(str(most))) for k in (1, 3)]
        counts = [count for count in counts if count <= most]
        shares = self.over_queries(counts)
        return {"over_queries": dict(zip(map(str, counts), shares, strict=True))}

    def _arrived(self) -> Row:
        """How many were led to another class, and the share of them that reached it."""
        led, near = len(self.reached.correct), self.reached.interval
        told = {"led": led, "reached": self.reached.accuracy}
        return told | {"reached_interval": [*near]} if led else {}

    def __repr__(self) -> str:
        return f"{self.name} ({self.norm} {self.radius:.4g}): {super().__repr__()} stand"

    def as_dict(self) -> Row:
        return self._short_curve() | self._arrived() | {
            "name": self.name, "accuracy": self.accuracy, "low": self.interval.low,
            "high": self.interval.high, "images": len(self.correct), "norm": self.norm,
            "radius": self.radius, "minimal": self.minimal,
            "median_distance": median(self.distance),
            "attacked": int((~self.distance.isnan()).sum()),
            "refused": self.refused, "faults": dict(self.faults), "passes": self.passes,
            "forward": self.forward, "backward": self.backward, "seconds": self.seconds,
            "settings": self.settings,
        }  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """A classifier under attack: clean, each attack, and the worst case per image.

    entropy: mean entropy of the policy on clean images, in bits.
    adv: the nearest image of another class that any attack found for each image, the image
    itself where none did.
    findings: what casts doubt on these numbers.
    cascade: each attack saw only what those before it left standing.
    norm, radius: the budget within which attacks were asked to stay; the worst case is that of
    this budget, and what was found beyond it or in another norm stands with its own attack.
    marks: a fingerprint of each clean image, by which comparisons know the same images.
    """

    clean: Standing
    attacks: tuple[AttackResult, ...]
    entropy: float
    adv: Images
    norm: Norm
    radius: float
    findings: tuple[Finding, ...] = ()
    cascade: bool = False
    marks: Int[Tensor, " batch"] | None = None

    def __getitem__(self, name: str) -> AttackResult:
        """The result of the attack of this name. Raises BadInput where there is none."""
        return choose({one.name: one for one in self.attacks}, name, "an attack")

    @property
    def worst_case(self) -> Standing:
        """Images that no attack fooled within the budget: the mean of minima, not the minimum of
        means."""
        correct = self.clean.correct
        for attack in self.attacks:
            correct = correct & ~attack.fooled(self.norm, self.radius)
        return Standing(correct=correct)

    def adversarial(self, x: Images) -> Images:
        """The clean images `x` of this evaluation, those that an attack fooled within the budget
        replaced by what fooled them: what AutoAttack hands back as `x_adv`.

        `adv` holds images beyond the budget too. Raises BadInput for images of another shape, and
        for attacks in several norms, whose nearest image may lie beyond the budget in this one.
        """
        if x.shape != self.adv.shape:
            raise BadInput(
                f"expected the images of this evaluation, {list(self.adv.shape)}, got "
                f"{list(x.shape)}"
            )
        if any(attack.norm != self.norm for attack in self.attacks):
            raise BadInput(f"expected attacks in {self.norm} alone; take each attack's own `adv`")
        fooled = (self.clean.correct & ~self.worst_case.correct).view(-1, *[1] * (x.ndim - 1))
        return torch.where(fooled.to(x.device), self.adv.to(x.device), x.to(self.adv.dtype))

    @property
    def first(self) -> list[int]:
        """How many images each attack was the first to fool within the budget."""
        standing, counts = self.clean.correct, []
        for attack in self.attacks:
            fooled = attack.fooled(self.norm, self.radius)
            counts.append(int((standing & fooled).sum()))
            standing = standing & ~fooled
        return counts

    def curve(self, radii: Iterable[float]) -> list[float]:
        """Accuracy left at each of these budgets, by the nearest image any attack found.

        An upper bound everywhere. It means something below an attack's radius only where attacks
        are minimum-norm: one with a budget looks no nearer than that, which is said; for those
        `holdfast.evaluation.curve` runs them at each radius. Raises BadInput for attacks in
        different norms, and for radii that are no numbers of 0 or more.
        """
        wanted = require_numbers("radii", radii)
        if len({attack.norm for attack in self.attacks}) > 1:
            raise BadInput("expected attacks in one norm for a curve, got several")
        within = max((one.radius for one in self.attacks if not one.minimal), default=0.0)
        if any(0 < radius < within - SLACK for radius in wanted):
            log.warning("below radius %g, within which attacks looked, this curve is far too high; "
                        "holdfast.evaluation.curve runs them at each radius", within)  # fmt: skip
        nearest = torch.where(self.clean.correct, torch.inf, 0.0)
        for attack in self.attacks:
            nearest = torch.fmin(nearest, attack.distance.to(nearest))
        return [fraction(nearest > radius + SLACK) for radius in wanted]

    def as_dict(self) -> Row:
        worst = self.worst_case
        return {
            "clean_accuracy": self.clean.accuracy,
            "worst_case_accuracy": worst.accuracy,
            "worst_case_interval": [*worst.interval],
            "entropy_bits": self.entropy,
            "images": len(self.clean.correct),
            "norm": self.norm,
            "radius": self.radius,
            "cascade": self.cascade,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "attacks": [attack.as_dict() for attack in self.attacks],
        }

    def as_table(self) -> Table:
        """Accuracies with intervals and costs."""
        count, none = max(len(self.clean.correct), 1), [""] * 4
        body = [["clean", *cells(self.clean), "", "", "1", "", ""]]
        body += [
            [self._label(a), *cells(a), str(first), _far(a), f"{a.forward / count:.0f}",
             f"{a.backward / count:.0f}", f"{a.seconds:.1f}"]
            for a, first in zip(self.attacks, self.first, strict=True)
        ]  # fmt: skip
        head = ("", "accuracy", "95 % interval", "broke first", "median distance", "forward/image",
                "backward/image", "seconds")  # fmt: skip
        return Table(head, [*body, [WORST, *cells(self.worst_case), "", *none]])

    def _label(self, attack: AttackResult) -> str:
        """The attack's name, with its budget where that is not the one asked for."""
        if (attack.norm, attack.radius) == (self.norm, self.radius):
            return attack.name
        return f"{attack.name} ({attack.norm} {attack.radius:.3g})"

    @property
    def remarks(self) -> list[str]:
        """Which attacks are in another norm; how many images each attack that leads to a class led
        there, in a line each."""
        return remarks([attack.as_dict() for attack in self.attacks], self.norm)

    def table(self) -> str:
        """The same as aligned text, and what casts doubt on it."""
        text = "\n".join([str(self.as_table()), *self.remarks])
        return doubted(text, self.findings)

    def __repr__(self) -> str:
        count, reach = len(self.clean.correct), f"{self.norm} radius {self.radius:.4g}"
        return f"Evaluation of {count} images, {reach}\n{self.table()}"


def _far(attack: AttackResult) -> str:
    """Median distance over the images that the attack was shown."""
    middle = median(attack.distance)
    return f"{middle:.4f}" if math.isfinite(middle) else "-"
