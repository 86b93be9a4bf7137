"""What is diagnosed, and how much a diagnosis spends."""

from dataclasses import dataclass, replace

from holdfast.attack import Transfer
from holdfast.data import in_turn
from holdfast.errors import choose
from holdfast.limits import COUNT, WHOLE, require_ranges
from holdfast.loss import NAMED, LossName
from holdfast.types import Attack, Classifier, Images, Labels, Norm


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How much a diagnosis spends.

    sample: images on which the claim is varied. few: images of the sample that all climbs left
    standing, for attacks that cost thousands of passes: `points` random points, `hard` queries of
    decisions. queries: of the random search. steps, restarts: up to which the claim's are doubled.
    losses: whose indicators are measured. climb, targets, search: steps, targets and queries of the
    adaptive attack, on all images.
    """

    sample: int = 300
    few: int = 20
    points: int = 10_000
    hard: int = 1000
    queries: int = 1000
    steps: int = 1000
    restarts: int = 8
    losses: tuple[LossName, ...] = ("ce", "margin", "dlr")
    climb: int = 50
    targets: int = 9
    search: int = 300

    def __post_init__(self) -> None:
        require_ranges(
            self, sample=COUNT, few=WHOLE, points=COUNT, hard=COUNT, queries=COUNT, steps=COUNT,
            restarts=COUNT, climb=COUNT, targets=WHOLE, search=COUNT,
        )  # fmt: skip
        for name in self.losses:
            choose(NAMED, name, "loss")


QUICK = Depth(
    sample=60, few=6, points=1000, hard=300, queries=100, steps=40, restarts=2,
    losses=("ce", "margin"), climb=20, targets=0, search=50,
)  # fmt: skip
DEFAULT = Depth()


@dataclass(frozen=True, eq=False, kw_only=True)
class Patient:
    """What is diagnosed.

    model: as it is given; judged: what predictions count, the mean policy where it is random.
    claim: the attack whose result is in doubt; seed: of what is drawn beside it.
    batch_size: images that are looked at together; None: by the device.
    """

    model: Classifier
    judged: Classifier
    x: Images
    y: Labels
    index: Labels
    claim: Attack
    twin: Classifier | None
    radius: float
    norm: Norm
    classes: int
    seed: int
    batch_size: int | None = None

    @property
    def random(self) -> bool:
        return self.judged is not self.model

    def per_draw(self, attack: Attack) -> Attack:
        """The attack as somebody runs it who does not know that the model is random."""
        return Transfer(attack=attack, source=self.model) if self.random else attack

    def sample(self, count: int) -> Labels:
        """Positions of so many images at most, each class in proportion, in their order."""
        return in_turn(self.y, self.index)[:count].sort().values

    def only(self, rows: Labels) -> "Patient":
        """The same with these images only."""
        rows = rows.to(self.x.device)
        return replace(self, x=self.x[rows], y=self.y[rows], index=self.index[rows])
