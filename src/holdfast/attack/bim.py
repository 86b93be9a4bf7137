"""The basic iterative method."""

from dataclasses import dataclass
from typing import ClassVar

from holdfast.attack._common import require_not_l1
from holdfast.attack.pgd import PGD
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import Loss, LossName, resolve_loss
from holdfast.types import Classifier, Images, Labels, Norm


@dataclass(frozen=True, kw_only=True)
class BIM:
    """FGSM in small steps from the image itself, each pulled back into ball and pixel box
    (Kurakin et al., arXiv 1607.02533, section 2.2).

    The defaults are the paper's at 8/255: steps of 1/255, ten of them. Departure: the l2 norm.
    Where it is called with `stop`, as the evaluator does, an image rests once it is wrong.
    Raises BadInput for a radius or a number of steps that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps.
        rel_stepsize: length of a step as a share of the radius.
        loss: what is climbed.
    """

    name: ClassVar[str] = "bim"
    start: ClassVar[str] = "clean"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    rel_stepsize: float = 0.125
    loss: LossName | Loss = "ce"

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, steps=AT_LEAST_1, rel_stepsize=ABOVE_0)
        require_not_l1(self.norm)
        resolve_loss(self.loss)

    def __call__(self, model: Classifier, x: Images, y: Labels, stop: bool = False) -> Images:
        climb = PGD(
            radius=self.radius, norm=self.norm, steps=self.steps,
            rel_stepsize=self.rel_stepsize, start="clean",
            loss=self.loss,
        )  # fmt: skip
        return climb(model, x, y, stop=stop)
