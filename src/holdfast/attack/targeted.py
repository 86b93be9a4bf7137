"""Attacks that lead to a class of the attacker's choice."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from holdfast.attack._climb import positions
from holdfast.attack._run import resized, run, settings_of, stated
from holdfast.errors import BadInput
from holdfast.geometry import per_image
from holdfast.loss import Loss, called, full
from holdfast.types import Attack, Classifier, Images, Labels, Logits, PerImage


@dataclass(frozen=True, kw_only=True)
class Targeted:
    """An attack that climbs down the loss of a class, not up that of the true one (the targeted
    form of Kurakin et al., arXiv 1607.02533, section 2.3), so that it ends there.

    It works for every attack with a field `loss`; all steps are taken, also by images that are
    wrong already: `best` becomes True where the attack has it. The evaluator
    still asks whether the prediction is wrong, not whether it is the target; where the target is
    the true class the image is given back. Raises BadInput for an attack without a loss, for `dlr`,
    which is flat towards a class behind the first three, and for a target that is no class.

    Attributes:
        attack: what climbs, and within which budget.
        target: a class, or each image's least or most likely wrong class on the clean image.
    """

    name: ClassVar[str] = "targeted"
    attack: Attack
    target: int | Literal["least", "most"] = "least"

    def __post_init__(self) -> None:
        if self.target not in ("least", "most") and type(self.target) is not int:
            raise BadInput(f"expected target least, most or a class, got {self.target!r:.60}")
        if "loss" not in settings_of(self.attack) or self.attack.loss == "dlr":  # pyright: ignore
            raise BadInput(
                "expected an attack that climbs the loss ce, margin, reward or one of your own, "
                f"got {self.attack!r:.60}; take fgsm, bim, pgd, mim, transfer-mim or apgd"
            )

    def __getattr__(self, name: str) -> object:
        return stated(self, name)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        target = self._target(model, x, y)
        further = {"best": True} if "best" in settings_of(self.attack) else {}
        loss: Loss = called(self.attack.loss)  # pyright: ignore

        def descent(logits: Logits, y: Labels) -> PerImage:
            return -loss(logits, y)

        adv = run(
            resized(self.attack, loss=descent, **further), model, x, target, positions(x, index)
        )
        return torch.where(per_image(target == y, x), x, adv)

    def _target(self, model: Classifier, x: Images, y: Labels) -> Labels:
        logits = full(model(x))
        if self.target == "least":
            return logits.scatter(1, y[:, None], torch.inf).argmin(1)
        if self.target == "most":
            return logits.scatter(1, y[:, None], -torch.inf).argmax(1)
        if not 0 <= self.target < logits.shape[1]:
            raise BadInput(f"expected a target from 0 to {logits.shape[1] - 1}, got {self.target}")
        return torch.full_like(y, self.target)
